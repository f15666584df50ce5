/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "core/client.h"
#include "script.h"
#include "tap.h"

#define WHOLE "0123456789"
#define PART(range, text, etag)                                                                    \
    {                                                                                              \
        .status = 206, .headers = "content-range: bytes " range "\netag: \"" etag "\"\n",          \
        .body = text                                                                               \
    }

struct result {
    int rc;
    char buf[16];
    size_t len;
    struct s3pve_info info;
    struct s3pve_error err;
};

static struct result pread_with(
    struct script *s, const char *if_match, size_t len, uint64_t offset
) {
    struct s3pve_client *client = script_client(s, NULL);
    struct result r = {0};

    r.rc = s3pve_object_pread(
        client, "key", if_match, r.buf, len, offset, &r.len, &r.info, NULL, &r.err
    );
    s3pve_client_close(client);
    return r;
}

static void a_range_is_read_and_checked(void) {
    struct script s = {ANSWERS(PART("2-4/10", "234", "v1"))};
    struct result r = pread_with(&s, NULL, 3, 2);

    is_int(r.rc, 0, "a range is read");
    is_str(r.buf, "234", "... into memory");
    is_int((long long)r.len, 3, "... all of it");
    is_int((long long)r.info.size, 10, "... and the object's size is known");
    is_str(sent_header(&s.sent[0], "range"), "bytes=2-4", "... by Range");
    script_clear(&s);
}

static void the_end_of_the_object_is_not_an_error(void) {
    struct script shorter = {ANSWERS(PART("8-9/10", "89", "v1"))};
    struct script past = {ANSWERS(
        {.status = 416, .body = "<Error><Code>InvalidRange</Code></Error>"},
        {.status = 200, .headers = "content-length: 10\netag: \"v1\"\n"}
    )};
    struct script nothing = {ANSWERS({.status = 200, .headers = "content-length: 10\n"})};
    struct result r = pread_with(&shorter, NULL, 8, 8);

    is_int((long long)r.len, 2, "a range that reaches beyond the end is shorter");
    r = pread_with(&past, NULL, 8, 10);
    is_int(r.rc, 0, "one that begins there");
    is_int((long long)r.len, 0, "... is empty");
    is_int((long long)r.info.size, 10, "... and HEAD says how long the object is");
    r = pread_with(&nothing, NULL, 0, 0);
    is_int(r.rc, 0, "nothing may be asked for");
    is_str(nothing.sent[0].method, "HEAD", "... which only asks what there is");
    script_clear(&shorter);
    script_clear(&past);
    script_clear(&nothing);
}

static void a_range_of_other_bytes_is_refused(void) {
    struct script wrong = {ANSWERS(PART("3-5/10", "345", "v1"))};
    struct script cut = {ANSWERS(PART("2-2/10", "2", "v1"))};
    struct script bare = {ANSWERS({.status = 206, .body = "234", .headers = "etag: \"v1\"\n"})};

    is_int(pread_with(&wrong, NULL, 3, 2).err.code, S3PVE_E_CORRUPT, "a shifted Content-Range");
    is_int(pread_with(&cut, NULL, 3, 2).err.code, S3PVE_E_CORRUPT, "less than there is");
    is_int(pread_with(&bare, NULL, 3, 2).err.code, S3PVE_E_CORRUPT, "206 that does not say what");
    script_clear(&wrong);
    script_clear(&cut);
    script_clear(&bare);
}

static void another_version_is_a_conflict(void) {
    struct script kept = {ANSWERS({.status = 412})};
    struct script ignored = {ANSWERS(PART("2-4/10", "234", "v2"))};
    struct result r = pread_with(&kept, "v1", 3, 2);

    is_int(r.err.code, S3PVE_E_CONFLICT, "a server that keeps If-Match says 412");
    is_str(sent_header(&kept.sent[0], "if-match"), "\"v1\"", "... to the quoted ETag");
    r = pread_with(&ignored, "v1", 3, 2);
    is_int(r.err.code, S3PVE_E_CONFLICT, "one that ignores it is found out by the ETag");
    script_clear(&kept);
    script_clear(&ignored);
}

static void a_broken_range_goes_on_where_it_stopped(void) {
    struct script s = {ANSWERS(
        {.status = 206,
         .headers = "content-range: bytes 0-9/10\netag: \"v1\"\n",
         .body = "0123",
         .failure = HTTP_BROKEN},
        PART("4-9/10", "456789", "v1")
    )};
    struct result r = pread_with(&s, NULL, 10, 0);

    is_int(r.rc, 0, "a transfer that broke in the middle is completed");
    is_str(r.buf, WHOLE, "... with every byte once");
    is_str(sent_header(&s.sent[1], "range"), "bytes=4-9", "... by asking for the rest");
    is_str(sent_header(&s.sent[1], "if-match"), "\"v1\"", "... of the same version");
    script_clear(&s);
}

static void a_server_without_ranges_gives_what_is_small(void) {
    struct script start = {
        ANSWERS({.status = 200, .headers = "content-length: 10\n", .body = WHOLE})};
    struct script middle = {ANSWERS(
        {.status = 200, .headers = "content-length: 10\netag: \"v1\"\n", .body = WHOLE},
        {.status = 200, .headers = "content-length: 10\netag: \"v1\"\n", .body = WHOLE}
    )};
    struct result r = pread_with(&start, NULL, 3, 0);

    is_int(r.rc, 0, "a whole object will do when its beginning was asked for");
    is_str(r.buf, "012", "... and is cut");
    r = pread_with(&middle, NULL, 3, 2);
    is_int(r.rc, 0, "for another piece it is fetched whole");
    is_str(r.buf, "234", "... and sliced");
    is_int(r.err.code, S3PVE_OK, "... and no error is left behind");
    is_int((long long)r.len, 3, "... to length");
    ok(!sent_header(&middle.sent[1], "range"), "... without asking for a range again");
    script_clear(&start);
    script_clear(&middle);
}

static void a_large_object_without_ranges_is_refused(void) {
    size_t len = READ_CHUNK + 1;
    char *body = calloc(1, len);
    struct script s = {ANSWERS(
        {.status = 200, .body = body, .body_len = len},
        {.status = 200, .body = body, .body_len = len}
    )};

    is_int(pread_with(&s, NULL, 3, 2).err.code, S3PVE_E_CORRUPT, "not by downloading all of it");
    script_clear(&s);
    free(body);
}

static void a_small_object_is_got_whole(void) {
    struct script s = {
        ANSWERS({.status = 200, .headers = "content-length: 10\netag: \"v1\"\n", .body = WHOLE})};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_info info;
    char *data = NULL;
    size_t len = 0;

    is_int(s3pve_object_get(client, "key", 10, &data, &len, &info, NULL, NULL), 0, "it is got");
    is_str(data, WHOLE, "... with a zero byte at its end");
    is_int((long long)len, 10, "... and its length");
    is_str(info.etag, "v1", "... and its ETag");
    free(data);
    s3pve_client_close(client);
    script_clear(&s);
}

static void an_object_longer_than_expected_is_refused(void) {
    struct script s = {ANSWERS(
        {.status = 200, .body = WHOLE},
        {.status = 404, .body = "<Error><Code>NoSuchKey</Code></Error>"}
    )};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char *data = NULL;
    size_t len = 0;

    s3pve_object_get(client, "key", 9, &data, &len, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_CORRUPT, "ten bytes where nine were expected");
    s3pve_object_get(client, "key", 1, &data, &len, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_NOT_FOUND, "but a refusal may be longer than the object");
    ok(!data, "nothing is handed out");
    s3pve_client_close(client);
    script_clear(&s);
}

static void an_empty_object_is_an_empty_text(void) {
    struct script s = {ANSWERS({.status = 200, .headers = "content-length: 0\n"})};
    struct s3pve_client *client = script_client(&s, NULL);
    char *data = NULL;
    size_t len = 1;

    is_int(s3pve_object_get(client, "key", 9, &data, &len, NULL, NULL, NULL), 0, "it is got");
    is_str(data, "", "... as an empty text");
    is_int((long long)len, 0, "... of no length");
    free(data);
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    a_range_is_read_and_checked();
    the_end_of_the_object_is_not_an_error();
    a_range_of_other_bytes_is_refused();
    another_version_is_a_conflict();
    a_broken_range_goes_on_where_it_stopped();
    a_server_without_ranges_gives_what_is_small();
    a_large_object_without_ranges_is_refused();
    a_small_object_is_got_whole();
    an_object_longer_than_expected_is_refused();
    an_empty_object_is_an_empty_text();
    return done_testing();
}
