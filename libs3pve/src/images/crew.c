/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "images/crew.h"
#include "base/limits.h"

void crew_init(struct crew *crew) {
    crew->pool = pool_new(INSPECT_THREADS);
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->done, NULL);
}

void crew_clear(struct crew *crew) {
    crew->pool = pool_free(crew->pool);
    pthread_cond_destroy(&crew->done);
    pthread_mutex_destroy(&crew->lock);
}

static void run(void *arg) {
    struct crew_job *job = arg;
    struct crew *crew = job->crew;

    job->fn(job->arg);
    LOCK_SCOPE(&crew->lock);
    job->busy = false;
    pthread_cond_broadcast(&crew->done);
}

void crew_start(struct crew *crew, struct crew_job *job, void (*fn)(void *arg), void *arg) {
    *job = (struct crew_job){.crew = crew, .fn = fn, .arg = arg, .busy = true};
    if (!crew->pool || pool_run(crew->pool, run, job) < 0)
        run(job);
}

void crew_wait(struct crew *crew, struct crew_job *job) {
    LOCK_SCOPE(&crew->lock);

    while (job->busy)
        pthread_cond_wait(&crew->done, &crew->lock);
}
