/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "core/config_private.h"
#include "tap.h"

static const struct {
    const char *name, *want; /* NULL: fine; else what the message must hold */
} buckets[] = {
    {"backups", NULL},
    {"my.bucket-01", NULL},
    {"0ab", NULL},
    {"ab", "2 characters long"},
    {"My_Bucket", "as in 'my-bucket'"},
    {"bücket", "lower-case letters"},
    {"-backups", "as in 'backups'"},
    {"backups-", "as in 'backups'"},
    {"back..ups", "as in 'back.ups'"},
    {"back.-ups", "one beside every '.'"},
    {"back ups", "as in 'back-ups'"},
    {"192.168.1.10", "IP address"},
    {"a/b/c", "only lower-case"},
    {"abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-0123456789", "64 characters long"},
};

static void buckets_are_judged(void) {
    for (size_t i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++) {
        struct s3pve_error err = S3PVE_ERROR_INIT;
        int rc = config_check_bucket(buckets[i].name, &err);

        if (!buckets[i].want) {
            is_int(rc, 0, "bucket '%s' is fine", buckets[i].name);
            continue;
        }
        is_int(rc, -1, "bucket '%s' is refused", buckets[i].name);
        is_int(err.code, S3PVE_E_INVALID, "... as INVALID");
        ok(strstr(err.message, buckets[i].want), "... with %s: %s", buckets[i].want, err.message);
        ok(strncmp(err.message, "bucket '", 8) == 0, "... and the option's name in front");
    }
}

static const struct {
    const char *key, *want;
} keys[] = {
    {"dump/vzdump-qemu-100-2024_01_01-00_00_00.vma.zst", NULL},
    {"template/iso/", NULL},
    {"a b+c%41~()!*'&=?#", NULL},
    {"\xe2\x82\xac/\xc3\xa9", NULL},
    {"...", NULL},
    {"a/.b", NULL},
    {"", "empty"},
    {"/a", "empty part"},
    {"/", "empty part"},
    {"a//b", "empty part"},
    {"a//", "empty part"},
    {"a/./b", "'.' or '..'"},
    {"../a", "'.' or '..'"},
    {"a/..", "'.' or '..'"},
    {"a/../", "'.' or '..'"},
    {"a\nb", "control character"},
    {"a\x7f", "control character"},
    {"a\xff", "UTF-8"},
};

static void keys_are_judged(void) {
    char text[LIMIT_KEY + 2];

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct s3pve_error err = S3PVE_ERROR_INIT;
        int rc = config_check_key(keys[i].key, &err);

        is_int(
            rc, keys[i].want ? -1 : 0, "key number %zu is %s", i, keys[i].want ? "refused" : "fine"
        );
        if (keys[i].want)
            ok(strstr(err.message, keys[i].want), "... with %s", keys[i].want);
        ok(!strchr(err.message, '\n'), "... in one line");
    }

    memset(text, 'x', sizeof(text));
    for (size_t i = 200; i < sizeof(text); i += 200)
        text[i] = '/';
    text[LIMIT_KEY] = '\0';
    is_int(config_check_key(text, NULL), 0, "1,024 bytes are fine");
    text[LIMIT_KEY] = 'x';
    text[LIMIT_KEY + 1] = '\0';
    is_int(config_check_key(text, NULL), -1, "1,025 bytes are too many");
    memset(text, 'x', 256);
    text[255] = '\0';
    is_int(config_check_key(text, NULL), 0, "a part of 255 bytes is fine");
    memcpy(text + 255, "x", 2);
    is_int(config_check_key(text, NULL), -1, "a part of 256 bytes is too long");
}

static const struct {
    const char *in, *out; /* NULL: refused */
} prefixes[] = {
    {"", ""},
    {"/", ""},
    {"pve", "pve/"},
    {"/pve/", "pve/"},
    {"a/b", "a/b/"},
    {"a/b/", "a/b/"},
    {"//a", NULL},
    {"a//b", NULL},
    {"a/b//", NULL},
    {"a/../b", NULL},
    {".", NULL},
    {"a\tb", NULL},
    {"a\xff", NULL},
};

static void prefixes_are_normalised(void) {
    char text[LIMIT_KEY];

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        _cleanup_(buf_clear) struct buf out = {0};
        int rc = config_check_prefix(prefixes[i].in, &out, NULL);

        is_int(rc, prefixes[i].out ? 0 : -1, "prefix number %zu", i);
        if (prefixes[i].out)
            is_str(buf_text(&out), prefixes[i].out, "... becomes '%s'", prefixes[i].out);
    }
    memset(text, 'a', sizeof(text));
    for (size_t i = 100; i < sizeof(text); i += 100)
        text[i] = '/';
    text[600] = '\0';
    is_int(config_check_prefix(text, &(struct buf){0}, NULL), -1, "a prefix leaves room for names");
}

static void refused_values_are_printable_and_short(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char text[300];

    memset(text, 'q', sizeof(text));
    text[3] = '\x1b';
    text[sizeof(text) - 1] = '\0';
    config_refuse(&err, "option", text, "%s", "why");
    ok(!strchr(err.message, '\x1b'), "no escape sequence reaches a terminal");
    ok(strstr(err.message, "...': why"), "a long value is cut, its reason is not");
}

int main(void) {
    buckets_are_judged();
    keys_are_judged();
    prefixes_are_normalised();
    refused_values_are_printable_and_short();
    return done_testing();
}
