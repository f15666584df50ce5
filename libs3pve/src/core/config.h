/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * config.h - a storage's settings, checked and with defaults applied
 *
 * struct s3pve_config (public, opaque) is filled option by option; config_resolve() turns it into
 * the plain struct that the client works with.
 */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "s3pve.h"

enum payload_signing { PAYLOAD_AUTO, PAYLOAD_ALWAYS, PAYLOAD_NEVER };
enum credentials_source {
    CREDS_AUTO,
    CREDS_EXPLICIT,
    CREDS_FILE,
    CREDS_ENV,
    CREDS_IMDS,
    CREDS_ANONYMOUS
};

struct config {
    char *storage; /* for logs; "" when none */
    bool tls;
    char *host;      /* as it goes into Host: and the signature, ":port" unless default;
                        with "bucket." in front for virtual addressing */
    char *base_url;  /* "https://host[:port]" + "/bucket" for path addressing */
    char *base_path; /* encoded path part of base_url: "/bucket", or "" */
    char *bucket;
    char *prefix;      /* "" or ending in '/' */
    char *region;      /* "" when it must be discovered */
    bool region_named; /* by the user */
    bool virtual_addressing;
    const struct s3pve_provider *provider;

    enum credentials_source credentials;
    char *access_key, *secret_key, *session_token; /* "" when not given; wiped when freed */
    char *credentials_file;

    char *fingerprint; /* 64 hex digits in lower case, or "" */
    char *ca_file;     /* "" system */
    char *proxy;       /* "" none */
    enum payload_signing payload_signing;
    unsigned connections;
    uint64_t part_size;                    /* bytes; 0: chosen by us */
    uint64_t upload_limit, download_limit; /* bytes a second; 0: none */
    char *storage_class;                   /* "" */
    char *sse;                             /* "" AES256 aws:kms aws:kms:dsse */
    char *sse_kms_key;
    char *lock_dir; /* "" none */
    unsigned timeout_ms;
    unsigned max_parts;
    bool equal_parts;
};

/* Return: 0, or -1 (INVALID, NOMEM). Free with config_clear(). */
int config_resolve(
    const struct s3pve_config *settings, struct config *ret_config, struct s3pve_error *err
);
void config_clear(struct config *config);

/* Names, with errors that say what is wrong and what is right.  Return: 0, or -1 (INVALID). */
int config_check_bucket(const char *bucket, struct s3pve_error *err);
int config_check_key(const char *key, struct s3pve_error *err); /* prefix not included */

#endif
