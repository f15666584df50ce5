/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "core/upload.h"
#include "script.h"
#include "tap.h"

#define EMPTY_MD5 "d41d8cd98f00b204e9800998ecf8427e"
#define FULL "5242880" /* 5 MiB, the part size of these tests */
#define PART(n, size)                                                                              \
    "<Part><PartNumber>" n "</PartNumber><ETag>&quot;" EMPTY_MD5 "&quot;</ETag><Size>" size        \
    "</Size></Part>"
#define PAGE(more)                                                                                 \
    { .status = 200, .body = "<ListPartsResult>" more "</ListPartsResult>" }
#define STORED                                                                                     \
    { .status = 200, .headers = "etag: \"" EMPTY_MD5 "\"\n" }

static struct s3pve_upload *resume(
    struct s3pve_client *client, uint64_t *offset, struct s3pve_error *err
) {
    struct s3pve_upload *upload = NULL;

    s3pve_upload_resume(client, "key", "id", NULL, &upload, offset, NULL, err);
    return upload;
}

static void writing_goes_on_after_the_parts_there_are(void) {
    struct script s = {ANSWERS(
        PAGE(PART("1", FULL) PART("2", FULL)),
        STORED,
        {.status = 200,
         .body = "<CompleteMultipartUploadResult><ETag>2bc3f09a6fbadbe687825030c6e7b9a4-3</ETag>"
                 "</CompleteMultipartUploadResult>"}
    )};
    struct s3pve_client *client = script_client(&s, "part-size", "5", NULL);
    uint64_t offset = 0;
    struct s3pve_upload *upload = resume(client, &offset, NULL);
    struct s3pve_info info = {0};

    is_int((long long)offset, 2 * (long long)MIB(5), "two parts are there");
    is_str(s3pve_upload_id(upload), "id", "under the same id");
    is_int((long long)s3pve_upload_stored(upload), 2 * (long long)MIB(5), "... counted as stored");
    is_int(s3pve_upload_write(upload, "rest", 4, NULL, NULL), 0, "the rest is written");
    is_int(s3pve_upload_complete(upload, &info, NULL, NULL), 0, "and completed");
    ok(strstr(s.sent[1].url, "partNumber=3") != NULL, "it is the third part");
    is_str(s.sent[1].body, "rest", "... with just that");
    is_int((long long)info.size, 2 * (long long)MIB(5) + 4, "the object has all");
    s3pve_upload_close(upload);
    s3pve_client_close(client);
    script_clear(&s);
}

static void only_parts_without_a_gap_count(void) {
    static const struct {
        struct answer page;
        unsigned n_parts;
        const char *what;
    } cases[] = {
        {PAGE(""), 0, "no parts"},
        {PAGE(PART("2", FULL)), 0, "the first is missing"},
        {PAGE(PART("1", FULL) PART("3", FULL)), 1, "the second is missing"},
        {PAGE(PART("1", FULL) PART("2", "77") PART("3", FULL)), 1, "the second is short"},
        {PAGE(PART("1", FULL) PART("2", "x")), 1, "the second has no size"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct script s = {ANSWERS(cases[i].page)};
        struct s3pve_client *client = script_client(&s, "part-size", "5", NULL);
        uint64_t offset = 99;
        struct s3pve_upload *upload = resume(client, &offset, NULL);

        is_int((long long)offset, cases[i].n_parts * (long long)MIB(5), "%s", cases[i].what);
        s3pve_upload_leave(upload);
        s3pve_client_close(client);
        script_clear(&s);
    }
}

static void every_page_of_parts_is_read(void) {
    struct script s = {ANSWERS(
        PAGE("<IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker>" PART(
            "1", FULL
        )),
        PAGE("<IsTruncated>false</IsTruncated>" PART("2", FULL))
    )};
    struct s3pve_client *client = script_client(&s, "part-size", "5", NULL);
    uint64_t offset = 0;
    struct s3pve_upload *upload = resume(client, &offset, NULL);

    is_int((long long)offset, 2 * (long long)MIB(5), "two pages, two parts");
    ok(strstr(s.sent[1].url, "part-number-marker=1") != NULL, "the second follows the first");
    s3pve_upload_leave(upload);
    s3pve_client_close(client);
    script_clear(&s);
}

static void what_is_gone_cannot_be_resumed(void) {
    struct script s = {ANSWERS(
        {.status = 404, .body = "<Error><Code>NoSuchUpload</Code></Error>"},
        PAGE("<IsTruncated>true</IsTruncated>" PART("1", FULL)),
        PAGE("<IsTruncated>true</IsTruncated><NextPartNumberMarker>7</NextPartNumberMarker>")
    )};
    struct s3pve_client *client = script_client(&s, "part-size", "5", NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint64_t offset = 0;

    ok(!resume(client, &offset, &err), "no such upload");
    is_int(err.code, S3PVE_E_NOT_FOUND, "... NOT_FOUND");
    ok(!resume(client, &offset, &err), "a listing that says there is more, but not where");
    is_int(err.code, S3PVE_E_CORRUPT, "... CORRUPT");
    ok(!resume(client, &offset, &err), "a page with nothing, and more to come");
    is_int(err.code, S3PVE_E_CORRUPT, "... CORRUPT");
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    writing_goes_on_after_the_parts_there_are();
    only_parts_without_a_gap_count();
    every_page_of_parts_is_read();
    what_is_gone_cannot_be_resumed();
    return done_testing();
}
