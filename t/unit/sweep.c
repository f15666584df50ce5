/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "core/client.h"
#include "script.h"
#include "tap.h"

/* The server's clock says 2023-11-15T00:13:20Z. */
#define NOW "date: Wed, 15 Nov 2023 00:13:20 GMT\n"
#define UPLOAD(key, id, started)                                                                   \
    "<Upload><Key>" key "</Key><UploadId>" id "</UploadId><Initiated>" started                     \
    "</Initiated></Upload>"
#define PAGE(more)                                                                                 \
    {                                                                                              \
        .status = 200, .headers = NOW,                                                             \
        .body = "<ListMultipartUploadsResult>" more "</ListMultipartUploadsResult>"                \
    }
#define GONE                                                                                       \
    { .status = 204 }

static int sweep(struct script *s, unsigned older_s, unsigned *n, struct s3pve_error *err) {
    struct s3pve_client *client = script_client(s, "prefix", "p", NULL);
    int rc = s3pve_upload_sweep(client, "dump/", older_s, n, NULL, err);

    s3pve_client_close(client);
    return rc;
}

static void what_is_old_is_aborted(void) {
    struct script s = {ANSWERS(
        PAGE(UPLOAD("p/dump/a b", "id1", "2023-11-14T23:13:20.000Z")
                 UPLOAD("p/dump/new", "id2", "2023-11-15T00:13:00.000Z")
                     UPLOAD("p/dump/odd", "id3", "yesterday")
                         UPLOAD("elsewhere/x", "id4", "2020-01-01T00:00:00.000Z")),
        GONE
    )};
    unsigned n = 99;

    is_int(sweep(&s, 3600, &n, NULL), 0, "swept");
    is_int(n, 1, "one upload was an hour old");
    is_int(s.n_sent, 2, "only that is aborted");
    ok(strstr(s.sent[0].url, "prefix=p%2Fdump%2F") != NULL, "the listing was of our prefix");
    is_str(s.sent[1].method, "DELETE", "it is aborted");
    ok(strstr(s.sent[1].url, "/bucket/p/dump/a%20b?uploadId=id1") != NULL, "... by key and id");
    script_clear(&s);
}

static void age_is_told_by_the_servers_clock(void) {
    struct script s = {ANSWERS(PAGE(UPLOAD("p/dump/a", "id1", "2023-11-14T23:13:20.000Z")), GONE)};

    s.wall_s = 1000000000; /* our own clock is years behind */
    is_int(sweep(&s, 3600, NULL, NULL), 0, "swept");
    is_int(s.n_sent, 2, "our own clock has no say");
    script_clear(&s);
}

static void every_page_is_looked_at(void) {
    struct script s = {ANSWERS(
        PAGE("<IsTruncated>true</IsTruncated><NextKeyMarker>p/dump/a</NextKeyMarker>"
             "<NextUploadIdMarker>id1</NextUploadIdMarker>" UPLOAD(
                 "p/dump/a", "id1", "2023-11-14T00:00:00.000Z"
             )),
        GONE,
        PAGE(
            "<IsTruncated>false</IsTruncated>" UPLOAD("p/dump/b", "id2", "2023-11-14T00:00:00.000Z")
        ),
        GONE
    )};
    unsigned n = 0;

    is_int(sweep(&s, 0, &n, NULL), 0, "two pages");
    is_int(n, 2, "... two uploads");
    ok(strstr(s.sent[2].url, "key-marker=p%2Fdump%2Fa") != NULL, "the second follows the first");
    ok(strstr(s.sent[2].url, "upload-id-marker=id1") != NULL, "... exactly");
    script_clear(&s);
}

static void a_listing_that_goes_in_circles_is_left(void) {
#define CIRCLE PAGE("<IsTruncated>true</IsTruncated><NextKeyMarker>p/dump/a</NextKeyMarker>")
    struct script s = {ANSWERS(CIRCLE, CIRCLE, CIRCLE)};
    struct script nowhere = {ANSWERS(PAGE("<IsTruncated>true</IsTruncated>"))};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(sweep(&s, 0, NULL, &err), -1, "the same page again");
    is_int(err.code, S3PVE_E_CORRUPT, "... is CORRUPT");
    is_int(s.n_sent, 2, "... after the second time");
    is_int(sweep(&nowhere, 0, NULL, &err), -1, "and more without saying where is too");
    script_clear(&s);
    script_clear(&nowhere);
}

static void one_refusal_does_not_stop_the_others(void) {
    struct script s = {ANSWERS(
        PAGE(UPLOAD("p/dump/a", "id1", "2023-11-14T00:00:00.000Z")
                 UPLOAD("p/dump/b", "id2", "2023-11-14T00:00:00.000Z")),
        {.status = 403},
        GONE
    )};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    unsigned n = 0;

    is_int(sweep(&s, 0, &n, &err), -1, "one could not be aborted");
    is_int(err.code, S3PVE_E_DENIED, "... DENIED");
    is_int(n, 1, "the other one was");
    script_clear(&s);
}

static void one_is_aborted_by_its_id(void) {
    struct script s = {
        ANSWERS({.status = 404, .body = "<Error><Code>NoSuchUpload</Code></Error>"})};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(s3pve_upload_abort_id(client, "key", "id", NULL, NULL), 0, "already gone is success");
    s3pve_upload_abort_id(client, "key", "", NULL, &err);
    is_int(err.code, S3PVE_E_INVALID, "no id: that would delete the object");
    is_int(s.n_sent, 1, "... and is not sent");
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    what_is_old_is_aborted();
    age_is_told_by_the_servers_clock();
    every_page_is_looked_at();
    a_listing_that_goes_in_circles_is_left();
    one_refusal_does_not_stop_the_others();
    one_is_aborted_by_its_id();
    return done_testing();
}
