/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Objects on a real server: put, read, streamed, copied, tagged, deleted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "core/client.h"
#include "live.h"
#include "tap.h"

#define LARGE (MIB(40) + 12345) /* a download of two stretches */

static char *bytes;

static bool same_file(int fd, uint64_t from, uint64_t len) {
    char *data = malloc(len + 1);
    bool same = lseek(fd, 0, SEEK_END) == (off_t)len && pread(fd, data, len, 0) == (ssize_t)len &&
                memcmp(data, bytes + from, len) == 0;

    free(data);
    return same;
}

static void a_small_object_comes_back(struct s3pve_client *client) {
    const struct s3pve_meta meta = {"colour", "green"};
    const struct s3pve_put_options options = {
        .content_type = "text/plain", .meta = &meta, .n_meta = 1, .tags = "a=b%20c"};
    struct s3pve_info info = {0};
    char *data = NULL;
    size_t len = 0;

    is_int(
        s3pve_object_put(client, "a/ö +&?.txt", "hello", 5, &options, &info, NULL, NULL), 0, "put"
    );
    is_str(info.etag, "5d41402abc4b2a76b9719d911017c592", "... with the ETag of its bytes");
    is_int(s3pve_object_get(client, "a/ö +&?.txt", 100, &data, &len, &info, NULL, NULL), 0, "got");
    is_str(data, "hello", "... the same bytes");
    is_str(info.content_type, "text/plain", "... its type");
    is_int(info.n_meta, 1, "... its metadata");
    is_str(info.meta[0].value, "green", "... as it was");
    free(data);
    data = NULL;
    is_int(s3pve_object_tags(client, "a/ö +&?.txt", &data, NULL, NULL), 0, "its tags");
    is_str(data, "a=b%20c", "... too");
    free(data);
    is_int(s3pve_object_set_tags(client, "a/ö +&?.txt", "", NULL, NULL), 0, "which may go");
    data = NULL;
    s3pve_object_tags(client, "a/ö +&?.txt", &data, NULL, NULL);
    is_str(data, "", "... and are gone");
    free(data);
}

static void ranges_are_just_what_was_asked(struct s3pve_client *client) {
    char buf[1000];
    size_t len = 0;
    struct s3pve_info info;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    s3pve_object_put(client, "range", bytes, 10000, NULL, &info, NULL, NULL);
    s3pve_object_pread(client, "range", info.etag, buf, 1000, 5000, &len, NULL, NULL, NULL);
    ok(len == 1000 && memcmp(buf, bytes + 5000, 1000) == 0, "a thousand bytes from the middle");
    s3pve_object_pread(client, "range", NULL, buf, 1000, 9500, &len, NULL, NULL, NULL);
    is_int((long long)len, 500, "less at the end");
    is_int(
        s3pve_object_pread(client, "range", NULL, buf, 10, 10000, &len, &info, NULL, &err),
        0,
        "and after it"
    );
    is_int((long long)len, 0, "... nothing");
    is_int((long long)info.size, 10000, "... of this size");
    is_int(err.code, S3PVE_OK, "... without an error");
    s3pve_object_pread(client, "range", "another", buf, 10, 0, &len, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_CONFLICT, "another version is a conflict");
}

static void a_download_is_whole(struct s3pve_client *client, const char *how) {
    uint64_t progress = 0;
    int fd = memfd_create("output", MFD_CLOEXEC);

    is_int(s3pve_object_get_fd(client, "large", fd, 0, 0, &progress, NULL, NULL), 0, "%s", how);
    ok(same_file(fd, 0, LARGE), "... all bytes are there");
    is_int((long long)progress, (long long)LARGE, "... and counted");
    close(fd);
    fd = memfd_create("output", MFD_CLOEXEC);
    s3pve_object_get_fd(client, "large", fd, 33333, MIB(36), NULL, NULL, NULL);
    ok(same_file(fd, 33333, MIB(36)), "... and a slice is a slice");
    close(fd);
}

static void conditions_are_kept(struct s3pve_client *client) {
    const struct s3pve_put_options absent = {.if_absent = true};
    struct s3pve_put_options match = {0};
    struct s3pve_info info = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_caps caps = {.put_if_absent = S3PVE_YES, .put_if_match = S3PVE_YES};

    for (int known = 0; known < 2; known++) {
        if (known)
            s3pve_client_use_caps(client, &caps);
        s3pve_object_delete(client, "root", NULL, NULL);
        is_int(s3pve_object_put(client, "root", "1", 1, &absent, &info, NULL, NULL), 0, "first");
        s3pve_object_put(client, "root", "2", 1, &absent, NULL, NULL, &err);
        is_int(err.code, S3PVE_E_CONFLICT, "... and only once");
        match.if_match = info.etag;
        is_int(s3pve_object_put(client, "root", "3", 1, &match, NULL, NULL, NULL), 0, "next");
        s3pve_object_put(client, "root", "4", 1, &match, NULL, NULL, &err);
        is_int(err.code, S3PVE_E_CONFLICT, "... and only from there");
    }
}

static void copies_are_copies(struct s3pve_client *client) {
    const struct s3pve_put_options options = {.content_type = "x/y"};
    struct s3pve_info from = {0}, info = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    s3pve_object_head(client, "large", &from, NULL, NULL);
    is_int(s3pve_object_copy(client, "large", "ä copy", NULL, &info, NULL, NULL), 0, "copied");
    is_int((long long)info.size, (long long)LARGE, "... to its end");
    is_str(info.content_type, "text/large", "... with its type");
    is_int(s3pve_object_copy(client, "large", "other", &options, &info, NULL, NULL), 0, "again");
    is_str(info.content_type, "x/y", "... with another");
    is_int(
        s3pve_object_copy(client, "large", "large", &options, &info, NULL, NULL), 0, "onto itself"
    );
    is_str(info.content_type, "x/y", "... with another type");
    s3pve_object_copy(client, "missing", "copy", NULL, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_NOT_FOUND, "what is missing is not copied");
}

static void many_go_at_once(struct s3pve_client *client) {
    enum { N = 1234 };
    static char names[N][32];
    const char *keys[N];
    struct s3pve_error err = S3PVE_ERROR_INIT;

    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof(names[i]), "many/%d <&> \"", i);
        keys[i] = names[i];
        if (i % 100 == 0)
            s3pve_object_put(client, names[i], "", 0, NULL, NULL, NULL, NULL);
    }
    is_int(s3pve_object_delete_many(client, keys, N, NULL, NULL), 0, "1234 keys are deleted");
    s3pve_object_head(client, names[1200], NULL, NULL, &err);
    is_int(err.code, S3PVE_E_NOT_FOUND, "... and gone");
    is_int(s3pve_object_delete(client, names[0], NULL, NULL), 0, "deleting again is fine");
}

int main(void) {
    const struct s3pve_put_options options = {.content_type = "text/large"};
    struct s3pve_client *client = live_client("pre fix");
    struct s3pve_error err = S3PVE_ERROR_INIT;

    bytes = malloc(LARGE);
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = (char)(i * 31 + i / 777);
    a_small_object_comes_back(client);
    ranges_are_just_what_was_asked(client);
    s3pve_object_put(client, "large", bytes, LARGE, &options, NULL, NULL, &err);
    is_int(err.code, S3PVE_OK, "40 MiB in one request %s", err.message);
    a_download_is_whole(client, "downloaded straight to the file");
    conditions_are_kept(client);
    copies_are_copies(client);
    many_go_at_once(client);
    s3pve_client_start_thread(client, NULL);
    a_download_is_whole(client, "downloaded beside a network thread");
    s3pve_client_close(client);
    free(bytes);
    return done_testing();
}
