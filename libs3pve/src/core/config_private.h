/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * config_private.h - what config*.c share: the options as they were set
 *
 *     s3pve_config_set() --config_accept()--> struct s3pve_config --config_resolve()--> struct
 * config
 *
 * A value is checked alone when it is set, and against the others when the whole is resolved.
 */
#ifndef CORE_CONFIG_PRIVATE_H
#define CORE_CONFIG_PRIVATE_H

#include "base/buf.h"
#include "base/limits.h"
#include "core/config.h"
#include "core/provider.h"

enum option {
    OPTION_ENDPOINT,
    OPTION_BUCKET,
    OPTION_PREFIX,
    OPTION_REGION,
    OPTION_PROVIDER,
    OPTION_ADDRESSING,
    OPTION_ACCESS_KEY,
    OPTION_SECRET_KEY,
    OPTION_SESSION_TOKEN,
    OPTION_CREDENTIALS,
    OPTION_CREDENTIALS_FILE,
    OPTION_FINGERPRINT,
    OPTION_CA_FILE,
    OPTION_PROXY,
    OPTION_CONNECTIONS,
    OPTION_PART_SIZE,
    OPTION_UPLOAD_LIMIT,
    OPTION_DOWNLOAD_LIMIT,
    OPTION_STORAGE_CLASS,
    OPTION_SSE,
    OPTION_SSE_KMS_KEY,
    OPTION_PAYLOAD_SIGNING,
    OPTION_STORAGE,
    OPTION_TIMEOUT,
    OPTION_LOCK_DIR,
    N_OPTIONS
};

struct s3pve_config {
    char *value[N_OPTIONS]; /* owned, normalised; NULL: not set; wiped when freed */
    char *proxy_shown;      /* owned: the proxy without its password */

    /* what follows from them and the preset, kept up to date by config_settle() */
    const struct s3pve_provider *provider;
    char endpoint[LIMIT_ENDPOINT + 1]; /* "" while it is not known */
    char region[64];                   /* "" when it must be discovered */
    bool virtual_addressing;
};

/* An endpoint taken apart.  @host: lower case, IPv6 without its brackets. */
struct endpoint {
    bool tls;
    bool ipv6, ipv4;
    char host[256];
    unsigned port; /* 0: the scheme's own */
};
int config_endpoint_parse(const char *text, struct endpoint *ret, struct s3pve_error *err);
/* "host", "host:port" or "[v6]:port", as it goes into the Host header. */
int config_endpoint_host(const struct endpoint *endpoint, struct buf *out);

/* Check one value; its normal form is added to @out.  Return: 0, or -1 (INVALID, NOMEM). */
int config_accept(enum option option, const char *value, struct buf *out, struct s3pve_error *err);

/* The option of that name, or N_OPTIONS. */
enum option config_option(const char *name);
const char *config_option_name(enum option option);
bool config_option_secret(enum option option);
/* The text that stands for an option that was not set, preset aside. */
const char *config_option_default(enum option option);

/* The value as it was set, or its default. */
const char *config_value(const struct s3pve_config *settings, enum option option);
void config_settle(struct s3pve_config *settings);

int config_check_prefix(const char *prefix, struct buf *out, struct s3pve_error *err);

/* "NAME 'VALUE': why", with the value made printable and short; NULL leaves it out.  Returns -1. */
int config_refuse(
    struct s3pve_error *err, const char *name, const char *value, const char *fmt, ...
) _printf_(4, 5);

#endif
