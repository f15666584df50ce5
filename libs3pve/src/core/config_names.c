/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* config_names.c - which names for buckets, prefixes and keys work everywhere */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "core/config_private.h"
#include "core/error.h"

#define SHOWN_MAX 80 /* bytes of a refused value worth repeating */

int config_refuse(
    struct s3pve_error *err, const char *name, const char *value, const char *fmt, ...
) {
    char why[300], shown[SHOWN_MAX + 1];
    size_t n = 0;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    if (!value)
        return error_set(err, S3PVE_E_INVALID, "%s: %s", name, why);

    for (; value[n] && n < SHOWN_MAX; n++) {
        shown[n] = value[n];
        if ((unsigned char)value[n] < 0x20 || value[n] == 0x7f)
            shown[n] = '?';
    }
    shown[n] = '\0';
    return error_set(
        err, S3PVE_E_INVALID, "%s '%s%s': %s", name, shown, value[n] ? "..." : "", why
    );
}

static bool bucket_char(char c) {
    return islower((unsigned char)c) || isdigit((unsigned char)c) || c == '-' || c == '.';
}

/* The nearest name that would do: what the user probably meant. */
static void suggest_bucket(const char *bucket, char ret_name[LIMIT_BUCKET + 1]) {
    size_t n = 0;

    for (const char *p = bucket; *p && n < LIMIT_BUCKET; p++) {
        char c = (char)tolower((unsigned char)*p);

        if (!bucket_char(c))
            c = '-';
        if (!isalnum((unsigned char)c) && (n == 0 || !isalnum((unsigned char)ret_name[n - 1])))
            continue;
        ret_name[n++] = c;
    }
    while (n > 0 && !isalnum((unsigned char)ret_name[n - 1]))
        n--;
    ret_name[n] = '\0';
}

static bool looks_like_ipv4(const char *text) {
    unsigned char address[4];

    return inet_pton(AF_INET, text, address) == 1;
}

int config_check_bucket(const char *bucket, struct s3pve_error *err) {
    size_t len = strlen(bucket);
    char better[LIMIT_BUCKET + 1];

    if (len < LIMIT_BUCKET_MIN || len > LIMIT_BUCKET)
        return config_refuse(
            err,
            "bucket",
            bucket,
            "%zu characters long; a bucket name has %d to %d",
            len,
            LIMIT_BUCKET_MIN,
            LIMIT_BUCKET
        );
    suggest_bucket(bucket, better);
    for (size_t i = 0; i < len; i++) {
        if (!bucket_char(bucket[i]))
            return config_refuse(
                err,
                "bucket",
                bucket,
                "only lower-case letters, digits, '-' and '.' are allowed, as in '%s'",
                better
            );
    }
    if (strcmp(bucket, better) != 0)
        return config_refuse(
            err,
            "bucket",
            bucket,
            "must begin and end with a letter or digit, and have one beside every '.', as in '%s'",
            better
        );
    if (looks_like_ipv4(bucket))
        return config_refuse(err, "bucket", bucket, "must not look like an IP address");
    return 0;
}

/* One name between slashes.  Return: NULL, or what is wrong with it. */
static const char *segment_fault(const char *segment, size_t len) {
    if (len == 0)
        return "has an empty part: one '/' after another, or in front";
    if (len > LIMIT_KEY_SEGMENT)
        return "has a part longer than 255 bytes between two '/', which servers that keep files "
               "refuse";
    if ((len == 1 && segment[0] == '.') || (len == 2 && segment[0] == '.' && segment[1] == '.'))
        return "has '.' or '..' as a part, which some servers and proxies resolve";
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)segment[i] < 0x20 || segment[i] == 0x7f)
            return "has a control character in it";
    }
    return NULL;
}

/* A trailing '/' is fine: that is how a directory is marked. */
static int check_path(const char *name, const char *path, struct s3pve_error *err) {
    size_t len = strlen(path);
    const char *fault;

    if (len > LIMIT_KEY)
        return config_refuse(
            err, name, path, "%zu bytes long; S3 allows %d, prefix included", len, LIMIT_KEY
        );
    if (!utf8_valid(path, len))
        return config_refuse(err, name, NULL, "not valid UTF-8");

    for (const char *p = path;;) {
        size_t segment_len = strcspn(p, "/");

        fault = segment_fault(p, segment_len);
        if (fault)
            return config_refuse(err, name, path, "%s", fault);
        p += segment_len;
        if (p[0] == '\0' || p[1] == '\0')
            return 0;
        p++;
    }
}

int config_check_key(const char *key, struct s3pve_error *err) {
    if (!*key)
        return error_set(err, S3PVE_E_INVALID, "key: empty");
    return check_path("key", key, err);
}

int config_check_prefix(const char *prefix, struct buf *out, struct s3pve_error *err) {
    size_t len;

    prefix += *prefix == '/';
    len = strlen(prefix);
    if (len == 0)
        return 0;
    if (len > LIMIT_KEY / 2)
        return config_refuse(
            err,
            "prefix",
            prefix,
            "%zu bytes long; %d leave room for the names below it",
            len,
            LIMIT_KEY / 2
        );
    if (check_path("prefix", prefix, err) < 0)
        return -1;
    if (buf_add(out, prefix, len) < 0 || (prefix[len - 1] != '/' && buf_str(out, "/") < 0))
        return error_set(err, S3PVE_E_NOMEM, "prefix: out of memory");
    return 0;
}
