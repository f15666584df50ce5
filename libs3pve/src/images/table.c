/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "core/error.h"
#include "images/table.h"

/* ------------------------------------------------------------------- limits */

void limit_begin(struct limit *limit, struct s3pve_volumes *all, const struct s3pve_call *call) {
    *limit = (struct limit){
        .all = all,
        .until_ms = idle_until_ms(all->client, call),
        .theirs = call ? call->cancel : NULL,
    };
    LOCK_SCOPE(&all->lock);
    limit->cancel = all->stopping;
    limit->next = all->limits;
    all->limits = limit;
    pthread_cond_broadcast(&all->changed);
}

void limit_end(struct limit *limit) {
    struct limit **at = &limit->all->limits;

    LOCK_SCOPE(&limit->all->lock);
    while (*at != limit)
        at = &(*at)->next;
    *at = limit->next;
}

int limit_why(const struct limit *limit, struct s3pve_error *err) {
    if (!err || err->code != S3PVE_E_CANCELLED)
        return -1;
    if (limit->late)
        return error_set(err, S3PVE_E_TIMEOUT, "the time is up");
    return error_set(err, S3PVE_E_CANCELLED, "cancelled");
}

unsigned limit_left_ms(const struct limit *limit) {
    int64_t left_ms = limit->until_ms - clock_monotonic_ms();

    return left_ms > 0 ? (unsigned)left_ms : 0;
}

struct runtime_wait limit_wait(const struct limit *limit) {
    return (struct runtime_wait){.timeout_ms = limit_left_ms(limit), .cancel = &limit->cancel};
}

/* ------------------------------------------------------------------- taking */

struct s3pve_volume *table_find(struct s3pve_volumes *all, const char *name) {
    struct s3pve_volume *volume = all->first;

    while (volume && strcmp(volume->name, name) != 0)
        volume = volume->next;
    return volume;
}

static struct s3pve_volume *add(struct s3pve_volumes *all, const char *name) {
    struct s3pve_volume *volume = calloc(1, sizeof(*volume));

    if (!volume)
        return NULL;
    volume->all = all;
    snprintf(volume->name, sizeof(volume->name), "%s", name);
    volume->next = all->first;
    all->first = volume;
    return volume;
}

/* With the lock held. */
static void forget(struct s3pve_volume *volume) {
    struct s3pve_volume **at = &volume->all->first;

    if (volume->taken || volume->n_waiting || volume->n_held || volume->runtime || volume->active ||
        volume->left)
        return;
    while (*at != volume)
        at = &(*at)->next;
    *at = volume->next;
    free(volume);
}

/* With the lock held.  Not while somebody has it who may be about to deactivate it. */
static bool is_refused(const struct s3pve_volume *volume, enum table_want want) {
    return want == TABLE_IDLE && volume->active && !volume->taken;
}

static bool is_in_use(const struct s3pve_volume *volume, enum table_want want) {
    return volume->taken || (want != TABLE_ANY && volume->n_held);
}

static int tell_why(
    const struct limit *limit,
    const struct s3pve_volume *volume,
    enum table_want want,
    struct s3pve_error *err
) {
    if (is_refused(volume, want))
        return error_set(err, S3PVE_E_CONFLICT, "%s is active on this node", volume->name);
    if (limit->late && volume->n_held && !volume->taken)
        return error_set(err, S3PVE_E_CONFLICT, "%s is in use on this node", volume->name);
    error_set(err, S3PVE_E_CANCELLED, " ");
    limit_why(limit, err);
    return error_wrap(err, "%s", volume->name);
}

struct s3pve_volume *table_take(
    struct limit *limit, const char *name, enum table_want want, struct s3pve_error *err
) {
    struct s3pve_volumes *all = limit->all;
    struct s3pve_volume *volume;

    if (s3pve_volume_check_name(name, err) < 0)
        return NULL;
    LOCK_SCOPE(&all->lock);
    volume = table_find(all, name);
    if (!volume)
        volume = add(all, name);
    if (!volume)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a volume"), NULL;
    volume->n_waiting++;
    limit->waited = volume->taken;
    limit->n_tries = volume->n_tries;
    if (volume->cancel)
        __atomic_store_n(volume->cancel, 1, __ATOMIC_RELAXED);
    while (is_in_use(volume, want) && !is_refused(volume, want) && !limit->cancel)
        pthread_cond_wait(&all->changed, &all->lock);
    volume->n_waiting--;
    if (limit->cancel || is_refused(volume, want)) {
        tell_why(limit, volume, want, err);
        forget(volume);
        return NULL;
    }
    volume->taken = true;
    return volume;
}

void table_give(struct s3pve_volume *volume) {
    struct s3pve_volumes *all = volume->all;

    LOCK_SCOPE(&all->lock);
    volume->taken = false;
    volume->cancel = NULL;
    forget(volume);
    pthread_cond_broadcast(&all->changed);
}

/* ------------------------------------------------------------------ opening */

static int set_options(
    struct s3pve_volumes *all,
    const struct s3pve_volumes_options *options,
    struct volumes_options *shared,
    struct s3pve_error *err
) {
    if (names_check_node(options->node, err) < 0)
        return -1;
    if (!options->incarnation && lease_incarnation(all->me.incarnation, err) < 0)
        return -1;
    if (options->incarnation)
        snprintf(all->me.incarnation, sizeof(all->me.incarnation), "%s", options->incarnation);
    strcpy(all->me.name, options->node);
    all->bucket = options->bucket;
    all->linger_ms = options->linger_ms ? options->linger_ms : VOLUME_LINGER_MS;
    *shared = (struct volumes_options){
        .state_dir = options->state_dir,
        .cache_file = options->cache_file,
        .cache_size = options->cache_size,
        .journal_size = options->journal_size,
        .me = all->me,
        .times = all->times,
    };
    return 0;
}

static int start(
    struct s3pve_volumes *all,
    const struct s3pve_volumes_options *options,
    const struct lease_times *times,
    struct s3pve_error *err
) {
    struct volumes_options shared;

    all->times = *times;
    if (set_options(all, options, &shared, err) < 0 ||
        volumes_open(all->client, &shared, &all->shared, err) < 0)
        return -1;
    all->state_dir = strdup(options->state_dir);
    all->background = pool_new(BACKGROUND_THREADS);
    all->files = pool_new(FILE_THREADS);
    if (!all->state_dir || !all->background || !all->files ||
        thread_start(&all->thread, "s3-keeper", keeper_thread, all) < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for volumes");
    all->has_thread = true;
    return 0;
}

int table_open(
    struct s3pve_client *client,
    const struct s3pve_volumes_options *options,
    const struct lease_times *times,
    struct s3pve_volumes **ret_volumes,
    struct s3pve_error *err
) {
    struct s3pve_volumes *all = calloc(1, sizeof(*all));
    pthread_condattr_t attr;

    if (!all)
        return error_set(err, S3PVE_E_NOMEM, "no memory for volumes");
    all->client = client;
    pthread_mutex_init(&all->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&all->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (start(all, options, times, err) < 0) {
        s3pve_volumes_close(all);
        return -1;
    }
    *ret_volumes = all;
    return 0;
}

_public_ int s3pve_volumes_open(
    struct s3pve_client *client,
    const struct s3pve_volumes_options *options,
    struct s3pve_volumes **ret_volumes,
    struct s3pve_error *err
) {
    return table_open(client, options, &lease_times, ret_volumes, err);
}

/* ------------------------------------------------------------------- ending */

_public_ void s3pve_volumes_stop(struct s3pve_volumes *all) {
    LOCK_SCOPE(&all->lock);

    all->stopping = true;
    __atomic_store_n(&all->stop, 1, __ATOMIC_RELAXED);
    for (struct limit *limit = all->limits; limit; limit = limit->next)
        __atomic_store_n(&limit->cancel, 1, __ATOMIC_RELAXED);
    for (struct s3pve_volume *volume = all->first; volume; volume = volume->next)
        if (volume->runtime)
            runtime_cancel(volume->runtime);
    pthread_cond_broadcast(&all->changed);
}

static void free_volumes(struct s3pve_volumes *all) {
    while (all->first) {
        struct s3pve_volume *volume = all->first;

        open_drop(volume);
        all->first = volume->next;
        free(volume);
    }
}

_public_ struct s3pve_volumes *s3pve_volumes_close(struct s3pve_volumes *all) {
    if (!all)
        return NULL;
    s3pve_volumes_stop(all);
    if (all->has_thread)
        pthread_join(all->thread, NULL);
    if (all->background)
        pool_free(all->background);
    if (all->files)
        pool_free(all->files);
    free_volumes(all);
    volumes_close(all->shared);
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->lock);
    free(all->state_dir);
    free(all);
    return NULL;
}
