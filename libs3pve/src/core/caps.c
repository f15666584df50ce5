/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* caps.c - what a probe found, kept as text and acted upon */
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "core/client.h"
#include "core/error.h"

static const char *const supports[] = {
    [S3PVE_UNKNOWN] = "unknown",
    [S3PVE_YES] = "yes",
    [S3PVE_NO] = "no",
    [S3PVE_IGNORED] = "ignored",
};

#define N_SUPPORTS (sizeof(supports) / sizeof(supports[0]))

static const struct {
    const char *name;
    size_t offset;
} fields[] = {
    {"put-if-absent", offsetof(struct s3pve_caps, put_if_absent)},
    {"put-if-match", offsetof(struct s3pve_caps, put_if_match)},
    {"complete-if-absent", offsetof(struct s3pve_caps, complete_if_absent)},
    {"delete-if-match", offsetof(struct s3pve_caps, delete_if_match)},
    {"range", offsetof(struct s3pve_caps, range)},
    {"batch-delete", offsetof(struct s3pve_caps, batch_delete)},
    {"list-v2", offsetof(struct s3pve_caps, list_v2)},
    {"content-md5", offsetof(struct s3pve_caps, content_md5)},
    {"checksum-crc32c", offsetof(struct s3pve_caps, checksum_crc32c)},
    {"part-copy", offsetof(struct s3pve_caps, part_copy)},
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static enum s3pve_support *field(struct s3pve_caps *caps, size_t i) {
    return (enum s3pve_support *)((char *)caps + fields[i].offset);
}

_public_ void s3pve_client_use_caps(struct s3pve_client *client, const struct s3pve_caps *caps) {
    client->list_v1 = caps->list_v2 == S3PVE_NO || caps->list_v2 == S3PVE_IGNORED;
    if (client->pid != getpid()) /* a lock may be held for ever, see engine_calls.c */
        return;
    LOCK_SCOPE(&client->lock);
    client->caps = *caps;
    client->no_batch_delete = caps->batch_delete == S3PVE_NO;
}

/* A Server header is anybody's text: what JSON cannot carry is left out. */
static json_t *server_text(const char *server) {
    json_t *text = json_string(server);

    return text ? text : json_string("");
}

_public_ char *s3pve_caps_text(const struct s3pve_caps *caps) {
    _cleanup_(json_decrefp) json_t *object = json_object();
    struct s3pve_caps copy = *caps;
    int rc = 0;

    rc |= json_object_set_new(object, "probed", json_integer(caps->probed_s));
    rc |= json_object_set_new(object, "server", server_text(caps->server));
    for (size_t i = 0; i < N_FIELDS; i++)
        rc |= json_object_set_new(
            object, fields[i].name, json_string(supports[*field(&copy, i) % N_SUPPORTS])
        );
    rc |= json_object_set_new(object, "etag-quoted", json_boolean(caps->etag_quoted));
    rc |= json_object_set_new(object, "skew", json_integer(caps->skew_s));
    return rc == 0 ? json_dumps(object, JSON_COMPACT) : NULL;
}

static enum s3pve_support parse_support(const char *text) {
    for (size_t i = 0; text && i < N_SUPPORTS; i++) {
        if (strcmp(supports[i], text) == 0)
            return (enum s3pve_support)i;
    }
    return S3PVE_UNKNOWN;
}

/* What is missing, or what a later version may say, is unknown: that is always safe. */
_public_ int s3pve_caps_parse(
    const char *text, struct s3pve_caps *ret_caps, struct s3pve_error *err
) {
    size_t len = strnlen(text, LIMIT_CAPS_TEXT + 1);
    _cleanup_(json_decrefp) json_t *object = NULL;
    struct s3pve_caps caps = {0};
    const char *server;
    json_int_t skew;

    if (len > LIMIT_CAPS_TEXT)
        return error_set(err, S3PVE_E_CORRUPT, "capabilities: longer than any we wrote");
    object = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(object))
        return error_set(err, S3PVE_E_CORRUPT, "capabilities: not a JSON object");

    caps.probed_s = json_integer_value(json_object_get(object, "probed"));
    server = json_string_value(json_object_get(object, "server"));
    if (server)
        snprintf(caps.server, sizeof(caps.server), "%s", server);
    for (size_t i = 0; i < N_FIELDS; i++)
        *field(&caps, i) =
            parse_support(json_string_value(json_object_get(object, fields[i].name)));
    caps.etag_quoted = json_is_true(json_object_get(object, "etag-quoted"));
    skew = json_integer_value(json_object_get(object, "skew"));
    caps.skew_s = skew > INT32_MAX || skew < INT32_MIN ? 0 : (int)skew;
    *ret_caps = caps;
    return 0;
}
