/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* runtime_open.c - from a volume's name to a thread that moves its machine */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "core/error.h"
#include "volume/runtime_private.h"
#include "volume/store_private.h"

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

/* More than its whole content twice is of little use to a volume. */
static uint64_t ring_len_for(const struct volumes *volumes, uint64_t size) {
    uint64_t len = volumes->journal_size ? volumes->journal_size : JOURNAL_RING;
    uint64_t most = size * 2 > JOURNAL_RING_MIN ? size * 2 : JOURNAL_RING_MIN;

    return (len < most ? len : most) / BLOCK * BLOCK;
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
    bool by_lock;

    if (store_choose_swap(&rt->store, &by_lock, err) < 0 || read_params(rt, options, err) < 0)
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
    rt->params.size = rt->stats.size = rt->volume->params.size;
    rt->stats.epoch = rt->volume->epoch;
    if (thread_start(&rt->thread, "s3-volume", runtime_thread, rt) < 0)
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
        return -1;
    }
    *ret_runtime = rt;
    return 0;
}
