/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * provider.c - presets
 *
 * Only defaults: what a server really does is found by probing it.  Path addressing works
 * everywhere and needs neither wildcard DNS nor wildcard certificates, so only AWS, which wants
 * to be rid of it, gets the other one.
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/provider.h"

#define REGION "<region>"
#define ACCOUNT "<account>"
#define SCHEME "https://"

/* name, title, endpoint, region, addressing, parts, equal parts, UploadPartCopy */
static const struct s3pve_provider presets[] = {
    {"aws", "Amazon S3", SCHEME "s3." REGION ".amazonaws.com", "", "virtual", 10000, false, true},
    {"minio", "MinIO", "", "us-east-1", "path", 10000, false, true},
    {"ceph", "Ceph Object Gateway", "", "us-east-1", "path", 10000, false, true},
    {"wasabi", "Wasabi", SCHEME "s3." REGION ".wasabisys.com", "", "path", 10000, false, true},
    {"backblaze",
     "Backblaze B2",
     SCHEME "s3." REGION ".backblazeb2.com",
     "",
     "path",
     10000,
     false,
     true},
    {"cloudflare",
     "Cloudflare R2",
     SCHEME ACCOUNT ".r2.cloudflarestorage.com",
     "auto",
     "path",
     10000,
     true,
     true},
    {"digitalocean",
     "DigitalOcean Spaces",
     SCHEME REGION ".digitaloceanspaces.com",
     "",
     "path",
     10000,
     false,
     true},
    {"scaleway", "Scaleway", SCHEME "s3." REGION ".scw.cloud", "", "path", 1000, false, true},
    {"ovh", "OVHcloud", SCHEME "s3." REGION ".io.cloud.ovh.net", "", "path", 10000, false, true},
    {"hetzner", "Hetzner", SCHEME REGION ".your-objectstorage.com", "", "path", 10000, false, true},
    {"google",
     "Google Cloud Storage",
     SCHEME "storage.googleapis.com",
     "auto",
     "path",
     10000,
     false,
     false},
    {"garage", "Garage", "", "garage", "path", 10000, false, true},
    {"swift", "OpenStack Swift", "", "us-east-1", "path", 1000, false, true},
    {"generic", "Other S3 server", "", "us-east-1", "path", 10000, false, true},
};

#define N_PRESETS (sizeof(presets) / sizeof(presets[0]))

_public_ const struct s3pve_provider *s3pve_provider_next(const struct s3pve_provider *provider) {
    const struct s3pve_provider *next = provider ? provider + 1 : presets;

    return next < presets + N_PRESETS ? next : NULL;
}

const struct s3pve_provider *provider_find(const char *name) {
    for (size_t i = 0; i < N_PRESETS; i++) {
        if (strcmp(presets[i].name, name) == 0)
            return &presets[i];
    }
    return NULL;
}

/* What follows the last placeholder of a pattern: ".amazonaws.com"; the whole host without one. */
static const char *pattern_tail(const struct s3pve_provider *provider) {
    const char *close = strchr(provider->endpoint, '>');

    return close ? close + 1 : provider->endpoint + strlen(SCHEME);
}

static bool ends_with(const char *text, const char *tail) {
    size_t text_len = strlen(text), tail_len = strlen(tail);

    return text_len >= tail_len && strcmp(text + text_len - tail_len, tail) == 0;
}

const struct s3pve_provider *provider_of_host(const char *host) {
    for (size_t i = 0; i < N_PRESETS; i++) {
        if (*presets[i].endpoint && ends_with(host, pattern_tail(&presets[i])))
            return &presets[i];
    }
    return provider_find("generic");
}

bool provider_region_of_host(
    const struct s3pve_provider *provider, const char *host, char ret_region[64]
) {
    const char *open = strstr(provider->endpoint, REGION);
    const char *head = provider->endpoint + strlen(SCHEME);
    size_t head_len, len;

    if (!open || !ends_with(host, pattern_tail(provider)))
        return false;
    head_len = (size_t)(open - head);
    if (strncmp(host, head, head_len) != 0)
        return false;

    host += head_len;
    len = strcspn(host, ".");
    if (len == 0 || len >= 64 || strcmp(host + len, pattern_tail(provider)) != 0)
        return false;

    memcpy(ret_region, host, len);
    ret_region[len] = '\0';
    return true;
}

bool provider_endpoint(
    const struct s3pve_provider *provider, const char *region, char *ret_endpoint, size_t size
) {
    const char *open = strstr(provider->endpoint, REGION);
    int n;

    if (!*provider->endpoint || strstr(provider->endpoint, ACCOUNT) || (open && !*region))
        return false;
    if (open)
        n = snprintf(
            ret_endpoint,
            size,
            "%.*s%s%s",
            (int)(open - provider->endpoint),
            provider->endpoint,
            region,
            open + strlen(REGION)
        );
    else
        n = snprintf(ret_endpoint, size, "%s", provider->endpoint);
    return n > 0 && (size_t)n < size;
}
