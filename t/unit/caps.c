/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "script.h"
#include "tap.h"

static const struct s3pve_caps sample = {
    .probed_s = 1700000000,
    .server = "Ceph Object Gateway (pacific) \"x\"",
    .put_if_absent = S3PVE_YES,
    .put_if_match = S3PVE_NO,
    .complete_if_absent = S3PVE_IGNORED,
    .range = S3PVE_YES,
    .checksum_crc32c = S3PVE_IGNORED,
    .part_copy = S3PVE_YES,
    .etag_quoted = true,
    .skew_s = -7,
};

static void they_survive_on_disk(void) {
    _free_ char *text = s3pve_caps_text(&sample), *again = NULL;
    struct s3pve_caps caps;

    ok(text && !strchr(text, '\n'), "they are one line: %s", text);
    is_int(s3pve_caps_parse(text, &caps, NULL), 0, "it is read back");
    is_int(caps.probed_s, sample.probed_s, "... the time");
    is_str(caps.server, sample.server, "... the server");
    is_int(caps.put_if_absent, S3PVE_YES, "... a yes");
    is_int(caps.put_if_match, S3PVE_NO, "... a no");
    is_int(caps.complete_if_absent, S3PVE_IGNORED, "... an ignored");
    is_int(caps.delete_if_match, S3PVE_UNKNOWN, "... an unknown");
    ok(caps.etag_quoted, "... a bool");
    is_int(caps.skew_s, -7, "... a number");
    again = s3pve_caps_text(&caps);
    is_str(again, text, "and written again it is the same");
}

static const struct {
    const char *what, *text;
    int rc;
} texts[] = {
    {"an empty object", "{}", 0},
    {"words of a later version", "{\"range\":\"sometimes\",\"new\":[1,{}]}", 0},
    {"wrong types", "{\"range\":7,\"server\":{},\"probed\":\"x\",\"skew\":1e300}", 0},
    {"a number out of range", "{\"skew\":99999999999}", 0},
    {"nothing", "", -1},
    {"a list", "[]", -1},
    {"a cut object", "{\"range\":\"yes\"", -1},
    {"something behind it", "{} x", -1},
    {"a name twice", "{\"range\":\"yes\",\"range\":\"no\"}", -1},
    {"bytes that are no text", "{\"server\":\"\xff\"}", -1},
};

static void odd_texts(void) {
    _free_ char *big = malloc(LIMIT_CAPS_TEXT + 2);

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct s3pve_caps caps = {.range = S3PVE_YES, .skew_s = 5};
        struct s3pve_error err = S3PVE_ERROR_INIT;
        int rc = s3pve_caps_parse(texts[i].text, &caps, &err);

        is_int(rc, texts[i].rc, "%s", texts[i].what);
        if (rc < 0) {
            is_int(err.code, S3PVE_E_CORRUPT, "... is CORRUPT");
            is_int(caps.skew_s, 5, "... and nothing is returned");
        } else {
            is_int(caps.range, S3PVE_UNKNOWN, "... is unknown");
            is_int(caps.skew_s, 0, "... and no number");
        }
    }
    memset(big, ' ', LIMIT_CAPS_TEXT + 1);
    memcpy(big, "{}", 2);
    big[LIMIT_CAPS_TEXT + 1] = '\0';
    is_int(s3pve_caps_parse(big, &(struct s3pve_caps){0}, NULL), -1, "a long text is refused");
}

static void a_strange_server_name_does_no_harm(void) {
    struct s3pve_caps caps = {.server = "\xff\xfe"};
    _free_ char *text = s3pve_caps_text(&caps);

    ok(text && strstr(text, "\"server\":\"\""), "a name that is no text is left out");
}

static void the_client_acts_on_them(void) {
    const struct answer answers[] = {
        {200, .body = "<ListBucketResult/>"},
        {200, .body = "<ListBucketResult/>"},
    };
    struct script script = {.answers = answers, .n_answers = 2};
    struct s3pve_client *client = script_client(&script, NULL);
    struct s3pve_caps caps = {.list_v2 = S3PVE_IGNORED, .batch_delete = S3PVE_NO};

    s3pve_client_use_caps(client, &caps);
    ok(client->no_batch_delete, "what is missing is not tried");
    s3pve_bucket_check(client, NULL, NULL);
    ok(!strstr(script.sent[0].url, "list-type"), "a server of version 1 is asked in version 1");
    caps = (struct s3pve_caps){0};
    s3pve_client_use_caps(client, &caps);
    s3pve_bucket_check(client, NULL, NULL);
    ok(strstr(script.sent[1].url, "list-type=2"), "what is unknown is tried");
    ok(!client->no_batch_delete, "... all of it");
    s3pve_client_close(client);
    script_clear(&script);
}

int main(void) {
    they_survive_on_disk();
    odd_texts();
    a_strange_server_name_does_no_harm();
    the_client_acts_on_them();
    return done_testing();
}
