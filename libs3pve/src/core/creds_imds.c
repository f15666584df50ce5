/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * creds_imds.c - temporary keys of the machine's role, from EC2's metadata service, version 2 only
 *
 * The token of version 2 stops a request that somebody else tricked us into; falling back to
 * version 1 would give that away.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "core/config_private.h"
#include "core/creds.h"
#include "core/error.h"
#include "core/http.h"

#define IMDS_MS 1000 /* it answers from the same machine, or not at all */
#define IMDS_ROLES "/latest/meta-data/iam/security-credentials/"
#define ROLE_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+=,.@_-"

static int get(
    const char *base_url,
    const char *path,
    const char *token,
    struct buf *ret_body,
    struct s3pve_error *err
) {
    _cleanup_(buf_wipe) struct buf url = {0}, header = {0};
    const char *headers[2] = {NULL, NULL};

    ret_body->max = LIMIT_KEYFILE;
    if (buf_printf(&url, "%s%s", base_url, path) < 0 ||
        buf_printf(&header, "X-aws-ec2-metadata-token%s: ", token ? "" : "-ttl-seconds") < 0 ||
        buf_str(&header, token ? token : "21600") < 0)
        return error_set(err, S3PVE_E_NOMEM, "out of memory");
    headers[0] = header.data;
    return http_simple(token ? "GET" : "PUT", url.data, headers, IMDS_MS, ret_body, err);
}

/* The first line, which is one header- or path-safe word. */
static int first_word(
    struct buf *body, const char *chars, const char *what, struct s3pve_error *err
) {
    const char *text = buf_text(body);
    size_t len = strcspn(text, "\r\n");

    if (!body->data || len == 0 || len > 512 || strspn(text, chars) < len)
        return error_set(err, S3PVE_E_CORRUPT, "metadata service: an odd %s", what);
    body->data[len] = '\0';
    body->len = len;
    return 0;
}

/* The parser's copies, too. */
static void wipe(const json_t *document) {
    static const char *const names[] = {"AccessKeyId", "SecretAccessKey", "Token"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const json_t *text = json_object_get(document, names[i]);

        if (json_is_string(text))
            explicit_bzero((char *)json_string_value(text), json_string_length(text));
    }
}

static int take(
    const json_t *document, const char *name, enum option option, char **to, struct s3pve_error *err
) {
    _cleanup_(buf_wipe) struct buf text = {0};
    const char *value = json_string_value(json_object_get(document, name));

    if (!value || !*value)
        return error_set(err, S3PVE_E_CORRUPT, "metadata service: no %s in its answer", name);
    if (config_accept(option, value, &text, err) < 0)
        return -1;
    *to = buf_steal(&text);
    return 0;
}

static int parse(const struct buf *body, struct creds *creds, struct s3pve_error *err) {
    json_t *document = json_loadb(buf_text(body), body->len, JSON_REJECT_DUPLICATES, NULL);
    const char *expires = json_string_value(json_object_get(document, "Expiration"));
    int rc = 0;

    if (take(document, "AccessKeyId", OPTION_ACCESS_KEY, &creds->access_key, err) < 0 ||
        take(document, "SecretAccessKey", OPTION_SECRET_KEY, &creds->secret_key, err) < 0 ||
        take(document, "Token", OPTION_SESSION_TOKEN, &creds->token, err) < 0)
        rc = -1;
    if (rc == 0 && expires && clock_parse_iso8601(expires, &creds->expires_s) < 0)
        rc = error_set(err, S3PVE_E_CORRUPT, "metadata service: an odd Expiration");
    wipe(document);
    json_decref(document);
    return rc;
}

int creds_load_imds(const char *base_url, struct creds *ret_creds, struct s3pve_error *err) {
    _cleanup_(buf_wipe) struct buf token = {0}, role = {0}, answer = {0};
    _cleanup_(buf_clear) struct buf path = {0};
    _cleanup_(creds_clear) struct creds creds = {0};

    if (get(base_url, "/latest/api/token", NULL, &token, err) < 0 ||
        first_word(&token, ROLE_CHARS "/", "token", err) < 0 ||
        get(base_url, IMDS_ROLES, token.data, &role, err) < 0 ||
        first_word(&role, ROLE_CHARS, "role name", err) < 0)
        return error_wrap(err, "this machine's role");
    if (buf_printf(&path, "%s%s", IMDS_ROLES, role.data) < 0)
        return error_set(err, S3PVE_E_NOMEM, "out of memory");
    if (get(base_url, path.data, token.data, &answer, err) < 0 || parse(&answer, &creds, err) < 0)
        return error_wrap(err, "this machine's role %s", role.data);

    *ret_creds = creds;
    creds = (struct creds){0};
    return 0;
}
