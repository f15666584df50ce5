/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/volume_care.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/fail.h"
#include "daemon/log.h"
#include "daemon/mountpoint.h"

#define FOLDER "volumes"  /* in the state folder; a cache of that name in the cache's */
#define SERVE_MS 2000     /* to hold a volume that is open */
#define TRASH_MS 600000   /* for one go at it */
#define HAND_BACK_ONE 500 /* ms, at least, for each */

/* --- the beginning */

int volume_care_open(struct daemon *daemon, struct s3pve_error *err) {
    const struct config *config = daemon->config;
    char state[PATH_MAX], cache[PATH_MAX];
    snprintf(state, sizeof(state), "%s/" FOLDER, config->state_dir);
    if (mkdir_all(state, 0700) < 0)
        return fail_errno(err, "%s", state);
    if (config->cache_dir)
        snprintf(cache, sizeof(cache), "%s/" FOLDER, config->cache_dir);
    uint64_t cache_size = daemon->volumes_cache = config_volumes_cache(config);
    struct s3pve_volumes_options options = {
        .state_dir = state,
        .cache_file = cache_size ? cache : NULL,
        .cache_size = cache_size ? cache_size : READCACHE_MIN,
        .journal_size = config->journal_size,
        .node = config->node,
        .bucket = config->bucket,
    };
    return s3pve_volumes_open(daemon->client, &options, &daemon->volumes, err);
}

/* Only now is it sure that it is active: whoever changes that has taken it. */
void volume_care_serve(struct daemon *daemon, struct export *export, const char *name) {
    struct s3pve_volume_stats stats;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = {.timeout_ms = SERVE_MS, .cancel = &daemon->stop};
    bool wanted = volume_care_find(daemon, name, &stats) && stats.active && !stats.info.is_file &&
                  !stats.failure.code;
    if (wanted && export_add(export, &call, &err) < 0 && !daemon_is_stopping(daemon))
        log_say(S3PVE_LOG_WARNING, "volumes", "%s is not served yet: %s", name, err.message);
    export_fit(export);
}

void volume_care_serve_all(struct daemon *daemon) {
    struct s3pve_volume_stats stats;
    for (size_t i = 0; s3pve_volumes_next(daemon->volumes, i, &stats) == 0; i++) {
        struct export *export = stats.active ? export_try(daemon->exports, stats.info.name) : NULL;
        if (!export)
            continue;
        volume_care_serve(daemon, export, stats.info.name);
        export_give(export);
    }
}

bool volume_care_recover(struct daemon *daemon, unsigned timeout_ms) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = {.timeout_ms = timeout_ms, .cancel = &daemon->stop};
    int n = s3pve_volumes_recover(daemon->volumes, &call, &err);
    if (n < 0 && !daemon_is_stopping(daemon))
        log_say(S3PVE_LOG_WARNING, "volumes", "not all are open yet: %s", err.message);
    if (n > 0)
        log_say(S3PVE_LOG_INFO, "volumes", "%d active, as before", n);
    if (daemon->exports)
        volume_care_serve_all(daemon);
    return n >= 0;
}

/* --- looking after them */

/* An end that has been told. */
struct volume_failed {
    struct volume_failed *next;
    char name[S3PVE_VOLUME_NAME];
    uint32_t epoch;
};

static bool has_been_told(const struct volume_care *care, const struct s3pve_volume_stats *stats) {
    const struct volume_failed *failed = care->failed;
    while (failed && (failed->epoch != stats->epoch || strcmp(failed->name, stats->info.name) != 0))
        failed = failed->next;
    return failed;
}

static void note(struct volume_care *care, const struct s3pve_volume_stats *stats) {
    struct volume_failed *failed = calloc(1, sizeof(*failed));
    if (!failed)
        return;
    memcpy(failed->name, stats->info.name, sizeof(failed->name));
    failed->epoch = stats->epoch;
    failed->next = care->failed;
    care->failed = failed;
}

void volume_care_clear(struct volume_care *care) {
    for (struct volume_failed *failed; (failed = care->failed);) {
        care->failed = failed->next;
        free(failed);
    }
}

void volume_care_look(struct daemon *daemon, struct volume_care *care) {
    struct volume_care now = {0};
    struct s3pve_volume_stats stats;
    for (size_t i = 0; s3pve_volumes_next(daemon->volumes, i, &stats) == 0; i++) {
        const char *name = stats.info.name, *why = stats.failure.message;
        if (!stats.failure.code)
            continue;
        if (!has_been_told(care, &stats))
            log_say(S3PVE_LOG_ERROR, "volumes", "%s has failed, and serves nobody: %s", name, why);
        note(&now, &stats);
    }
    volume_care_clear(care);
    *care = now;
    volume_care_serve_all(daemon);
}

bool volume_care_empty_trash(struct daemon *daemon) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = {.timeout_ms = TRASH_MS, .cancel = &daemon->stop};
    if (s3pve_volume_empty_trash(daemon->client, &call, &err) == 0)
        return true;
    if (!daemon_is_stopping(daemon))
        log_say(S3PVE_LOG_WARNING, "trash", "%s", err.message);
    return false;
}

/* --- the end */

/* One that cannot be handed back stays this node's, with what it has in its journal. */
static void hand_back(struct daemon *daemon, const char *name, int64_t until_ms) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int64_t left = until_ms - clock_monotonic_ms();
    struct s3pve_call call = {.timeout_ms = left > HAND_BACK_ONE ? (unsigned)left : HAND_BACK_ONE};
    if (s3pve_volumes_deactivate(daemon->volumes, name, &call, &err) < 0)
        log_say(S3PVE_LOG_ERROR, "volumes", "%s stays this node's: %s", name, err.message);
}

/* One that was handed back is not open any more. */
void volume_care_hand_back(struct daemon *daemon, int64_t until_ms) {
    struct s3pve_volume_stats stats;
    size_t failed = 0;
    export_let_go(daemon->exports, until_ms);
    while (clock_monotonic_ms() < until_ms &&
           s3pve_volumes_next(daemon->volumes, failed, &stats) == 0) {
        hand_back(daemon, stats.info.name, until_ms);
        failed += volume_care_find(daemon, stats.info.name, &stats);
    }
}

/* --- what there is */

bool volume_care_find(
    struct daemon *daemon, const char *name, struct s3pve_volume_stats *ret_stats
) {
    struct s3pve_volume_stats stats;
    for (size_t i = 0; s3pve_volumes_next(daemon->volumes, i, &stats) == 0; i++) {
        if (strcmp(stats.info.name, name) != 0)
            continue;
        *ret_stats = stats;
        return true;
    }
    return false;
}

struct volume_sum volume_care_sum(struct daemon *daemon) {
    struct volume_sum sum = {0};
    struct s3pve_volume_stats stats;
    for (size_t i = 0; s3pve_volumes_next(daemon->volumes, i, &stats) == 0; i++) {
        struct export_count count = export_count(daemon->exports, stats.info.name);
        sum.n_open++;
        sum.n_active += stats.active;
        sum.n_failed += stats.failure.code != S3PVE_OK;
        sum.n_used += stats.n_held > count.n_exports || count.n_clients > 0;
        sum.n_uploads += stats.n_uploads;
        sum.dirty += stats.dirty;
        if (stats.dirty_ms > sum.dirty_ms)
            sum.dirty_ms = stats.dirty_ms;
    }
    return sum;
}
