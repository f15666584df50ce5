/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The same work on servers that differ in what they can do, and that say so or do not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "core/client.h"
#include "live.h"
#include "tap.h"

#define SIZE (2 * MIB(5) + 1000)

static char *bytes;

static const char *const settings[] = {
    "",
    "conditions=off",
    "conditions=refuse",
    "etag-style=bare",
    "etag-style=quoted",
    "equal-parts=1",
    "random-etags=1",
    "no-part-copy=1",
    "no-batch-delete=1",
    "max-copy=3000000",
    "max-copy=3000000 no-part-copy=1",
};

static bool holds(struct s3pve_client *client, const char *key, const char *data, size_t len) {
    char *got = NULL;
    size_t n = 0;
    bool same = s3pve_object_get(client, key, SIZE, &got, &n, NULL, NULL, NULL) == 0 && n == len &&
                memcmp(got, data, len) == 0;

    free(got);
    return same;
}

static void upload(struct s3pve_client *client) {
    const struct s3pve_meta meta = {"a", "1"};
    const struct s3pve_put_options options = {
        .content_type = "x/y", .meta = &meta, .n_meta = 1, .if_absent = true};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_upload *u = NULL;

    for (int i = 0; i < 2; i++) {
        s3pve_upload_open(client, "file", &options, &u, NULL);
        s3pve_upload_write(u, bytes, SIZE, NULL, NULL);
        is_int(s3pve_upload_complete(u, NULL, NULL, &err), -i, "an upload if absent, try %d", i);
        s3pve_upload_close(u);
    }
    is_int(err.code, S3PVE_E_CONFLICT, "... the second is a conflict");
    ok(holds(client, "file", bytes, SIZE), "... and the first is whole");
    is_int(live_fake_uploads(), 0, "... with no parts left behind");
}

static void put(struct s3pve_client *client) {
    const struct s3pve_put_options absent = {.if_absent = true};
    struct s3pve_put_options match = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info = {0};

    is_int(s3pve_object_put(client, "root", "1", 1, &absent, &info, NULL, NULL), 0, "absent");
    s3pve_object_put(client, "root", "2", 1, &absent, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_CONFLICT, "... only once");
    match.if_match = info.etag;
    err = S3PVE_ERROR_INIT;
    s3pve_object_put(client, "root", "3", 1, &match, NULL, NULL, &err);
    is_int(err.code, S3PVE_OK, "matching %s", err.message);
    s3pve_object_put(client, "root", "4", 1, &match, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_CONFLICT, "... only once");
    ok(holds(client, "root", "3", 1), "... and so it is");
}

static void copy(struct s3pve_client *client) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info = {0};

    s3pve_object_copy(client, "file", "copy", NULL, &info, NULL, &err);
    is_int(err.code, S3PVE_OK, "a copy %s", err.message);
    ok(holds(client, "copy", bytes, SIZE), "... is whole");
    s3pve_object_head(client, "copy", &info, NULL, NULL);
    is_str(info.content_type, "x/y", "... has its type");
    is_str(info.meta[0].value, "1", "... and its metadata");
    is_int(live_fake_uploads(), 0, "... with no parts left behind");
}

static void delete_all(struct s3pve_client *client) {
    const char *const keys[] = {"file", "root", "copy"};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(s3pve_object_delete_many(client, keys, 3, NULL, NULL), 0, "deleted");
    s3pve_object_head(client, "copy", NULL, NULL, &err);
    is_int(err.code, S3PVE_E_NOT_FOUND, "... and gone");
}

static void a_large_copy_stays_in_the_store(void) {
    struct s3pve_client *client = live_fake("", "60");
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info = {0};

    live_fake_zeroes("zeroes", "6442450944");
    s3pve_object_copy(client, "zeroes", "copy", NULL, &info, NULL, &err);
    is_int(err.code, S3PVE_OK, "6 GiB are copied %s", err.message);
    is_int((long long)info.size, 6442450944LL, "... to their end");
    is_int(live_fake_count("UploadPartCopy"), 24, "... in parts");
    is_int(live_fake_count("GetObject"), 0, "... that never leave the store");
    s3pve_client_close(client);
}

int main(void) {
    bytes = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 31 + i / 777);
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        struct s3pve_client *client = live_fake(settings[i], "60");

        printf("# server: %s\n", *settings[i] ? settings[i] : "as it should be");
        upload(client);
        put(client);
        copy(client);
        delete_all(client);
        s3pve_client_close(client);
    }
    a_large_copy_stays_in_the_store();
    free(bytes);
    return done_testing();
}
