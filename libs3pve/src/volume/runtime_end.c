/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* runtime_end.c - what is not a guest's: drain, hand back, grow, close */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "core/error.h"
#include "volume/runtime_private.h"
#include "volume/swap.h"

static bool is_set(const int *cancel) {
    return cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED);
}

/* ------------------------------------------------- a word with the volume's thread */

struct word {
    struct event event;
    bool drain;
    uint64_t size;
    bool heard;
};

/* With the lock held; comes back when it was heard. */
static void say(struct runtime *rt, struct word *word, void (*fn)(struct runtime *rt, void *arg)) {
    word->event = (struct event){.fn = fn, .arg = word};
    runtime_post_locked(rt, &word->event);
    while (!word->heard)
        pthread_cond_wait(&rt->changed, &rt->lock);
}

static void hear_drain(struct runtime *rt, void *arg) {
    struct word *word = arg;

    volume_drain(rt->volume, word->drain);
    LOCK_SCOPE(&rt->lock);
    rt->is_drained = false; /* until it was looked at */
    word->heard = true;
    pthread_cond_broadcast(&rt->changed);
}

static void hear_size(struct runtime *rt, void *arg) {
    struct word *word = arg;

    volume_resized(rt->volume, word->size);
    LOCK_SCOPE(&rt->lock);
    rt->params.size = rt->stats.size = word->size;
    word->heard = true;
    pthread_cond_broadcast(&rt->changed);
}

/* -------------------------------------------------------------------- drain */

static int tell_dirty(const struct runtime *rt, struct s3pve_error *err) {
    const char *why = rt->stats.waiting.code ? rt->stats.waiting.message : "";

    if (!rt->stats.dirty)
        return error_set(
            err,
            S3PVE_E_TIMEOUT,
            "the bucket has all of the volume, but not yet the map that node '%s' has of it%s%s",
            rt->volumes->me.name,
            *why ? ": " : "",
            why
        );
    return error_set(
        err,
        S3PVE_E_TIMEOUT,
        "node '%s' has %" PRIu64 " MiB of the volume that are not in the bucket yet%s%s",
        rt->volumes->me.name,
        (rt->stats.dirty + MIB(1) - 1) >> 20,
        *why ? ": " : "",
        why
    );
}

/* With the lock held.  After success it goes on draining. */
static int wait_drained(
    struct runtime *rt, const struct runtime_wait *wait, struct s3pve_error *err
) {
    int64_t until_ms = clock_monotonic_ms() + wait->timeout_ms;
    struct word begin = {.drain = true}, stop = {.drain = false};

    rt->n_watching++;
    say(rt, &begin, hear_drain);
    while (!rt->is_drained && !rt->stats.failure.code && clock_monotonic_ms() < until_ms &&
           !is_set(wait->cancel)) {
        int64_t look_ms = clock_monotonic_ms() + CANCEL_LOOK_MS;
        struct timespec look = clock_timespec(look_ms < until_ms ? look_ms : until_ms);

        pthread_cond_timedwait(&rt->changed, &rt->lock, &look);
    }
    rt->n_watching--;
    if (rt->is_drained && !rt->stats.failure.code)
        return 0;
    say(rt, &stop, hear_drain);
    if (rt->stats.failure.code) {
        if (err)
            *err = rt->stats.failure;
        return -1;
    }
    if (is_set(wait->cancel))
        return error_set(err, S3PVE_E_CANCELLED, "cancelled");
    return tell_dirty(rt, err);
}

int runtime_drain(struct runtime *rt, const struct runtime_wait *wait, struct s3pve_error *err) {
    struct word stop = {.drain = false};

    LOCK_SCOPE(&rt->lock);
    if (rt->closing || rt->refusing)
        return error_set(err, S3PVE_E_CANCELLED, "the volume is being closed");
    if (wait_drained(rt, wait, err) < 0)
        return -1;
    say(rt, &stop, hear_drain);
    return 0;
}

/* --------------------------------------------------------------------- grow */

static struct store store_for(const struct runtime *rt, const struct runtime_wait *wait) {
    struct store store = rt->store;

    store.until_ms = clock_monotonic_ms() + wait->timeout_ms;
    if (wait->cancel)
        store.cancel = wait->cancel;
    return store;
}

/* A checkpoint that is being published has it for as long as one request. */
static int take_root(struct runtime *rt, const struct store *store, struct s3pve_error *err) {
    while (pthread_mutex_trylock(&rt->root_lock) != 0) {
        if (is_set(store->cancel))
            return error_set(err, S3PVE_E_CANCELLED, "cancelled");
        if (clock_monotonic_ms() >= store->until_ms)
            return error_set(err, S3PVE_E_TIMEOUT, "the store does not take a checkpoint");
        nanosleep(&(struct timespec){.tv_nsec = ROOT_LOOK_MS * 1000000L}, NULL);
    }
    return 0;
}

int runtime_grow(
    struct runtime *rt, uint64_t size, const struct runtime_wait *wait, struct s3pve_error *err
) {
    struct store store = store_for(rt, wait);
    struct word word = {.size = size};
    int rc;

    if (take_root(rt, &store, err) < 0)
        return -1;
    rc = volume_grow(rt->volume, &store_ops, &store, size, err);
    pthread_mutex_unlock(&rt->root_lock);
    if (rc < 0)
        return -1;
    LOCK_SCOPE(&rt->lock);
    say(rt, &word, hear_size);
    return 0;
}

int runtime_change_root(
    struct runtime *rt,
    int (*change)(struct root *root, const void *arg, struct s3pve_error *err),
    const void *arg,
    const struct runtime_wait *wait,
    struct s3pve_error *err
) {
    struct root_change how = {rt->volume->epoch, rt->volume->nonce, change, arg};
    struct store store = store_for(rt, wait);
    int rc;

    if (take_root(rt, &store, err) < 0)
        return -1;
    rc = root_change(&store_ops, &store, &how, err);
    pthread_mutex_unlock(&rt->root_lock);
    return rc;
}

/* ------------------------------------------------------------------- ending */

static void end(struct runtime *rt, void *arg) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    error_set(&err, S3PVE_E_CANCELLED, "the volume was closed");
    volume_fail(rt->volume, &err);
}

/* Uploads of a volume that opened, and then there was no thread for it. */
static void stop_without_thread(struct runtime *rt) {
    struct event *events;

    pthread_mutex_lock(&rt->lock);
    while (rt->n_jobs) {
        rt->asleep = true; /* as the thread would be */
        pthread_cond_wait(&rt->changed, &rt->lock);
    }
    events = rt->first;
    pthread_mutex_unlock(&rt->lock);
    if (events)
        runtime_turn(rt, events);
}

static void join(struct runtime *rt, struct event *event) {
    pthread_mutex_lock(&rt->lock);
    rt->closing = true;
    runtime_post_locked(rt, event);
    pthread_mutex_unlock(&rt->lock);
    pthread_join(rt->thread, NULL);
    LOCK_SCOPE(&rt->lock);
    rt->has_thread = false;
}

static void stop(struct runtime *rt) {
    struct event event = {.fn = end};

    __atomic_store_n(&rt->cancel, 1, __ATOMIC_RELAXED);
    if (rt->has_thread)
        join(rt, &event);
    else
        stop_without_thread(rt);
}

static void do_nothing(struct runtime *rt, void *arg) {
}

/* Nothing but the root is left to be done. */
static int stop_drained(
    struct runtime *rt, const struct runtime_wait *wait, struct s3pve_error *err
) {
    struct event event = {.fn = do_nothing};
    int rc;

    if (!rt->has_thread)
        return 0;
    pthread_mutex_lock(&rt->lock);
    rt->refusing = true;
    rc = wait_drained(rt, wait, err);
    rt->refusing = rc == 0;
    pthread_mutex_unlock(&rt->lock);
    if (rc == 0)
        join(rt, &event);
    return rc;
}

int runtime_hand_back(
    struct runtime *rt, const struct runtime_wait *wait, struct s3pve_error *err
) {
    struct store store = store_for(rt, wait);

    if (stop_drained(rt, wait, err) < 0)
        return -1;
    for (unsigned n = 0;; n++) {
        struct s3pve_error cause = S3PVE_ERROR_INIT;

        if (volume_close(rt->volume, &store_ops, &store, &cause) == 0)
            break;
        if (cause.code != S3PVE_E_CONFLICT && clock_monotonic_ms() < store.until_ms &&
            store_again(&store, n))
            continue;
        if (err)
            *err = cause;
        return -1;
    }
    journal_file_remove(rt->journal);
    return 0;
}

bool runtime_is_over(struct runtime *rt) {
    LOCK_SCOPE(&rt->lock);

    return rt->closing || rt->refusing || rt->stats.failure.code;
}

void runtime_cancel(struct runtime *rt) {
    LOCK_SCOPE(&rt->lock);

    __atomic_store_n(&rt->cancel, 1, __ATOMIC_RELAXED);
    rt->refusing = true;
    if (rt->cancelling.fn || !rt->has_thread)
        return;
    rt->cancelling.fn = end;
    runtime_post_locked(rt, &rt->cancelling);
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
