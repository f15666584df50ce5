/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* volumes.c - what the open volumes of a storage share on this node */
#include <string.h>

#include "core/engine.h"
#include "core/error.h"
#include "volume/runtime_private.h"

int volumes_open(
    struct s3pve_client *client,
    const struct volumes_options *options,
    struct volumes **ret_volumes,
    struct s3pve_error *err
) {
    struct volumes *volumes = calloc(1, sizeof(*volumes));

    if (!volumes)
        return error_set(err, S3PVE_E_NOMEM, "no memory for volumes");
    volumes->client = client;
    volumes->state_dir = strdup(options->state_dir);
    volumes->journal_size = options->journal_size;
    volumes->me = options->me;
    flights_init(&volumes->flights);
    volumes->lease = lease_new(client, &options->me, &options->times);
    volumes->local = pool_new(LOCAL_THREADS);
    volumes->remote = pool_new(REMOTE_THREADS);
    volumes->uploads = pool_new(UPLOAD_THREADS);
    volumes->cache = readcache_open(options->cache_file, options->cache_size);
    if (!volumes->cache) /* slower, and that is all */
        volumes->cache = readcache_open(NULL, READCACHE_MIN);
    if (!volumes->state_dir || !volumes->lease || !volumes->local || !volumes->remote ||
        !volumes->uploads || !volumes->cache) {
        volumes_close(volumes);
        return error_set(err, S3PVE_E_NOMEM, "no memory for volumes");
    }
    *ret_volumes = volumes;
    return 0;
}

struct volumes *volumes_close(struct volumes *volumes) {
    if (!volumes)
        return NULL;
    pool_free(volumes->uploads);
    pool_free(volumes->remote);
    pool_free(volumes->local);
    lease_free(volumes->lease);
    readcache_close(volumes->cache);
    flights_clear(&volumes->flights);
    free(volumes->state_dir);
    free(volumes);
    return NULL;
}

void volumes_cache_stats(struct volumes *volumes, struct readcache_stats *ret_stats) {
    readcache_stats(volumes->cache, ret_stats);
}
