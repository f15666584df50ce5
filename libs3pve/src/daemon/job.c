/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/job.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "daemon/process.h"

#define LOOK_MS 500 /* a request this old has its process looked at, this often */

struct line {
    struct job *first, **last;
    unsigned n_queued, n_running;
};

struct jobs {
    pthread_t watcher;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;  /* something runs again, or the end */
    struct line lines[N_JOB_KINDS];
    struct job *running; /* all kinds */
    bool asleep;         /* the watcher: nothing ran when it last looked */
    bool cancel_all;
    bool ended;
};

/* --- watching */

static void look(struct jobs *jobs) {
    int64_t since = clock_monotonic_ms() - LOOK_MS;
    for (struct job *j = jobs->running; j; j = j->next) {
        if (j->started_ms < since && process_is_killed(fuse_req_ctx(j->req)->pid))
            __atomic_store_n(&j->cancel, 1, __ATOMIC_RELEASE);
    }
}

static void wait_ms(struct jobs *jobs, int ms) {
    struct timespec until = clock_in_ms(CLOCK_REALTIME, ms);
    pthread_cond_timedwait(&jobs->wake, &jobs->lock, &until);
}

static void *watcher(void *arg) {
    struct jobs *jobs = arg;
    LOCK_SCOPE(&jobs->lock);
    while (!jobs->ended) {
        look(jobs);
        jobs->asleep = !jobs->running;
        if (jobs->asleep)
            pthread_cond_wait(&jobs->wake, &jobs->lock);
        else
            wait_ms(jobs, LOOK_MS);
    }
    return NULL;
}

/* --- running */

static void run_add(struct jobs *jobs, struct job *job) {
    LOCK_SCOPE(&jobs->lock);
    job->cancel = jobs->cancel_all;
    job->started_ms = clock_monotonic_ms();
    job->next = jobs->running;
    jobs->running = job;
    if (jobs->asleep)
        pthread_cond_signal(&jobs->wake);
    jobs->asleep = false;
}

static void run_drop(struct jobs *jobs, struct job *job) {
    LOCK_SCOPE(&jobs->lock);
    struct job **p = &jobs->running;
    while (*p != job)
        p = &(*p)->next;
    *p = job->next;
}

static void run(struct jobs *jobs, struct job *job) {
    run_add(jobs, job);
    s3pve_files_set_cancel(&job->cancel);
    int result = job->work(job);
    s3pve_files_set_cancel(NULL);
    run_drop(jobs, job); /* before the answer: it frees the request the watcher looks at */
    job->reply(job, result);
}

/* --- the queue */

static void job_free(struct job *job) {
    free((char *)job->name);
    free((char *)job->name2);
    free((void *)job->data);
    free(job);
}

/* A copy that owns its arguments. */
static struct job *job_copy(const struct job *job) {
    struct job *copy = malloc(sizeof(*copy));
    void *data = job->data ? malloc(job->len + 1) : NULL;
    char *name = job->name ? strdup(job->name) : NULL;
    char *name2 = job->name2 ? strdup(job->name2) : NULL;
    bool good = copy && !!data == !!job->data && !!name == !!job->name && !!name2 == !!job->name2;
    if (!good) {
        free(copy);
        free(data);
        free(name);
        free(name2);
        return NULL;
    }
    *copy = *job;
    copy->name = name;
    copy->name2 = name2;
    copy->data = data;
    if (data)
        memcpy(data, job->data, job->len);
    return copy;
}

/* Takes a place among those at work; false when all are taken. */
static bool take_place(struct jobs *jobs, struct line *line) {
    LOCK_SCOPE(&jobs->lock);
    if (line->n_running >= FUSE_WAITING)
        return false;
    line->n_running++;
    return true;
}

/* Queues, unless a place got free meanwhile: Return: 1 then, 0: queued, or a negative errno. */
static int enqueue(struct jobs *jobs, struct line *line, struct job *copy) {
    LOCK_SCOPE(&jobs->lock);
    if (line->n_running < FUSE_WAITING) {
        line->n_running++;
        return 1;
    }
    if (line->n_queued >= FUSE_QUEUED)
        return -EBUSY;
    copy->next = NULL;
    *line->last = copy;
    line->last = &copy->next;
    line->n_queued++;
    return 0;
}

/* The next one for a thread that finished; without one its place is given back. */
static struct job *dequeue(struct jobs *jobs, struct line *line) {
    LOCK_SCOPE(&jobs->lock);
    struct job *job = line->first;
    if (!job) {
        line->n_running--;
        return NULL;
    }
    line->first = job->next;
    if (!line->first)
        line->last = &line->first;
    line->n_queued--;
    return job;
}

/* No place, no room in the queue: the process is told, unless something would be left behind. */
static void refuse(struct jobs *jobs, const struct job *job, int why) {
    struct job here = *job;
    if (job->must_run)
        run(jobs, &here);
    else
        job->reply(&here, why);
}

void job_submit(struct jobs *jobs, const struct job *job, enum job_kind kind) {
    struct line *line = &jobs->lines[kind];
    if (!take_place(jobs, line)) {
        struct job *copy = job_copy(job);
        int r = copy ? enqueue(jobs, line, copy) : -ENOMEM;
        if (r == 0)
            return;
        if (copy)
            job_free(copy);
        if (r < 0) {
            refuse(jobs, job, r);
            return;
        }
    }

    struct job here = *job;
    run(jobs, &here);
    for (struct job *next; (next = dequeue(jobs, line));) {
        run(jobs, next);
        job_free(next);
    }
}

unsigned jobs_count(struct jobs *jobs, enum job_kind kind) {
    LOCK_SCOPE(&jobs->lock);
    return jobs->lines[kind].n_running + jobs->lines[kind].n_queued;
}

void jobs_cancel(struct jobs *jobs) {
    LOCK_SCOPE(&jobs->lock);
    jobs->cancel_all = true;
    for (struct job *j = jobs->running; j; j = j->next)
        __atomic_store_n(&j->cancel, 1, __ATOMIC_RELEASE);
}

struct jobs *jobs_new(void) {
    struct jobs *jobs = calloc(1, sizeof(*jobs));
    if (!jobs)
        return NULL;
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->wake, NULL);
    for (int i = 0; i < N_JOB_KINDS; i++)
        jobs->lines[i].last = &jobs->lines[i].first;
    if (pthread_create(&jobs->watcher, NULL, watcher, jobs) != 0) {
        free(jobs);
        return NULL;
    }
    return jobs;
}

static void end(struct jobs *jobs) {
    LOCK_SCOPE(&jobs->lock);
    jobs->ended = true;
    pthread_cond_signal(&jobs->wake);
}

struct jobs *jobs_free(struct jobs *jobs) {
    if (!jobs)
        return NULL;
    end(jobs);
    pthread_join(jobs->watcher, NULL);
    pthread_cond_destroy(&jobs->wake);
    pthread_mutex_destroy(&jobs->lock);
    free(jobs);
    return NULL;
}
