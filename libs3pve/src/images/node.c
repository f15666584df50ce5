/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* node.c - what is asked of a node's volumes, by name */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/error.h"
#include "images/length.h"

/* One call's turn with a volume, which is the caller's alone, within the call's time. */
struct turn {
    struct limit limit;
    struct s3pve_volume *volume;
};

/* Return: the volume, or NULL: there is nothing to end then. */
static struct s3pve_volume *begin(
    struct turn *turn,
    struct s3pve_volumes *all,
    const char *name,
    enum table_want want,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    limit_begin(&turn->limit, all, call);
    turn->volume = table_take(&turn->limit, name, want, err);
    if (!turn->volume)
        limit_end(&turn->limit);
    return turn->volume;
}

static int end(struct turn *turn, int rc) {
    table_give(turn->volume);
    limit_end(&turn->limit);
    return rc;
}

_public_ int s3pve_volumes_activate(
    struct s3pve_volumes *all,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct turn turn;
    int rc;

    if (!begin(&turn, all, name, TABLE_ANY, call, err))
        return -1;
    rc = open_volume(turn.volume, &turn.limit, err);
    if (rc == 0)
        rc = open_set_active(turn.volume, true, err);
    return end(&turn, rc);
}

_public_ int s3pve_volumes_deactivate(
    struct s3pve_volumes *all,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct turn turn;

    if (!begin(&turn, all, name, TABLE_UNHELD, call, err))
        return -1;
    return end(&turn, open_hand_back(turn.volume, &turn.limit, err));
}

static int resize(
    struct s3pve_volume *volume, uint64_t size, struct limit *limit, struct s3pve_error *err
) {
    struct runtime_wait wait;
    int rc;

    if (open_volume(volume, limit, err) < 0)
        return -1;
    wait = limit_wait(limit);
    if (volume->length)
        rc = length_set(volume, size, limit, err);
    else
        rc = runtime_grow(volume->runtime, size, &wait, err);
    if (rc == 0)
        return 0;
    limit_why(limit, err);
    return error_wrap(err, "%s", volume->name);
}

_public_ int s3pve_volumes_resize(
    struct s3pve_volumes *all,
    const char *name,
    uint64_t size,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct turn turn;

    if (!begin(&turn, all, name, TABLE_ANY, call, err))
        return -1;
    return end(&turn, resize(turn.volume, size, &turn.limit, err));
}

/* ----------------------------------------------------- renaming and deletion */

_public_ int s3pve_volumes_rename(
    struct s3pve_volumes *all,
    const char *name,
    const char *new_name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct turn turn;

    if (idle_check_rename(name, new_name, err) < 0 ||
        !begin(&turn, all, name, TABLE_IDLE, call, err))
        return -1;
    return end(&turn, open_rename(turn.volume, new_name, &turn.limit, err));
}

_public_ int s3pve_volumes_delete(
    struct s3pve_volumes *all,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct turn turn;

    if (!begin(&turn, all, name, TABLE_UNHELD, call, err))
        return -1;
    return end(&turn, open_delete(turn.volume, &turn.limit, err));
}

/* ------------------------------------------------------------------ looking */

_public_ int s3pve_volumes_stat(
    struct s3pve_volumes *all,
    const char *name,
    struct s3pve_volume_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(idle_end) struct idle idle;

    if (idle_look(&idle, all->client, name, call, err) < 0)
        return -1;
    idle_info(name, &idle.root, ret_info);
    if (ret_info->is_file)
        ret_info->size = length_known(all, name, &idle.root);
    return 0;
}

/* ------------------------------------------------------------------ holding */

_public_ int s3pve_volume_hold(
    struct s3pve_volumes *all,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_volume **ret_volume,
    struct s3pve_error *err
) {
    struct turn turn;
    int rc;

    if (!begin(&turn, all, name, TABLE_ANY, call, err))
        return -1;
    rc = open_volume(turn.volume, &turn.limit, err);
    if (rc == 0) {
        pthread_mutex_lock(&all->lock);
        turn.volume->n_held++;
        pthread_mutex_unlock(&all->lock);
        *ret_volume = turn.volume;
    }
    return end(&turn, rc);
}

_public_ struct s3pve_volume *s3pve_volume_release(struct s3pve_volume *volume) {
    if (!volume)
        return NULL;
    LOCK_SCOPE(&volume->all->lock);
    volume->n_held--;
    volume->idle_ms = clock_monotonic_ms();
    pthread_cond_broadcast(&volume->all->changed);
    return NULL;
}

/* -------------------------------------------------------------------- stats */

static void add_stats(const struct runtime_stats *from, struct s3pve_volume_stats *stats) {
    stats->info.size = from->size;
    stats->epoch = from->epoch;
    stats->journal_size = from->journal_size;
    stats->dirty = from->dirty;
    stats->dirty_ms = from->dirty_since_ms ? clock_monotonic_ms() - from->dirty_since_ms : 0;
    stats->n_reads = from->n_reads;
    stats->n_writes = from->n_writes;
    stats->n_flushes = from->n_flushes;
    stats->n_segments = from->n_stored;
    stats->n_uploads = from->n_uploads;
    stats->waiting = from->waiting;
    stats->failure = from->failure;
}

/* Not open: was the last try the end of it, or will it be tried again? */
static void add_failed(const struct s3pve_error *failed, struct s3pve_volume_stats *stats) {
    switch (failed->code) {
    case S3PVE_E_TIMEOUT:
    case S3PVE_E_CANCELLED:
    case S3PVE_E_IO:
    case S3PVE_E_THROTTLED:
    case S3PVE_E_NOMEM:
    case S3PVE_E_NO_SPACE: stats->waiting = *failed; break;
    default: stats->failure = *failed;
    }
}

_public_ int s3pve_volumes_next(
    struct s3pve_volumes *all, size_t index, struct s3pve_volume_stats *ret_stats
) {
    struct s3pve_volume *volume;
    struct runtime_stats now;

    LOCK_SCOPE(&all->lock);
    for (volume = all->first; volume; volume = volume->next)
        if ((volume->runtime || volume->active || volume->left) && index-- == 0)
            break;
    if (!volume)
        return -1;
    *ret_stats = (struct s3pve_volume_stats
    ){.info = volume->info, .active = volume->active, .n_held = volume->n_held};
    strcpy(ret_stats->info.name, volume->name);
    if (!volume->runtime) {
        add_failed(&volume->failed, ret_stats);
        return 0;
    }
    runtime_stats(volume->runtime, &now);
    add_stats(&now, ret_stats);
    if (volume->length)
        ret_stats->info.size = length_now(volume->length);
    return 0;
}

_public_ void s3pve_volumes_cache(
    struct s3pve_volumes *all, struct s3pve_volumes_cache *ret_cache
) {
    struct readcache_stats stats;

    volumes_cache_stats(all->shared, &stats);
    *ret_cache = (struct s3pve_volumes_cache
    ){.size = stats.size, .used = stats.bytes, .hits = stats.hits, .misses = stats.misses};
}

_public_ void s3pve_volumes_set_bucket(struct s3pve_volumes *all, bool bucket) {
    LOCK_SCOPE(&all->lock);

    all->bucket = bucket;
}
