/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "core/error.h"
#include "volume/runtime_private.h"

/* ------------------------------------------------------------------- events */

static void add(struct event ***last, struct event *event) {
    event->next = NULL;
    **last = event;
    *last = &event->next;
}

static void wake_locked(struct runtime *rt) {
    if (rt->asleep)
        pthread_cond_broadcast(&rt->changed);
    rt->asleep = false;
}

void runtime_post_locked(struct runtime *rt, struct event *event) {
    add(&rt->last, event);
    wake_locked(rt);
}

void runtime_post(struct runtime *rt, struct event *event) {
    LOCK_SCOPE(&rt->lock);

    runtime_post_locked(rt, event);
}

void runtime_post_job(struct runtime *rt, struct event *event) {
    LOCK_SCOPE(&rt->lock);

    rt->n_jobs--;
    runtime_post_locked(rt, event);
}

void runtime_soon(struct runtime *rt, struct event *event) {
    add(&rt->soon_last, event);
}

int runtime_job(struct runtime *rt, struct pool *pool, void (*fn)(void *arg), void *arg) {
    pthread_mutex_lock(&rt->lock);
    rt->n_jobs++;
    pthread_mutex_unlock(&rt->lock);
    if (pool_run(pool, fn, arg) == 0)
        return 0;
    LOCK_SCOPE(&rt->lock);
    rt->n_jobs--;
    return -1;
}

static struct event *take_soon(struct runtime *rt) {
    struct event *event = rt->soon;

    if (event) {
        rt->soon = event->next;
        if (!rt->soon)
            rt->soon_last = &rt->soon;
    }
    return event;
}

/* What ops did at once, until the machine has come to rest. */
static void settle(struct runtime *rt) {
    struct event *event;

    do {
        runtime_tell_written(rt);
        volume_hold(rt->volume);
        while ((event = take_soon(rt)))
            event->fn(rt, event->arg);
        volume_go(rt->volume);
    } while (rt->soon || rt->n_written);
    if (rt->out_of_memory)
        machine_fail_memory(rt->volume);
}

/* ------------------------------------------------------------------- thread */

/* With the lock held.  Who waits for the lease or for time to pass is looked after. */
static struct event *wait_for_events(struct runtime *rt) {
    struct event *events;

    while (!rt->first) {
        struct timespec until = clock_timespec(rt->wake_ms);

        if (rt->wake_ms && clock_monotonic_ms() >= rt->wake_ms)
            break;
        rt->asleep = true;
        if (rt->wake_ms)
            pthread_cond_timedwait(&rt->changed, &rt->lock, &until);
        else
            pthread_cond_wait(&rt->changed, &rt->lock);
    }
    rt->asleep = false;
    events = rt->first;
    rt->first = NULL;
    rt->last = &rt->first;
    return events;
}

static void publish_stats(struct runtime *rt) {
    const struct volume *volume = rt->volume;
    struct runtime_stats *stats = &rt->stats;
    const struct batch *batch = volume->first;

    while (batch && batch->applied)
        batch = batch->next;
    rt->n_requests -= rt->n_answered;
    rt->n_answered = 0;
    stats->epoch = volume->epoch;
    stats->size = volume->params.size;
    stats->tip = volume->tip;
    stats->journal_size = volume->ring.len;
    stats->dirty = batch ? volume->ring.head - batch->ring_first : 0;
    stats->dirty_since_ms = batch ? batch->since_ms : 0;
    stats->n_requests = rt->n_requests;
    stats->n_uploads = volume->n_puts;
    stats->n_reads = rt->counts.n_reads;
    stats->n_writes = rt->counts.n_writes;
    stats->n_flushes = rt->counts.n_flushes;
    stats->n_stored = rt->counts.n_stored;
    stats->failure = volume->failure;
    rt->is_drained = volume_is_drained(volume);
    if (rt->n_watching)
        pthread_cond_broadcast(&rt->changed);
}

void runtime_turn(struct runtime *rt, struct event *events) {
    int64_t look_again_ms;

    if (rt->wake_ms && clock_monotonic_ms() >= rt->wake_ms)
        rt->wake_ms = 0;
    volume_tick(rt->volume, clock_monotonic_ms());
    settle(rt);
    volume_hold(rt->volume);
    while (events) {
        struct event *event = events;

        events = event->next;
        event->fn(rt, event->arg);
    }
    volume_go(rt->volume);
    settle(rt);
    runtime_check_lease(rt);
    settle(rt);
    look_again_ms = clock_monotonic_ms() + LEASE_LOOK_MS;
    if (rt->volume->flushes.head && (!rt->wake_ms || rt->wake_ms > look_again_ms))
        rt->wake_ms = look_again_ms; /* it may be the lease that it waits for */
}

void *runtime_thread(void *arg) {
    struct runtime *rt = arg;

    pthread_mutex_lock(&rt->lock);
    publish_stats(rt);
    while (!rt->closing || rt->n_requests || rt->n_jobs || rt->first) {
        struct event *events = wait_for_events(rt);

        pthread_mutex_unlock(&rt->lock);
        runtime_turn(rt, events);
        pthread_mutex_lock(&rt->lock);
        publish_stats(rt);
    }
    pthread_mutex_unlock(&rt->lock);
    return NULL;
}

/* ----------------------------------------------------------------- requests */

static void count(struct runtime *rt, const struct runtime_request *r) {
    switch (r->request.type) {
    case VOLUME_READ: rt->counts.n_reads++; break;
    case VOLUME_FLUSH: rt->counts.n_flushes++; break;
    default: rt->counts.n_writes++;
    }
}

static void submitted(struct runtime *rt, void *arg) {
    struct runtime_request *r = arg;
    bool reads = r->request.type == VOLUME_READ && r->data;
    struct runtime_request copy = {.request = {.offset = r->request.offset, .len = r->request.len}};

    count(rt, r);
    volume_submit(rt->volume, &r->request); /* from here on it may be gone */
    if (reads && !rt->volume->failure.code)
        runtime_read_ahead(rt, &copy);
}

static bool is_within(uint64_t size, const struct volume_request *request) {
    return request->type == VOLUME_FLUSH ||
           (request->len && request->len <= size && request->offset <= size - request->len);
}

void runtime_begin(struct runtime *rt, struct runtime_request *r) {
    r->runtime = rt;
    runtime_prepare(r); /* a read needs nothing */
    pthread_mutex_lock(&rt->lock);
    rt->n_requests++;
    pthread_mutex_unlock(&rt->lock);
    volume_submit(rt->volume, &r->request);
}

/* Return: whether the volume's thread has it. */
static bool pass_on(struct runtime *rt, struct runtime_request *r) {
    LOCK_SCOPE(&rt->lock);

    if (rt->closing || rt->refusing)
        return false;
    rt->n_requests++;
    add(&rt->last, &r->event);
    return true;
}

static void try(struct runtime *rt, struct runtime_request *r, struct s3pve_error *err) {
    r->runtime = rt;
    r->event = (struct event){.fn = submitted, .arg = r};
    if (!is_within(runtime_size(rt), &r->request)) {
        error_set(err, S3PVE_E_INVALID, "beyond the end of the volume");
    } else if (runtime_prepare(r) < 0) {
        error_set(err, S3PVE_E_NOMEM, "no memory for a request");
    } else if (!pass_on(rt, r)) {
        runtime_clear(r);
        error_set(err, S3PVE_E_CANCELLED, "the volume is being closed");
    }
}

void runtime_submit(struct runtime *rt, struct runtime_request *r) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    bool more = r->more;

    try(rt, r, &err);
    if (err.code)
        r->done(r, &err);
    if (more)
        return;
    LOCK_SCOPE(&rt->lock);
    wake_locked(rt);
}

uint64_t runtime_size(struct runtime *rt) {
    LOCK_SCOPE(&rt->lock);

    return rt->stats.size;
}

uint32_t runtime_nonce(struct runtime *rt) {
    return rt->volume->nonce;
}

void runtime_stats(struct runtime *rt, struct runtime_stats *ret_stats) {
    LOCK_SCOPE(&rt->lock);

    *ret_stats = rt->stats;
}
