/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* thread.h - a thread that is joined, hears no signals, and has a name in `top` */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/* @name: at most 15 characters.  Return: 0, or -1. */
int thread_start(pthread_t *ret_thread, const char *name, void *(*fn)(void *arg), void *arg);

#endif
