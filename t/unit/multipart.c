/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "core/multipart.h"
#include "script.h"
#include "tap.h"

#define EMPTY_MD5 "d41d8cd98f00b204e9800998ecf8427e"

static void create_hands_out_the_id(void) {
    struct script s = {ANSWERS(
        {.status = 200,
         .body = "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key>"
                 "<UploadId>2~a&lt;b</UploadId></InitiateMultipartUploadResult>"}
    )};
    struct s3pve_client *client = script_client(&s, NULL);
    struct multipart mp = {.client = client, .key = "key"};
    const struct s3pve_put_options options = {.content_type = "text/plain"};

    is_int(multipart_create(&mp, &options, NULL, NULL), 0, "an upload is begun");
    is_str(mp.id, "2~a<b", "... and its id known");
    ok(strstr(s.sent[0].url, "?uploads=") != NULL, "... by asking for one");
    is_str(sent_header(&s.sent[0], "content-type"), "text/plain", "... of this type");
    is_str(sent_header(&s.sent[0], "x-amz-meta-s3pve-write"), mp.marker.text, "... marked");
    multipart_clear(&mp);
    s3pve_client_close(client);
    script_clear(&s);
}

static void an_answer_without_an_id_is_refused(void) {
    struct script s = {ANSWERS(
        {.status = 200, .body = "<InitiateMultipartUploadResult/>"},
        {.status = 200,
         .body = "<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>"}
    )};
    struct s3pve_client *client = script_client(&s, NULL);
    struct multipart mp = {.client = client, .key = "key"};

    for (int i = 0; i < 2; i++) {
        struct s3pve_error err = S3PVE_ERROR_INIT;

        multipart_create(&mp, NULL, NULL, &err);
        is_int(err.code, S3PVE_E_CORRUPT, "no id, no upload");
        ok(!mp.id, "... and none is invented");
    }
    s3pve_client_close(client);
    script_clear(&s);
}

static void parts_are_counted_once(void) {
    struct multipart mp = {.key = "key"};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    multipart_note(&mp, 2, 20, EMPTY_MD5, NULL);
    is_int(multipart_check(&mp, &err), -1, "a gap is seen");
    ok(strstr(err.message, "part 1 is missing") != NULL, "... and named");
    multipart_note(&mp, 1, 10, EMPTY_MD5, NULL);
    is_int(multipart_check(&mp, NULL), 0, "and seen to be filled");
    is_int((long long)mp.size, 30, "sizes add up");
    multipart_note(&mp, 2, 25, "0cc175b9c0f1b6a831c399e269772661", NULL);
    is_int((long long)mp.size, 35, "a part sent again replaces itself");
    is_int(mp.n_parts, 2, "... and does not become another");
    multipart_note(&mp, 3000, 1, EMPTY_MD5, NULL);
    is_int(mp.n_parts, 3000, "there is room for thousands");
    is_int(multipart_note(&mp, 3, 1, "", &err), -1, "a part without an ETag is not stored");
    is_int(err.code, S3PVE_E_CORRUPT, "... CORRUPT");
    multipart_clear(&mp);
}

static void the_etag_is_made_of_the_parts(void) {
    struct multipart mp = {.key = "key"};
    char etag[S3PVE_ETAG_MAX];

    ok(!multipart_etag(&mp, etag), "no parts make no ETag");
    multipart_note(&mp, 1, 0, EMPTY_MD5, NULL);
    multipart_note(&mp, 2, 1, "0cc175b9c0f1b6a831c399e269772661", NULL);
    ok(multipart_etag(&mp, etag), "two MD5s do");
    is_str(etag, "68083ea43d0307eecfa2b4749f19df15-2", "... the MD5 of both");
    multipart_note(&mp, 3, 1, "not-an-md5", NULL);
    ok(!multipart_etag(&mp, etag), "other words do not");
    multipart_clear(&mp);
}

static void abort_is_done_when_it_is_gone(void) {
    struct script s = {ANSWERS(
        {.status = 204},
        {.status = 404, .body = "<Error><Code>NoSuchUpload</Code></Error>"},
        {.status = 403}
    )};
    struct s3pve_client *client = script_client(&s, "prefix", "p", NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(multipart_abort(client, "key", false, "id", NULL, NULL), 0, "aborted");
    ok(strstr(s.sent[0].url, "/bucket/p/key?uploadId=id") != NULL, "... below the prefix");
    is_int(multipart_abort(client, "other/key", true, "id", NULL, NULL), 0, "already gone");
    ok(strstr(s.sent[1].url, "/bucket/other/key?") != NULL, "... by its full key");
    is_int(multipart_abort(client, "key", false, "id", NULL, &err), -1, "refused");
    is_int(err.code, S3PVE_E_DENIED, "... DENIED");
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    create_hands_out_the_id();
    an_answer_without_an_id_is_refused();
    parts_are_counted_once();
    the_etag_is_made_of_the_parts();
    abort_is_done_when_it_is_gone();
    return done_testing();
}
