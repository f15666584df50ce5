/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* store_arbiter.c - how a root is swapped on this server: by its conditions, or under a lock */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/error.h"
#include "core/object.h"
#include "volume/arbiter.h"
#include "volume/dirlock.h"
#include "volume/store_private.h"

struct locked {
    struct store *store;
    struct dirlock lock;
};

/* ---------------------------------------------------------------- which way */

static struct s3pve_caps caps_of(struct s3pve_client *client) {
    LOCK_SCOPE(&client->lock);

    return client->caps;
}

/* Two owners of a volume are found out by this alone.  Both conditions go one way, so that whoever
 * makes a volume and whoever changes it see each other. */
int store_choose_swap(const struct store *store, bool *ret_by_lock, struct s3pve_error *err) {
    struct s3pve_client *client = store->client;
    struct s3pve_caps caps = caps_of(client);
    struct s3pve_call call = store_call(store);

    if (caps.put_if_match == S3PVE_UNKNOWN || caps.put_if_absent == S3PVE_UNKNOWN) {
        if (s3pve_probe(client, &caps, &call, err) < 0)
            return error_wrap(err, "what the server can do");
        s3pve_client_use_caps(client, &caps);
    }
    *ret_by_lock = caps.put_if_match != S3PVE_YES || caps.put_if_absent != S3PVE_YES;
    if (!*ret_by_lock || client->config.lock_dir[0])
        return 0;
    return error_set(
        err,
        S3PVE_E_UNSUPPORTED,
        "this server does not keep the conditions If-Match and If-None-Match, without which two "
        "nodes could write to one volume: set lock-dir to the folder of the cluster's locks"
    );
}

/* --------------------------------------------------------------------- lock */

/* All that have the same volume in mind have the same name for its lock, and people know it. */
static int name_lock(struct locked *locked, struct s3pve_error *err) {
    const struct config *config = &locked->store->client->config;
    const char *folder = locked->store->folder;
    const char *last = strrchr(folder, '/');
    const struct iovec parts[] = {
        {config->bucket, strlen(config->bucket) + 1},
        {config->prefix, strlen(config->prefix) + 1},
        {(char *)folder, strlen(folder)},
    };
    char hash[65], *path = locked->lock.path;
    int len;

    if (sigv4_hash(parts, 3, hash) < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a lock");
    len = snprintf(
        path,
        sizeof(locked->lock.path),
        "%s/s3pve-%.80s-%.16s",
        config->lock_dir,
        last ? last + 1 : folder,
        hash
    );
    if (len >= (int)sizeof(locked->lock.path))
        return error_set(err, S3PVE_E_INVALID, "lock-dir '%.100s...' is too long", path);
    return 0;
}

static int take(void *ctx, struct s3pve_error *err) {
    struct locked *locked = ctx;
    const struct store *store = locked->store;
    int64_t until_ms = clock_monotonic_ms() + ARBITER_WAIT_MS;

    if (store->until_ms && store->until_ms < until_ms)
        until_ms = store->until_ms;
    return dirlock_take(&locked->lock, until_ms, store->cancel, err);
}

static int renew(void *ctx, struct s3pve_error *err) {
    struct locked *locked = ctx;

    return dirlock_renew(&locked->lock, err);
}

static void drop(void *ctx) {
    struct locked *locked = ctx;

    dirlock_drop(&locked->lock);
}

/* --------------------------------------------------------------------- root */

static int get(void *ctx, struct buf *text, char etag[ETAG_ROOM], struct s3pve_error *err) {
    struct locked *locked = ctx;

    return store_ops.root_get(locked->store, text, etag, err);
}

static void name_root(const struct locked *locked, char key[KEY_ROOM]) {
    snprintf(key, KEY_ROOM, "%s/volume.json", locked->store->folder);
}

/* What is sent again lands twice.  A condition that is kept now and then is better than none. */
static int put(
    void *ctx, const char *text, const char *etag, bool *ret_lost, struct s3pve_error *err
) {
    const struct locked *locked = ctx;
    struct s3pve_put_options options = {
        .content_type = "application/json",
        .if_match = etag[0] ? etag : NULL,
        .if_absent = !etag[0],
    };
    struct s3pve_call call = store_call(locked->store);
    struct iovec iov = {(char *)text, strlen(text)};
    char key[KEY_ROOM];
    struct object_source source = {key, &iov, 1, &options};

    name_root(locked, key);
    return object_put_once(locked->store->client, &source, ret_lost, &call, err);
}

static int remove_root(void *ctx, const char *etag, bool *ret_lost, struct s3pve_error *err) {
    const struct locked *locked = ctx;
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    struct s3pve_call call = store_call(locked->store);
    char key[KEY_ROOM];

    name_root(locked, key);
    call.max_attempts = 1;
    if (s3pve_object_delete(locked->store->client, key, &call, &cause) == 0)
        return 0;
    *ret_lost = cause.http_status < 300 || cause.http_status >= 500;
    if (err)
        *err = cause;
    return -1;
}

/* --------------------------------------------------------------------- swap */

static const struct arbiter_ops ops = {
    .take = take, .renew = renew, .drop = drop, .get = get, .put = put, .remove = remove_root};

int store_put_by_lock(
    struct store *store,
    const char *text,
    const char *etag,
    char new_etag[ETAG_ROOM],
    struct s3pve_error *err
) {
    struct locked locked = {.store = store, .lock = {.life_ms = ARBITER_LIFE_MS}};

    if (name_lock(&locked, err) < 0)
        return -1;
    return arbiter_put(&ops, &locked, text, etag, new_etag, err);
}

int store_remove_by_lock(struct store *store, const char *etag, struct s3pve_error *err) {
    struct locked locked = {.store = store, .lock = {.life_ms = ARBITER_LIFE_MS}};

    if (name_lock(&locked, err) < 0)
        return -1;
    return arbiter_remove(&ops, &locked, etag, err);
}
