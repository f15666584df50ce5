/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "core/client.h"
#include "core/engine.h"
#include "core/error.h"

DEFINE_CLEANUP(struct s3pve_client *, s3pve_client_close)

static int client_init(
    struct s3pve_client *client, const struct s3pve_config *config, struct s3pve_error *err
) {
    if (config_resolve(config, &client->config, err) < 0)
        return -1;
    if (creds_load(&client->config, &client->creds, err) < 0)
        return -1;
    snprintf(client->region, sizeof(client->region), "%s", client->config.region);
    return engine_new(client, err);
}

int client_open_with(
    const struct s3pve_config *config,
    s3pve_log_fn log,
    void *log_ctx,
    const struct transport *transport,
    struct s3pve_client **ret_client,
    struct s3pve_error *err
) {
    _cleanup_(s3pve_client_closep) struct s3pve_client *client = calloc(1, sizeof(*client));

    if (!client) {
        if (transport)
            transport->free(transport->ctx, false);
        return error_set(err, S3PVE_E_NOMEM, "client");
    }

    pthread_mutex_init(&client->renewing, NULL);
    pthread_mutex_init(&client->lock, NULL);
    client->pid = getpid();
    client->log = log;
    client->log_ctx = log_ctx;
    if (transport)
        client->transport = *transport;
    if (client_init(client, config, err) < 0)
        return -1;
    if (!transport && http_transport(&client->config, &client->transport, err) < 0)
        return -1;

    *ret_client = steal_ptr(&client);
    return 0;
}

_public_ int s3pve_client_open(
    const struct s3pve_config *config,
    s3pve_log_fn log,
    void *log_ctx,
    struct s3pve_client **ret_client,
    struct s3pve_error *err
) {
    return client_open_with(config, log, log_ctx, NULL, ret_client, err);
}

_public_ int s3pve_client_start_thread(struct s3pve_client *client, struct s3pve_error *err) {
    return engine_start_thread(client, err);
}

_public_ struct s3pve_client *s3pve_client_close(struct s3pve_client *client) {
    bool forked;

    if (!client)
        return NULL;

    forked = client->pid != getpid();
    engine_free(client->engine, forked);
    if (client->transport.free)
        client->transport.free(client->transport.ctx, forked);
    sigv4_key_wipe(&client->signing_key);
    creds_clear(&client->creds);
    config_clear(&client->config);
    if (!forked) {
        pthread_mutex_destroy(&client->renewing);
        pthread_mutex_destroy(&client->lock);
    }
    free(client);
    return NULL;
}

/* Another store, for which other keys are meant: they must not be sent to this one. */
static int check_same(const struct config *old, const struct config *new, struct s3pve_error *err) {
    const struct {
        const char *name, *old, *new;
    } fixed[] = {
        {"endpoint", old->base_url, new->base_url},
        {"bucket", old->bucket, new->bucket},
        {"prefix", old->prefix, new->prefix},
    };

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        if (strcmp(fixed[i].old, fixed[i].new) != 0)
            return error_set(
                err, S3PVE_E_INVALID, "a new %s takes effect only after a restart", fixed[i].name
            );
    return 0;
}

/* What others read without a lock, or hold pointers into: only a new client can have another. */
static bool needs_restart(const struct config *old, const struct config *new) {
    const char *const texts[][2] = {
        {old->storage, new->storage},
        {old->region, new->region},
        {old->storage_class, new->storage_class},
        {old->sse, new->sse},
        {old->sse_kms_key, new->sse_kms_key},
        {old->fingerprint, new->fingerprint},
        {old->ca_file, new->ca_file},
        {old->proxy, new->proxy},
        {old->lock_dir, new->lock_dir},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strcmp(texts[i][0], texts[i][1]) != 0)
            return true;
    return old->provider != new->provider || old->region_named != new->region_named ||
           old->payload_signing != new->payload_signing || old->connections != new->connections ||
           old->part_size != new->part_size || old->timeout_ms != new->timeout_ms;
}

/* From now on these; they are taken over. */
static void set_creds(struct s3pve_client *client, const struct creds *creds) {
    LOCK_SCOPE(&client->lock);

    creds_clear(&client->creds);
    client->creds = *creds;
    client->creds_serial++;
    sigv4_key_wipe(&client->signing_key);
}

/* May they be fetched now?  Where that fails, not again for a while. */
static bool claim_renewal(struct s3pve_client *client, bool expired) {
    int64_t now_s = client->transport.wall_s(client->transport.ctx);
    int64_t now_ms = client->transport.now_ms(client->transport.ctx);
    LOCK_SCOPE(&client->lock);
    int64_t end_s = client->creds.expires_s;
    bool soon = end_s && now_s + client->skew_s + CREDS_EARLY_S >= end_s;

    if ((!soon && !expired) || now_ms < client->creds_after_ms)
        return false;
    client->creds_after_ms = now_ms + CREDS_AGAIN_S * 1000;
    return true;
}

/* With `renewing`. */
static bool fetch_creds(struct s3pve_client *client) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct creds fresh;

    if (creds_load(&client->config, &fresh, &err) < 0) {
        client_log(client, S3PVE_LOG_WARNING, "credentials", NULL, "%s", err.message);
        return false;
    }
    set_creds(client, &fresh);
    return true;
}

/* Those whom it does not fall to go on with what there is. */
void client_renew_creds(struct s3pve_client *client) {
    if (!claim_renewal(client, false))
        return;
    LOCK_SCOPE(&client->renewing);

    fetch_creds(client);
}

static unsigned serial_of(struct s3pve_client *client) {
    LOCK_SCOPE(&client->lock);

    return client->creds_serial;
}

bool client_refresh_creds(struct s3pve_client *client, unsigned creds_serial) {
    LOCK_SCOPE(&client->renewing);

    if (serial_of(client) != creds_serial)
        return true;
    return claim_renewal(client, true) && fetch_creds(client);
}

static void swap_text(char **a, char **b) {
    char *text = *a;

    *a = *b;
    *b = text;
}

/* With `renewing`: later keys come from where these did. */
static void take_source(struct config *to, struct config *from) {
    to->credentials = from->credentials;
    swap_text(&to->credentials_file, &from->credentials_file);
    swap_text(&to->access_key, &from->access_key);
    swap_text(&to->secret_key, &from->secret_key);
    swap_text(&to->session_token, &from->session_token);
}

_public_ int s3pve_client_reconfigure(
    struct s3pve_client *client, const struct s3pve_config *config, struct s3pve_error *err
) {
    _cleanup_(config_clear) struct config fresh = {0};
    struct creds creds = {0};

    if (client->pid != getpid()) /* a lock may be held for ever, see engine_calls.c */
        return error_set(err, S3PVE_E_INVALID, "reconfigure: used after fork()");
    LOCK_SCOPE(&client->renewing);
    if (config_resolve(config, &fresh, err) < 0 || check_same(&client->config, &fresh, err) < 0 ||
        creds_load(&fresh, &creds, err) < 0)
        return -1;

    set_creds(client, &creds);
    take_source(&client->config, &fresh);
    engine_limit(client->engine, fresh.upload_limit, fresh.download_limit);
    return needs_restart(&client->config, &fresh);
}

_public_ void s3pve_client_counters(
    struct s3pve_client *client, struct s3pve_counters *ret_counters
) {
    unsigned in_flight;

    if (client->pid != getpid()) { /* a lock may be held for ever, see engine_calls.c */
        *ret_counters = client->counters;
        return;
    }
    in_flight = engine_in_flight(client->engine);
    LOCK_SCOPE(&client->lock);

    *ret_counters = client->counters;
    ret_counters->in_flight = in_flight;
}

int client_full_key(
    const struct s3pve_client *client, const char *key, char **ret_key, struct s3pve_error *err
) {
    if (asprintf(ret_key, "%s%s", client->config.prefix, key) < 0)
        return error_set(err, S3PVE_E_NOMEM, "key");
    return 0;
}

const char *client_relative_key(const struct s3pve_client *client, const char *full_key) {
    size_t len = strlen(client->config.prefix);

    return strncmp(full_key, client->config.prefix, len) == 0 ? full_key + len : NULL;
}

void client_log(
    struct s3pve_client *client,
    enum s3pve_log_level level,
    const char *operation,
    const char *key,
    const char *fmt,
    ...
) {
    char text[512], shown[LIMIT_KEY + 1];
    struct s3pve_log_record record = {
        .level = level,
        .storage = client->config.storage,
        .operation = operation,
        .key = shown,
        .s3_code = "",
        .request_id = "",
        .message = text,
    };
    va_list ap;

    if (!client->log)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    snprintf(shown, sizeof(shown), "%s", key ? key : "");
    utf8_make_printable(text);
    utf8_make_printable(shown);
    client->log(client->log_ctx, &record);
}
