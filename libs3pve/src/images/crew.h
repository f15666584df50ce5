/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * crew.h - jobs that wait for the bucket side by side; whoever began them takes the results in
 * order
 *
 *     for (i = 0; ...; i++) {
 *         crew_wait(&crew, &jobs[i % CREW]);      the result of number i - CREW
 *         crew_start(&crew, &jobs[i % CREW], fn, arg);
 *     }
 */
#ifndef IMAGES_CREW_H
#define IMAGES_CREW_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/pool.h"

struct crew {
    struct pool *pool;    /* owned; NULL: the caller works himself */
    pthread_mutex_t lock; /* guards `busy` of all jobs */
    pthread_cond_t done;
};

struct crew_job {
    struct crew *crew;
    void (*fn)(void *arg);
    void *arg;
    bool busy;
};

void crew_init(struct crew *crew);
void crew_clear(struct crew *crew); /* waits for all that was started */

/* Have @fn(@arg) run, here if there is no thread for it.  @job is not busy. */
void crew_start(struct crew *crew, struct crew_job *job, void (*fn)(void *arg), void *arg);

/* Until it is not busy. */
void crew_wait(struct crew *crew, struct crew_job *job);

#endif
