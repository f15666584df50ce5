/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* presign.c - a URL that lets its holder GET one object for a while */
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/object.h"

#define LIFETIME_MAX_S 604800 /* a week [S3] */

static bool may_be_guessed(struct s3pve_client *client) {
    LOCK_SCOPE(&client->lock);

    return !client->config.region_named && !client->bucket_seen && !client->creds.anonymous;
}

/* Nobody can correct a URL later, as the engine does with a request: keys that end soon are
 * renewed, and a region that was guessed, and not used yet, is asked for. */
static void prepare(struct s3pve_client *client) {
    const struct s3pve_call call = {.timeout_ms = CHECK_MS};

    client_renew_creds(client);
    if (may_be_guessed(client))
        (void)s3pve_bucket_check(client, &call, NULL);
}

static int presign_url(
    struct s3pve_client *client, const char *path, unsigned lifetime_s, struct buf *url
) {
    const struct config *config = &client->config;
    struct sigv4_pair host = {"host", config->host};
    struct sigv4_request rq = {.method = "GET", .path = path, .headers = &host, .n_headers = 1};
    size_t origin = strlen(config->base_url) - strlen(config->base_path);
    LOCK_SCOPE(&client->lock);
    const struct creds *creds = &client->creds;
    struct sigv4_scope scope = {
        .region = client->region[0] ? client->region : "us-east-1",
        .service = "s3",
        .time_s = client->transport.wall_s(client->transport.ctx) + client->skew_s,
    };

    if (buf_printf(url, "%.*s%s", (int)origin, config->base_url, path) < 0)
        return -1;
    if (creds->anonymous)
        return 0;
    if (!sigv4_key_fits(&client->signing_key, &scope) &&
        sigv4_derive(&client->signing_key, creds->secret_key, &scope) < 0)
        return -1;
    if (buf_str(url, "?") < 0)
        return -1;
    return sigv4_presign(
        &rq,
        &scope,
        creds->access_key,
        *creds->token ? creds->token : NULL,
        &client->signing_key,
        lifetime_s,
        url
    );
}

_public_ int s3pve_object_presign(
    struct s3pve_client *client,
    const char *key,
    unsigned lifetime_s,
    char **ret_url,
    struct s3pve_error *err
) {
    _cleanup_(buf_clear) struct buf path = {.max = LIMIT_URL};
    _cleanup_(buf_wipe) struct buf url = {.max = LIMIT_URL};
    const char *prefix = client->config.prefix;

    if (object_check_key(client, key, err) < 0)
        return -1;
    if (lifetime_s < 1 || lifetime_s > LIFETIME_MAX_S)
        return error_set(
            err,
            S3PVE_E_INVALID,
            "a URL lives 1 to %d seconds (7 days), not %u",
            LIFETIME_MAX_S,
            lifetime_s
        );
    prepare(client);
    if (buf_printf(&path, "%s/", client->config.base_path) < 0 ||
        sigv4_encode(&path, prefix, strlen(prefix), true) < 0 ||
        sigv4_encode(&path, key, strlen(key), true) < 0 ||
        presign_url(client, buf_text(&path), lifetime_s, &url) < 0)
        return error_set(err, S3PVE_E_NOMEM, "presign %s: too long, or out of memory", key);

    *ret_url = buf_steal(&url);
    return 0;
}
