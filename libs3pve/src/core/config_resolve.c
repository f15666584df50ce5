/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* config_resolve.c - from options to what a client needs: presets, defaults, and what must fit */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_private.h"
#include "core/error.h"

/* Path or virtual-hosted.  A wildcard certificate covers one label, so a bucket with a dot in its
 * name can only be reached by path over TLS; an address or a bare name has no subdomains. */
static bool wants_virtual(const struct s3pve_config *settings, const struct endpoint *endpoint) {
    const char *addressing = config_value(settings, OPTION_ADDRESSING);
    bool dotted = strchr(config_value(settings, OPTION_BUCKET), '.');

    if (dotted && endpoint->tls)
        return false;
    if (strcmp(addressing, "auto") != 0)
        return strcmp(addressing, "virtual") == 0;
    if (endpoint->ipv4 || endpoint->ipv6 || !strchr(endpoint->host, '.'))
        return false;
    return strcmp(settings->provider->addressing, "virtual") == 0;
}

void config_settle(struct s3pve_config *settings) {
    const char *set_endpoint = config_value(settings, OPTION_ENDPOINT);
    const char *set_provider = config_value(settings, OPTION_PROVIDER);
    const char *set_region = config_value(settings, OPTION_REGION);
    struct endpoint endpoint = {0};

    if (*set_endpoint)
        config_endpoint_parse(set_endpoint, &endpoint, NULL);
    settings->provider =
        *set_provider ? provider_find(set_provider) : provider_of_host(endpoint.host);

    if (*set_region)
        snprintf(settings->region, sizeof(settings->region), "%s", set_region);
    else if (!provider_region_of_host(settings->provider, endpoint.host, settings->region))
        snprintf(settings->region, sizeof(settings->region), "%s", settings->provider->region);

    settings->endpoint[0] = '\0';
    if (*set_endpoint)
        snprintf(settings->endpoint, sizeof(settings->endpoint), "%s", set_endpoint);
    else if (!provider_endpoint(
                 settings->provider,
                 settings->region,
                 settings->endpoint,
                 sizeof(settings->endpoint)
             ))
        settings->endpoint[0] = '\0';
    if (!*set_endpoint && *settings->endpoint)
        config_endpoint_parse(settings->endpoint, &endpoint, NULL);
    settings->virtual_addressing = wants_virtual(settings, &endpoint);
}

static int check_endpoint(
    const struct s3pve_config *settings, struct endpoint *ret_endpoint, struct s3pve_error *err
) {
    const struct s3pve_provider *provider = settings->provider;
    struct endpoint endpoint;

    if (!*settings->endpoint && strstr(provider->endpoint, "<region>"))
        return config_refuse(
            err, "region", NULL, "missing; it gives the endpoint, %s", provider->endpoint
        );
    if (!*settings->endpoint && *provider->endpoint)
        return config_refuse(
            err, "endpoint", NULL, "missing; for %s it is %s", provider->title, provider->endpoint
        );
    if (!*settings->endpoint)
        return config_refuse(
            err,
            "endpoint",
            NULL,
            "missing; the server's address, as in https://s3.example.com:9000"
        );
    if (config_endpoint_parse(settings->endpoint, &endpoint, err) < 0)
        return -1;
    if (settings->virtual_addressing && (endpoint.ipv4 || endpoint.ipv6))
        return config_refuse(
            err,
            "addressing",
            "virtual",
            "an IP address has no subdomain for the bucket; use 'path'"
        );
    if (!endpoint.tls && *config_value(settings, OPTION_FINGERPRINT))
        return config_refuse(
            err,
            "fingerprint",
            NULL,
            "endpoint '%s' has no certificate; use https:// or drop the fingerprint",
            settings->endpoint
        );
    *ret_endpoint = endpoint;
    return 0;
}

/* The address of a bucket, as consoles show it, instead of the service's. */
static bool names_bucket(const char *host, const char *bucket, size_t bucket_len) {
    char region[64];

    if (strncmp(host, bucket, bucket_len) != 0 || host[bucket_len] != '.')
        return false;
    if (provider_region_of_host(provider_of_host(host), host, region))
        return false;
    return strcmp(provider_of_host(host + bucket_len + 1)->name, "generic") != 0;
}

static int check_bucket(
    const struct s3pve_config *settings, const struct endpoint *endpoint, struct s3pve_error *err
) {
    const char *bucket = config_value(settings, OPTION_BUCKET);
    size_t len = strlen(bucket);

    if (len == 0)
        return config_refuse(err, "bucket", NULL, "missing");
    if (names_bucket(endpoint->host, bucket, len))
        return config_refuse(
            err,
            "endpoint",
            settings->endpoint,
            "names the bucket already; leave '%s.' away",
            bucket
        );
    return 0;
}

static int check_credentials(const struct s3pve_config *settings, struct s3pve_error *err) {
    bool access = *config_value(settings, OPTION_ACCESS_KEY);
    bool secret = *config_value(settings, OPTION_SECRET_KEY);
    bool file = *config_value(settings, OPTION_CREDENTIALS_FILE);
    const char *source = config_value(settings, OPTION_CREDENTIALS);

    if (strcmp(source, "file") == 0 && !file)
        return config_refuse(err, "credentials-file", NULL, "missing, with credentials 'file'");
    if (strcmp(source, "auto") == 0 && !access && !secret && !file)
        return config_refuse(
            err,
            "access-key",
            NULL,
            "missing; give access-key and secret-key, or credentials-file, or credentials "
            "'anonymous' for a public bucket"
        );
    if (strcmp(source, "explicit") != 0 && (strcmp(source, "auto") != 0 || file))
        return 0;
    if (!access)
        return config_refuse(err, "access-key", NULL, "missing");
    return secret ? 0 : config_refuse(err, "secret-key", NULL, "missing");
}

static int check_sse(const struct s3pve_config *settings, struct s3pve_error *err) {
    const char *sse = config_value(settings, OPTION_SSE);

    if (*config_value(settings, OPTION_SSE_KMS_KEY) && strncmp(sse, "aws:kms", 7) != 0)
        return config_refuse(err, "sse-kms-key", NULL, "needs sse 'aws:kms' or 'aws:kms:dsse'");
    return 0;
}

static enum credentials_source credentials_source(const char *name) {
    static const char *const names[] = {
        [CREDS_AUTO] = "auto",
        [CREDS_EXPLICIT] = "explicit",
        [CREDS_FILE] = "file",
        [CREDS_ENV] = "env",
        [CREDS_IMDS] = "imds",
        [CREDS_ANONYMOUS] = "anonymous",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0)
            return (enum credentials_source)i;
    }
    return CREDS_AUTO;
}

static enum payload_signing payload_signing(const char *name) {
    if (strcmp(name, "always") == 0)
        return PAYLOAD_ALWAYS;
    return strcmp(name, "never") == 0 ? PAYLOAD_NEVER : PAYLOAD_AUTO;
}

static uint64_t number(const struct s3pve_config *settings, enum option option) {
    return strtoull(config_value(settings, option), NULL, 10);
}

/* The URL of the bucket and what of it is signed. */
static int resolve_address(
    const struct s3pve_config *settings, const struct endpoint *endpoint, struct config *config
) {
    _cleanup_(buf_clear) struct buf host = {0}, path = {0}, url = {0};
    const char *bucket = config_value(settings, OPTION_BUCKET);

    config->tls = endpoint->tls;
    config->virtual_addressing = settings->virtual_addressing;
    if (settings->virtual_addressing && buf_printf(&host, "%s.", bucket) < 0)
        return -1;
    if (!settings->virtual_addressing && buf_printf(&path, "/%s", bucket) < 0)
        return -1;
    if (config_endpoint_host(endpoint, &host) < 0 || buf_str(&path, "") < 0 ||
        buf_printf(
            &url, "%s%s%s", endpoint->tls ? "https://" : "http://", host.data, buf_text(&path)
        ) < 0)
        return -1;

    config->host = buf_steal(&host);
    config->base_path = buf_steal(&path);
    config->base_url = buf_steal(&url);
    return 0;
}

/* 64 hex digits in lower case from "AA:BB:...". */
static char *plain_fingerprint(const char *text) {
    char *hex = malloc(strlen(text) + 1);
    size_t n = 0;

    if (!hex)
        return NULL;
    for (; *text; text++) {
        if (*text != ':')
            hex[n++] = (char)tolower((unsigned char)*text);
    }
    hex[n] = '\0';
    return hex;
}

static int resolve_texts(const struct s3pve_config *settings, struct config *config) {
    const struct {
        enum option option;
        char **to;
    } texts[] = {
        {OPTION_STORAGE, &config->storage},
        {OPTION_BUCKET, &config->bucket},
        {OPTION_PREFIX, &config->prefix},
        {OPTION_ACCESS_KEY, &config->access_key},
        {OPTION_SECRET_KEY, &config->secret_key},
        {OPTION_SESSION_TOKEN, &config->session_token},
        {OPTION_CREDENTIALS_FILE, &config->credentials_file},
        {OPTION_CA_FILE, &config->ca_file},
        {OPTION_PROXY, &config->proxy},
        {OPTION_STORAGE_CLASS, &config->storage_class},
        {OPTION_SSE, &config->sse},
        {OPTION_SSE_KMS_KEY, &config->sse_kms_key},
        {OPTION_LOCK_DIR, &config->lock_dir},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        *texts[i].to = strdup(config_value(settings, texts[i].option));
        if (!*texts[i].to)
            return -1;
    }
    config->region = strdup(settings->region);
    config->region_named = *config_value(settings, OPTION_REGION);
    config->fingerprint = plain_fingerprint(config_value(settings, OPTION_FINGERPRINT));
    return config->region && config->fingerprint ? 0 : -1;
}

int config_resolve(
    const struct s3pve_config *settings, struct config *ret_config, struct s3pve_error *err
) {
    struct config config = {0};
    struct endpoint endpoint = {0};

    if (check_endpoint(settings, &endpoint, err) < 0 ||
        check_bucket(settings, &endpoint, err) < 0 || check_credentials(settings, err) < 0 ||
        check_sse(settings, err) < 0)
        return -1;

    config.provider = settings->provider;
    config.max_parts = settings->provider->max_parts;
    config.equal_parts = settings->provider->equal_parts;
    config.credentials = credentials_source(config_value(settings, OPTION_CREDENTIALS));
    config.payload_signing = payload_signing(config_value(settings, OPTION_PAYLOAD_SIGNING));
    config.connections = (unsigned)number(settings, OPTION_CONNECTIONS);
    config.part_size = MIB(number(settings, OPTION_PART_SIZE));
    config.upload_limit = MIB(number(settings, OPTION_UPLOAD_LIMIT));
    config.download_limit = MIB(number(settings, OPTION_DOWNLOAD_LIMIT));
    config.timeout_ms = (unsigned)number(settings, OPTION_TIMEOUT) * 1000;
    if (resolve_address(settings, &endpoint, &config) < 0 || resolve_texts(settings, &config) < 0) {
        config_clear(&config);
        return error_set(err, S3PVE_E_NOMEM, "out of memory");
    }

    *ret_config = config;
    return 0;
}

static void wipe(char *text) {
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void config_clear(struct config *config) {
    wipe(config->access_key);
    wipe(config->secret_key);
    wipe(config->session_token);
    wipe(config->proxy);
    free(config->storage);
    free(config->host);
    free(config->base_url);
    free(config->base_path);
    free(config->bucket);
    free(config->prefix);
    free(config->region);
    free(config->credentials_file);
    free(config->fingerprint);
    free(config->ca_file);
    free(config->lock_dir);
    free(config->storage_class);
    free(config->sse);
    free(config->sse_kms_key);
    *config = (struct config){0};
}
