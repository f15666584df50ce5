/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* usage.c - how full the storage is, without asking it each time */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "core/client.h"
#include "core/error.h"
#include "files/files.h"
#include "files/stream.h"

int usage_reserve(struct s3pve_files *files, uint64_t bytes) {
    uint64_t taken = files->usage.bytes + files->usage.reserved;

    if (files->quota && (taken > files->quota || bytes > files->quota - taken))
        return -ENOSPC;
    files->usage.reserved += bytes;
    return 0;
}

void usage_release(struct s3pve_files *files, uint64_t bytes) {
    files->usage.reserved -= bytes < files->usage.reserved ? bytes : files->usage.reserved;
}

static uint64_t add_clamped(uint64_t value, int64_t change) {
    if (change < 0 && (uint64_t)-change > value)
        return 0;
    return value + (uint64_t)change;
}

void usage_change(struct s3pve_files *files, int64_t bytes, int objects) {
    struct usage *usage = &files->usage;

    usage->bytes = add_clamped(usage->bytes, bytes);
    usage->objects = add_clamped(usage->objects, objects);
    if (usage->counting) {
        usage->bytes_since += bytes;
        usage->objects_since += objects;
    }
}

/* A change made while the count ran may or may not be in it.  Counting it twice errs on the side
 * that the next count puts right, a few objects at most. */
static void count(void *arg) {
    struct s3pve_files *files = arg;
    const struct s3pve_call call = {.timeout_ms = CALL_MS_MAX, .cancel = &files->closing};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct usage *usage = &files->usage;
    uint64_t objects = 0, bytes = 0;
    int64_t began_ms = clock_monotonic_ms(), took_ms;
    int rc = s3pve_bucket_usage(files->client, &objects, &bytes, &call, &err);

    if (rc < 0 && err.code != S3PVE_E_CANCELLED)
        files_fail(files, "count", "", &err);
    took_ms = clock_monotonic_ms() - began_ms;

    LOCK_SCOPE(&files->lock);
    usage->counting = false;
    usage->due_ms = clock_monotonic_ms() + COUNT_EVERY_MS;
    if (rc < 0) {
        usage->due_ms = clock_monotonic_ms() + COUNT_EVERY_MS / 10;
        return;
    }
    if (took_ms * COUNT_SHARE > COUNT_EVERY_MS)
        usage->due_ms = clock_monotonic_ms() + took_ms * COUNT_SHARE;
    usage->bytes = add_clamped(bytes, usage->bytes_since);
    usage->objects = add_clamped(objects, usage->objects_since);
    usage->as_of_s = clock_wall_s();
}

/* On a thread of its own: with a million objects it takes a minute. */
static void count_if_due(struct s3pve_files *files) {
    struct usage *usage = &files->usage;

    LOCK_SCOPE(&files->lock);
    if (usage->counting || !files->online ||
        (clock_monotonic_ms() < usage->due_ms && usage->counted_epoch == files->epoch))
        return;
    usage->counted_epoch = files->epoch;
    usage->bytes_since = usage->objects_since = 0;
    usage->counting = pool_run(files->listers, count, files) == 0;
}

/* Traffic that succeeds proves as much as a request of our own. */
static bool check_is_due(struct s3pve_files *files) {
    struct s3pve_counters counters;
    bool proven;

    s3pve_client_counters(files->client, &counters);
    proven = counters.last_ok_s >= clock_wall_s() - CHECK_EVERY_MS / 1000 &&
             counters.last_ok_s >= counters.last_fail_s;

    LOCK_SCOPE(&files->lock);
    if (files->checked_epoch != files->epoch)
        return true;
    if (files->online && proven)
        return false;
    return !files->online || clock_monotonic_ms() - files->checked_ms >= CHECK_EVERY_MS;
}

static void check(struct s3pve_files *files, const struct s3pve_call *call) {
    struct s3pve_call bounded = call ? *call : (struct s3pve_call){0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    unsigned epoch;
    int rc;

    if (!bounded.timeout_ms)
        bounded.timeout_ms = CHECK_MS;
    if (!bounded.cancel)
        bounded.cancel = &files->closing;
    pthread_mutex_lock(&files->lock);
    epoch = files->epoch;
    pthread_mutex_unlock(&files->lock);
    rc = s3pve_bucket_check(files->client, &bounded, &err);
    if (rc == 0)
        files_mark_online(files);
    else if (err.code != S3PVE_E_CANCELLED)
        files_fail(files, "check", "", &err);

    LOCK_SCOPE(&files->lock);
    files->checked_ms = clock_monotonic_ms();
    files->checked_epoch = epoch;
}

static void retry_aborts(void *arg) {
    struct s3pve_files *files = arg;

    records_abort_left(files);
    LOCK_SCOPE(&files->lock);
    files->aborting = false;
    files->abort_due_ms = clock_monotonic_ms() + RETRY_ABORT_MS;
}

/* Like counting: each may take its time, and the heartbeat has none. */
static void retry_aborts_if_due(struct s3pve_files *files) {
    LOCK_SCOPE(&files->lock);
    if (files->online && !files->aborting && clock_monotonic_ms() >= files->abort_due_ms)
        files->aborting = pool_run(files->listers, retry_aborts, files) == 0;
}

_public_ void s3pve_files_refresh(struct s3pve_files *files, const struct s3pve_call *call) {
    if (check_is_due(files))
        check(files, call);
    count_if_due(files);
    retry_aborts_if_due(files);
}

static void add_streams(struct s3pve_files *files, struct s3pve_files_stats *stats) {
    for (const struct stream *stream = files->streams; stream; stream = stream->next) {
        stats->uploads++;
        stats->held_uploads += stream_is_held(stream);
    }
}

_public_ void s3pve_files_stats(struct s3pve_files *files, struct s3pve_files_stats *ret_stats) {
    struct s3pve_files_stats stats = {0};
    uint64_t taken;

    blocks_stats(files->blocks, &stats);
    stats.upload_memory =
        atomic_load(&files->client->part_memory) + atomic_load(&files->head_bytes);

    LOCK_SCOPE(&files->lock);
    stats.used_bytes = files->usage.bytes;
    stats.used_objects = files->usage.objects;
    stats.used_as_of_s = files->usage.as_of_s;
    taken = files->usage.bytes + files->usage.reserved;
    stats.total_bytes = files->quota ? files->quota : files->virtual_size;
    /* without a quota there is always room, and it should look so */
    if (!files->quota && taken > stats.total_bytes / 2)
        stats.total_bytes = taken * 2;
    stats.avail_bytes = stats.total_bytes > taken ? stats.total_bytes - taken : 0;
    stats.open_files = files->n_open;
    add_streams(files, &stats);
    stats.online = files->online;
    memcpy(stats.last_error, files->last_error, sizeof(stats.last_error));
    *ret_stats = stats;
}

_public_ void s3pve_files_set_limits(
    struct s3pve_files *files, uint64_t cache_size, uint64_t quota
) {
    blocks_set_size(files->blocks, cache_size);
    LOCK_SCOPE(&files->lock);
    files->quota = quota;
}

_public_ int s3pve_files_upload_next(
    struct s3pve_files *files, size_t index, struct s3pve_files_upload *ret_upload
) {
    LOCK_SCOPE(&files->lock);
    for (const struct stream *stream = files->streams; stream; stream = stream->next) {
        if (index-- == 0) {
            stream_describe(stream, ret_upload);
            return 0;
        }
    }
    return -ENOENT;
}
