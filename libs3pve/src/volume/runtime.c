/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
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

static void post_locked(struct runtime *rt, struct event *event) {
    pthread_cond_broadcast(&rt->changed);
    add(&rt->last, event);
}

void runtime_post(struct runtime *rt, struct event *event) {
    LOCK_SCOPE(&rt->lock);

    post_locked(rt, event);
}

void runtime_post_job(struct runtime *rt, struct event *event) {
    LOCK_SCOPE(&rt->lock);

    rt->n_jobs--;
    post_locked(rt, event);
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
        event = take_soon(rt);
        if (event)
            event->fn(rt, event->arg);
    } while (event || rt->n_written);
    if (rt->out_of_memory)
        machine_fail_memory(rt->volume);
}

/* ------------------------------------------------------------------- thread */

static void until_ms(int64_t at_ms, struct timespec *ret) {
    ret->tv_sec = at_ms / 1000;
    ret->tv_nsec = at_ms % 1000 * 1000000;
}

/* With the lock held.  Who waits for the lease or for time to pass is looked after. */
static struct event *wait_for_events(struct runtime *rt) {
    struct event *events;

    while (!rt->first) {
        struct timespec until;

        if (rt->wake_ms && clock_monotonic_ms() >= rt->wake_ms)
            break;
        if (!rt->wake_ms) {
            pthread_cond_wait(&rt->changed, &rt->lock);
            continue;
        }
        until_ms(rt->wake_ms, &until);
        pthread_cond_timedwait(&rt->changed, &rt->lock, &until);
    }
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
    stats->epoch = volume->epoch;
    stats->size = rt->params.size;
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
    if (rt->draining)
        pthread_cond_broadcast(&rt->changed);
    rt->volume->params.seal_age_ms = rt->draining ? 0 : rt->params.seal_age_ms;
}

static void turn(struct runtime *rt, struct event *events) {
    int64_t look_again_ms;

    if (rt->wake_ms && clock_monotonic_ms() >= rt->wake_ms)
        rt->wake_ms = 0;
    volume_tick(rt->volume, clock_monotonic_ms());
    settle(rt);
    while (events) {
        struct event *event = events;

        events = event->next;
        event->fn(rt, event->arg);
    }
    settle(rt);
    runtime_check_lease(rt);
    settle(rt);
    look_again_ms = clock_monotonic_ms() + LEASE_LOOK_MS;
    if (rt->volume->flushes.head && (!rt->wake_ms || rt->wake_ms > look_again_ms))
        rt->wake_ms = look_again_ms; /* it may be the lease that it waits for */
}

static void *run(void *arg) {
    struct runtime *rt = arg;

    pthread_mutex_lock(&rt->lock);
    publish_stats(rt);
    while (!rt->closing || rt->n_requests || rt->n_jobs || rt->first) {
        struct event *events = wait_for_events(rt);

        pthread_mutex_unlock(&rt->lock);
        turn(rt, events);
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

static bool is_within(const struct runtime *rt, const struct volume_request *request) {
    return request->type == VOLUME_FLUSH || (request->len && request->len <= rt->params.size &&
                                             request->offset <= rt->params.size - request->len);
}

static void refuse(struct runtime_request *r, enum s3pve_code code, const char *why) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    error_set(&err, code, "%s", why);
    r->done(r, &err);
}

void runtime_begin(struct runtime *rt, struct runtime_request *r) {
    r->runtime = rt;
    runtime_prepare(r); /* a read needs nothing */
    pthread_mutex_lock(&rt->lock);
    rt->n_requests++;
    pthread_mutex_unlock(&rt->lock);
    volume_submit(rt->volume, &r->request);
}

void runtime_submit(struct runtime *rt, struct runtime_request *r) {
    bool closing;

    r->runtime = rt;
    if (!is_within(rt, &r->request)) {
        refuse(r, S3PVE_E_INVALID, "beyond the end of the volume");
        return;
    }
    if (runtime_prepare(r) < 0) {
        refuse(r, S3PVE_E_NOMEM, "no memory for a request");
        return;
    }
    r->event = (struct event){.fn = submitted, .arg = r};
    pthread_mutex_lock(&rt->lock);
    closing = rt->closing;
    if (!closing) {
        rt->n_requests++;
        post_locked(rt, &r->event);
    }
    pthread_mutex_unlock(&rt->lock);
    if (closing) {
        runtime_release(r);
        refuse(r, S3PVE_E_CANCELLED, "the volume is being closed");
    }
}

/* ------------------------------------------------------------------ opening */

static struct runtime *runtime_new(struct volumes *volumes) {
    struct runtime *rt = calloc(1, sizeof(*rt));
    pthread_condattr_t attr;

    if (!rt)
        return NULL;
    rt->volumes = volumes;
    rt->last = &rt->first;
    rt->soon_last = &rt->soon;
    pthread_mutex_init(&rt->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&rt->changed, &attr);
    pthread_condattr_destroy(&attr);
    runtime_ops_init(rt);
    return rt;
}

/* Two owners of a volume are found out by this alone. */
static int check_server(struct s3pve_client *client, struct s3pve_error *err) {
    struct s3pve_caps caps;

    pthread_mutex_lock(&client->lock);
    caps = client->caps;
    pthread_mutex_unlock(&client->lock);
    if (caps.put_if_match == S3PVE_UNKNOWN) {
        if (s3pve_probe(client, &caps, NULL, err) < 0)
            return error_wrap(err, "what the server can do");
        s3pve_client_use_caps(client, &caps);
    }
    if (caps.put_if_match == S3PVE_YES)
        return 0;
    return error_set(
        err,
        S3PVE_E_UNSUPPORTED,
        "this server does not keep the condition If-Match, without which two nodes could write to "
        "one volume"
    );
}

static uint64_t ring_len_for(const struct volumes *volumes, uint64_t size) {
    uint64_t len = volumes->journal_size ? volumes->journal_size : JOURNAL_RING;

    if (!volumes->journal_size && len > size * 2)
        len = size * 2 > JOURNAL_RING_MIN ? size * 2 : JOURNAL_RING_MIN;
    return len / BLOCK * BLOCK;
}

static int open_journal(struct runtime *rt, struct s3pve_error *err) {
    char path[4096], uuid[2 * UUID_LEN + 1];

    for (unsigned i = 0; i < UUID_LEN; i++)
        snprintf(uuid + 2 * i, 3, "%02x", rt->params.uuid[i]);
    if (snprintf(path, sizeof(path), "%s/%s", rt->volumes->state_dir, uuid) >= (int)sizeof(path))
        return error_set(err, S3PVE_E_INVALID, "the state folder's name is too long");
    if (journal_file_open(path, ring_len_for(rt->volumes, rt->params.size), &rt->journal, err) < 0)
        return -1;
    rt->store.journal = rt->journal;
    return 0;
}

static int read_params(
    struct runtime *rt, const struct runtime_options *options, struct s3pve_error *err
) {
    _cleanup_(root_clear) struct root root = {0};

    if (store_root(&rt->store, &root, rt->etag, err) < 0)
        return -1;
    rt->params = (struct volume_params){
        .size = root.size,
        .bucket = options->bucket,
        .segment_blocks = root.segment_blocks,
        .seal_age_ms = options->seal_age_ms ? options->seal_age_ms : SEAL_AGE_MS,
        .puts = VOLUME_PUTS,
        .map_memory = VOLUME_MAP_MEMORY,
        .grace_ms = VOLUME_GRACE_MS,
    };
    memcpy(rt->params.uuid, root.uuid, UUID_LEN);
    return 0;
}

/* The protocol, which is over before anybody else may use the store. */
static int claim_volume(struct runtime *rt, const int *cancel, struct s3pve_error *err) {
    struct store store = rt->store;
    int rc;

    store.cancel = cancel;
    store.headers = headers_new(store.client, store.data, cancel);
    if (!store.headers)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a volume");
    rc = volume_open(rt->volume, &store_ops, &store, &rt->volumes->me, &rt->root, rt->etag, err);
    headers_free(store.headers);
    if (rc == 0 && memcmp(rt->root.uuid, rt->params.uuid, UUID_LEN) != 0)
        return error_set(err, S3PVE_E_CONFLICT, "the volume was replaced meanwhile");
    return rc;
}

static int open_volume(
    struct runtime *rt,
    const struct runtime_options *options,
    const int *cancel,
    struct s3pve_error *err
) {
    struct volumes *volumes = rt->volumes;

    if (check_server(volumes->client, err) < 0 || read_params(rt, options, err) < 0)
        return -1;
    if (lease_hold(volumes->lease, cancel, err) < 0)
        return -1;
    rt->is_held = true;
    rt->term = lease_term(volumes->lease);
    if (open_journal(rt, err) < 0)
        return -1;
    rt->volume = volume_new(&rt->params, &runtime_volume_ops, rt);
    if (!rt->volume)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a volume");
    volume_tick(rt->volume, clock_monotonic_ms());
    return claim_volume(rt, cancel, err);
}

static int start(struct runtime *rt, struct s3pve_error *err) {
    if (pthread_create(&rt->thread, NULL, run, rt) != 0)
        return error_set(err, S3PVE_E_NOMEM, "no thread for a volume");
    rt->has_thread = true;
    return 0;
}

int runtime_open(
    struct volumes *volumes,
    const char *folder,
    const struct runtime_options *options,
    const int *cancel,
    struct runtime **ret_runtime,
    struct s3pve_error *err
) {
    struct runtime *rt = runtime_new(volumes);

    if (!rt)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a volume");
    rt->store =
        (struct store){.client = volumes->client, .lease = volumes->lease, .cancel = &rt->cancel};
    snprintf(rt->store.folder, sizeof(rt->store.folder), "%s", folder);
    if (open_volume(rt, options, cancel, err) < 0 || start(rt, err) < 0) {
        runtime_close(rt);
        return error_wrap(err, "volume %s", folder);
    }
    *ret_runtime = rt;
    return 0;
}

uint64_t runtime_size(const struct runtime *rt) {
    return rt->params.size;
}

/* ------------------------------------------------------------------- ending */

struct drain {
    struct event event;
    bool seen;
};

/* What is said to be dirty from now on is what was there. */
static void drain(struct runtime *rt, void *arg) {
    struct drain *draining = arg;

    LOCK_SCOPE(&rt->lock);
    draining->seen = true;
    rt->stats.dirty = UINT64_MAX;
}

int runtime_drain(struct runtime *rt, unsigned timeout_ms, struct s3pve_error *err) {
    struct drain draining = {.event = {.fn = drain, .arg = &draining}};
    struct timespec until;
    int timed_out = 0;

    until_ms(clock_monotonic_ms() + timeout_ms, &until);
    LOCK_SCOPE(&rt->lock);
    rt->draining = true;
    post_locked(rt, &draining.event);
    while (!draining.seen || (rt->stats.dirty && !rt->stats.failure.code && !timed_out))
        timed_out = pthread_cond_timedwait(&rt->changed, &rt->lock, &until);
    rt->draining = false;
    if (rt->stats.failure.code && err)
        *err = rt->stats.failure;
    if (rt->stats.failure.code)
        return -1;
    if (!rt->stats.dirty)
        return 0;
    return error_set(
        err,
        S3PVE_E_TIMEOUT,
        "node '%s' has %" PRIu64 " MiB of the volume that are not in the bucket yet",
        rt->volumes->me.name,
        (rt->stats.dirty >> 20) + 1
    );
}

static void end(struct runtime *rt, void *arg) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    error_set(&err, S3PVE_E_CANCELLED, "the volume was closed");
    machine_fail(rt->volume, &err);
}

/* Uploads of a volume that opened, and then there was no thread for it. */
static void stop_without_thread(struct runtime *rt) {
    struct event *events;

    pthread_mutex_lock(&rt->lock);
    while (rt->n_jobs)
        pthread_cond_wait(&rt->changed, &rt->lock);
    events = rt->first;
    pthread_mutex_unlock(&rt->lock);
    if (events)
        turn(rt, events);
}

static void stop(struct runtime *rt) {
    struct event event = {.fn = end};

    __atomic_store_n(&rt->cancel, 1, __ATOMIC_RELAXED);
    if (!rt->has_thread) {
        stop_without_thread(rt);
        return;
    }
    pthread_mutex_lock(&rt->lock);
    rt->closing = true;
    post_locked(rt, &event);
    pthread_mutex_unlock(&rt->lock);
    pthread_join(rt->thread, NULL);
}

struct runtime *runtime_close(struct runtime *rt) {
    if (!rt)
        return NULL;
    stop(rt);
    volume_free(rt->volume);
    journal_file_close(rt->journal);
    root_clear(&rt->root);
    runtime_map_clear(rt);
    if (rt->is_held)
        lease_drop(rt->volumes->lease);
    pthread_cond_destroy(&rt->changed);
    pthread_mutex_destroy(&rt->lock);
    free(rt);
    return NULL;
}

void runtime_stats(struct runtime *rt, struct runtime_stats *ret_stats) {
    LOCK_SCOPE(&rt->lock);

    *ret_stats = rt->stats;
}
