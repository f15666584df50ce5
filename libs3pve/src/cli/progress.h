/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * progress.h - one line on the terminal while bytes move: how many, how fast, how long still
 *
 * A thread of its own asks for the count, so the transfer itself pays nothing; without a terminal
 * there is no thread.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"

struct progress {
    const char *label;
    uint64_t first;                  /* bytes there before we began (resumed) */
    uint64_t total;                  /* bytes in the end; 0: nobody knows */
    uint64_t (*count)(const void *); /* bytes so far; any thread */
    const void *ctx;
    /* its own */
    char name[64];
    pthread_t thread;
    pthread_mutex_t lock; /* guards stop */
    pthread_cond_t woken;
    int64_t started_ms;
    bool on, stop;
};

/* Would a line be shown?  Costs worth avoiding (a HEAD for the size) hang on it. */
bool progress_wanted(const struct cli *cli);

void progress_start(struct progress *progress, const struct cli *cli);

/* The line goes; with @done a summary stays instead. */
void progress_stop(struct progress *progress, bool done);

/* Another line is about to be written to the terminal. */
void progress_clear(void);

/* An atomic counter as a `count`. */
uint64_t progress_counter(const void *counter);

#endif
