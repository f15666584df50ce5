/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/pool.h"

#define STACK_SIZE (1u << 20) /* bytes of a thread: TLS and XML are below us */

struct job {
    void (*fn)(void *arg);
    void *arg;
    struct job *next;
};

struct pool {
    unsigned max_threads;

    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t work, idle;
    struct job *first, **last;
    unsigned n_queued, n_threads, n_idle;
    bool stopping;
};

static struct job *next_job(struct pool *pool) {
    struct job *job;

    while (!pool->first && !pool->stopping) {
        pool->n_idle++;
        pthread_cond_wait(&pool->work, &pool->lock);
        pool->n_idle--;
    }
    job = pool->first;
    if (job) {
        pool->n_queued--;
        pool->first = job->next;
        if (!pool->first)
            pool->last = &pool->first;
    }
    return job;
}

static void *worker(void *arg) {
    struct pool *pool = arg;
    struct job *job;

    pthread_mutex_lock(&pool->lock);
    while ((job = next_job(pool))) {
        pthread_mutex_unlock(&pool->lock);
        job->fn(job->arg);
        free(job);
        pthread_mutex_lock(&pool->lock);
    }
    pool->n_threads--;
    pthread_cond_broadcast(&pool->idle);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals are the program's business, not these threads'. */
static int start_worker(struct pool *pool) {
    pthread_attr_t attr;
    sigset_t all, before;
    pthread_t thread;
    int failed;

    if (pthread_attr_init(&attr))
        return -1;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&thread, &attr, worker, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (failed)
        return -1;
    pool->n_threads++;
    return 0;
}

struct pool *pool_new(unsigned max_threads) {
    struct pool *pool = calloc(1, sizeof(*pool));

    if (!pool)
        return NULL;
    pool->max_threads = max_threads;
    pool->last = &pool->first;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, NULL);
    return pool;
}

struct pool *pool_free(struct pool *pool) {
    if (!pool)
        return NULL;

    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    while (pool->n_threads)
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);

    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
    return NULL;
}

int pool_run(struct pool *pool, void (*fn)(void *arg), void *arg) {
    struct job *job = malloc(sizeof(*job));

    if (!job)
        return -1;
    *job = (struct job){.fn = fn, .arg = arg};

    LOCK_SCOPE(&pool->lock);
    if (pool->n_queued >= pool->n_idle && pool->n_threads < pool->max_threads)
        start_worker(pool);
    if (!pool->n_threads) {
        free(job);
        return -1;
    }
    *pool->last = job;
    pool->last = &job->next;
    pool->n_queued++;
    pthread_cond_signal(&pool->work);
    return 0;
}
