/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* keeper.c - one thread that looks whose time is up: of calls, and of volumes that nobody uses */
#include <string.h>

#include "base/clock.h"
#include "core/error.h"
#include "images/length.h"

/* ---------------------------------------------------------------------- calls */

/* Return: when to look again, 0: there is nothing to look at. */
static int64_t watch_limits(struct s3pve_volumes *all, int64_t now_ms) {
    bool raised = false;

    for (struct limit *limit = all->limits; limit; limit = limit->next) {
        bool given_up = limit->theirs && __atomic_load_n(limit->theirs, __ATOMIC_RELAXED);

        if (limit->cancel || (now_ms < limit->until_ms && !given_up))
            continue;
        limit->late = !given_up;
        __atomic_store_n(&limit->cancel, 1, __ATOMIC_RELAXED);
        raised = true;
    }
    if (raised)
        pthread_cond_broadcast(&all->changed);
    return all->limits ? now_ms + CANCEL_LOOK_MS : 0;
}

/* -------------------------------------------------------------------- volumes */

static bool is_unused(const struct s3pve_volume *volume) {
    return (volume->runtime || volume->left) && !volume->active && !volume->n_held;
}

static int look_after(struct s3pve_volume *volume, struct limit *limit, struct s3pve_error *err) {
    struct runtime_wait wait = limit_wait(limit);
    bool unused;

    pthread_mutex_lock(&volume->all->lock);
    unused = is_unused(volume);
    pthread_mutex_unlock(&volume->all->lock);
    return unused ? open_hand_back(volume, limit, err) : length_store(volume, &wait, err);
}

static void work_on(struct s3pve_volume *volume, struct limit *limit) {
    struct s3pve_error err = S3PVE_ERROR_INIT, before = volume->failed;

    if (look_after(volume, limit, &err) == 0)
        return;
    if (err.code != S3PVE_E_CANCELLED && err.code != before.code)
        client_log(
            volume->all->client, S3PVE_LOG_WARNING, "volume", volume->name, "%s", err.message
        );
    LOCK_SCOPE(&volume->all->lock);
    volume->again_ms = clock_monotonic_ms() + BACKGROUND_AGAIN_MS;
}

/* A job of the background: it was taken. */
static void work(void *arg) {
    struct s3pve_volume *volume = arg;
    struct s3pve_volumes *all = volume->all;
    struct s3pve_call call = {.timeout_ms = BACKGROUND_MS};
    struct limit limit;

    limit_begin(&limit, all, &call);
    pthread_mutex_lock(&all->lock);
    volume->cancel = &limit.cancel;
    if (volume->n_waiting)
        __atomic_store_n(&limit.cancel, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&all->lock);
    work_on(volume, &limit);
    table_give(volume);
    limit_end(&limit);
}

/* When there is something to be done for it; 0: never. */
static int64_t due_ms(const struct s3pve_volume *volume) {
    int64_t dirty_ms = volume->length ? length_dirty_ms(volume->length) : 0, due_ms = 0;

    if (volume->taken || volume->n_waiting)
        return 0; /* whoever has it will tell */
    if (is_unused(volume))
        due_ms = volume->runtime ? volume->idle_ms + volume->all->linger_ms : 1;
    else if (dirty_ms)
        due_ms = dirty_ms + LENGTH_AGE_MS;
    return due_ms && due_ms < volume->again_ms ? volume->again_ms : due_ms;
}

static int64_t watch_volumes(struct s3pve_volumes *all, int64_t now_ms) {
    int64_t next_ms = 0;

    for (struct s3pve_volume *volume = all->first; volume; volume = volume->next) {
        int64_t due = due_ms(volume);

        if (due > now_ms && (!next_ms || due < next_ms))
            next_ms = due;
        if (!due || due > now_ms)
            continue;
        volume->taken = true;
        if (pool_run(all->background, work, volume) < 0) {
            volume->taken = false;
            volume->again_ms = now_ms + BACKGROUND_AGAIN_MS;
        }
    }
    return next_ms;
}

/* --------------------------------------------------------------------- thread */

static void wait_until(struct s3pve_volumes *all, int64_t at_ms) {
    struct timespec at = clock_timespec(at_ms);

    if (at_ms)
        pthread_cond_timedwait(&all->changed, &all->lock, &at);
    else
        pthread_cond_wait(&all->changed, &all->lock);
}

static bool has_files(const struct s3pve_volumes *all) {
    const struct s3pve_volume *volume = all->first;

    while (volume && !volume->length)
        volume = volume->next;
    return volume;
}

void *keeper_thread(void *arg) {
    struct s3pve_volumes *all = arg;

    LOCK_SCOPE(&all->lock);
    while (!all->stopping) {
        int64_t now_ms = clock_monotonic_ms();
        int64_t limits_ms = watch_limits(all, now_ms), volumes_ms = watch_volumes(all, now_ms);

        if (has_files(all) && (!volumes_ms || volumes_ms > now_ms + LENGTH_AGE_MS / 2))
            volumes_ms = now_ms + LENGTH_AGE_MS / 2; /* nobody tells when one has grown */
        wait_until(
            all, limits_ms && (!volumes_ms || limits_ms < volumes_ms) ? limits_ms : volumes_ms
        );
    }
    return NULL;
}
