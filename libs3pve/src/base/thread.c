/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <signal.h>

#include "base/thread.h"

/* Signals are the program's business. */
int thread_start(pthread_t *ret_thread, const char *name, void *(*fn)(void *arg), void *arg) {
    sigset_t all, before;
    int failed;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(ret_thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return -1;
    pthread_setname_np(*ret_thread, name);
    return 0;
}
