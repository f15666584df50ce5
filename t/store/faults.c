/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What is made of a server's faults, over real sockets: each row is a fault and an outcome. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "core/client.h"
#include "live.h"
#include "tap.h"

#define SIZE (2 * MIB(5) + 1000) /* two full parts and a short one */

static char *bytes;
static struct s3pve_client *client;

static int upload(struct s3pve_error *err) {
    struct s3pve_upload *u = NULL;
    int rc = s3pve_upload_open(client, "file", NULL, &u, err);

    if (rc == 0)
        rc = s3pve_upload_write(u, bytes, SIZE, NULL, err);
    if (rc == 0)
        rc = s3pve_upload_complete(u, NULL, NULL, err);
    s3pve_upload_close(u);
    return rc;
}

static int put_absent(struct s3pve_error *err) {
    const struct s3pve_put_options options = {.if_absent = true};

    return s3pve_object_put(client, "lock", "mine", 4, &options, NULL, NULL, err);
}

static int put_plain(struct s3pve_error *err) {
    return s3pve_object_put(client, "note", "text", 4, NULL, NULL, NULL, err);
}

static int read_range_within(unsigned timeout_ms, struct s3pve_error *err) {
    const struct s3pve_call call = {.timeout_ms = timeout_ms};
    static char buf[100000];
    size_t len = 0;
    int rc = s3pve_object_pread(client, "there", NULL, buf, sizeof(buf), 7, &len, NULL, &call, err);

    if (rc == 0 && (len != sizeof(buf) || memcmp(buf, bytes + 7, len) != 0))
        ok(false, "the bytes of a successful read are right");
    return rc;
}

static int read_range(struct s3pve_error *err) {
    return read_range_within(0, err);
}

static int read_hastily(struct s3pve_error *err) {
    return read_range_within(1000, err);
}

static int read_all(struct s3pve_error *err) {
    int fd = memfd_create("output", MFD_CLOEXEC);
    int rc = s3pve_object_get_fd(client, "there", fd, 0, 0, NULL, NULL, err);
    char *data = malloc(SIZE);

    if (rc == 0 && (lseek(fd, 0, SEEK_END) != (off_t)SIZE ||
                    pread(fd, data, SIZE, 0) != (ssize_t)SIZE || memcmp(data, bytes, SIZE) != 0))
        ok(false, "the bytes of a successful download are right");
    free(data);
    close(fd);
    return rc;
}

static int copy(struct s3pve_error *err) {
    return s3pve_object_copy(client, "there", "copy", NULL, NULL, NULL, err);
}

static int delete_both(struct s3pve_error *err) {
    const char *const keys[] = {"one", "two"};

    return s3pve_object_delete_many(client, keys, 2, NULL, err);
}

static const struct {
    int (*act)(struct s3pve_error *);
    const char *rule;
    enum s3pve_code code;
    const char *counted; /* this operation ... */
    unsigned n;          /* ... so often */
} rows[] = {
    /* parts are repeated */
    {upload, "op=UploadPart do=status status=503 code=SlowDown times=3", S3PVE_OK, "UploadPart", 6},
    {upload, "op=UploadPart do=status status=500 code=InternalError", S3PVE_OK, "UploadPart", 4},
    {upload,
     "op=UploadPart do=reset after=1000000 times=2",
     S3PVE_OK,
     "CompleteMultipartUpload",
     1},
    {upload, "op=UploadPart do=lost times=2", S3PVE_OK, "UploadPart", 5},
    {upload, "op=UploadPart do=status status=400 code=BadDigest", S3PVE_OK, "UploadPart", 4},
    {upload, "op=UploadPart do=close times=3", S3PVE_OK, "UploadPart", 3},
    {upload, "op=CreateMultipartUpload do=status status=503", S3PVE_OK, "UploadPart", 3},
    /* or they are the end of it */
    {upload, "op=UploadPart do=hang times=0", S3PVE_E_TIMEOUT, "CompleteMultipartUpload", 0},
    {upload, "op=UploadPart do=status status=403 code=AccessDenied", S3PVE_E_DENIED, NULL, 0},
    {upload, "op=UploadPart do=status status=507 code=QuotaExceeded", S3PVE_E_NO_SPACE, NULL, 0},
    {upload, "op=UploadPart do=status status=404 code=NoSuchUpload", S3PVE_E_NOT_FOUND, NULL, 0},
    {upload, "op=UploadPart do=strip header=etag", S3PVE_E_CORRUPT, NULL, 0},
    {upload, "op=UploadPart do=etag", S3PVE_E_CORRUPT, "CompleteMultipartUpload", 1},
    /* Complete is resolved by reading */
    {upload, "op=CompleteMultipartUpload do=lost", S3PVE_OK, "CompleteMultipartUpload", 1},
    {upload, "op=CompleteMultipartUpload do=error200", S3PVE_OK, "CompleteMultipartUpload", 1},
    {upload, "op=CompleteMultipartUpload do=error200 spaces=9000", S3PVE_OK, "HeadObject", 1},
    {upload,
     "op=CompleteMultipartUpload do=error200 work=0",
     S3PVE_OK,
     "CompleteMultipartUpload",
     2},
    {upload, "op=CompleteMultipartUpload do=hang", S3PVE_OK, "CompleteMultipartUpload", 2},
    {upload, "op=CompleteMultipartUpload do=body text=", S3PVE_OK, "CompleteMultipartUpload", 1},
    {upload, "op=CompleteMultipartUpload do=etag etag=opaque", S3PVE_OK, "HeadObject", 1},
    {upload,
     "op=CompleteMultipartUpload do=etag etag=00000000000000000000000000000bad-3",
     S3PVE_E_CORRUPT,
     NULL,
     0},
    {upload,
     "op=CompleteMultipartUpload do=status status=404 code=NoSuchUpload times=0",
     S3PVE_E_IO,
     "CompleteMultipartUpload",
     1},
    /* conditions */
    {put_absent, "op=PutObject do=lost", S3PVE_OK, "PutObject", 1},
    {put_absent, "op=PutObject do=reset after=2", S3PVE_OK, "PutObject", 2},
    {put_absent, "op=PutObject do=status status=500 code=InternalError", S3PVE_OK, "PutObject", 2},
    {put_absent, "op=PutObject do=lost times=0", S3PVE_OK, "HeadObject", 2},
    {put_plain, "op=PutObject do=lost", S3PVE_OK, "PutObject", 2},
    {put_plain, "op=PutObject do=strip header=etag", S3PVE_E_CORRUPT, "PutObject", 1},
    {put_plain, "op=PutObject do=hang times=0", S3PVE_E_TIMEOUT, NULL, 0},
    /* reads */
    {read_range, "op=GetObject do=content-range by=1", S3PVE_E_CORRUPT, "GetObject", 1},
    {read_range, "op=GetObject do=short by=1", S3PVE_OK, "GetObject", 2},
    {read_range, "op=GetObject do=truncate after=1000 times=3", S3PVE_OK, "GetObject", 4},
    {read_range, "op=GetObject do=cut after=1000", S3PVE_OK, "GetObject", 2},
    {read_range, "op=GetObject do=stall after=1000 times=0", S3PVE_E_TIMEOUT, NULL, 0},
    {read_hastily, "op=GetObject do=slow rate=30000", S3PVE_OK, "GetObject", 1},
    {read_hastily, "op=GetObject do=stall after=1000 times=0", S3PVE_E_TIMEOUT, "GetObject", 1},
    {read_range, "op=GetObject do=etag", S3PVE_OK, "GetObject", 1},
    {read_range, "op=GetObject do=ignore header=range", S3PVE_E_CORRUPT, NULL, 0},
    {read_all, "op=GetObject do=cut after=3000000 times=3", S3PVE_OK, "GetObject", 4},
    {read_all, "op=GetObject do=truncate after=100", S3PVE_OK, "GetObject", 2},
    {read_all, "op=GetObject do=ignore header=range times=0", S3PVE_OK, NULL, 0},
    {read_all, "op=GetObject do=stall after=5000000", S3PVE_OK, "GetObject", 2},
    /* copies */
    {copy, "op=CopyObject do=error200 work=0", S3PVE_OK, "CopyObject", 2},
    {copy, "op=CopyObject do=error200 work=0 code=AccessDenied", S3PVE_E_DENIED, "CopyObject", 1},
    {copy, "op=CopyObject do=lost", S3PVE_OK, "CopyObject", 2},
    {copy, "op=CopyObject do=status status=501 code=NotImplemented", S3PVE_OK, "UploadPart", 3},
    /* deletes */
    {delete_both, "op=DeleteObjects do=lost", S3PVE_OK, "DeleteObjects", 2},
    {delete_both,
     "op=DeleteObjects do=status status=501 code=NotImplemented",
     S3PVE_OK,
     "DeleteObject",
     2},
    {delete_both, "op=DeleteObject do=lost times=2", S3PVE_OK, "DeleteObjects", 0},
};

static void there_is(const char *key, size_t len) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (s3pve_object_put(client, key, bytes, len, NULL, NULL, NULL, &err) < 0)
        ok(false, "%s: %s", key, err.message);
}

static void try_row(size_t i) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    const char *const left[] = {"file", "lock", "note", "copy"};

    live_fake_clear();
    s3pve_object_delete_many(client, left, 4, NULL, NULL);
    there_is("one", 1);
    there_is("two", 1);
    live_fake_clear();
    live_fake_rule(rows[i].rule);
    rows[i].act(&err);
    is_str(s3pve_code_name(err.code), s3pve_code_name(rows[i].code), "%s", rows[i].rule);
    if (err.code != rows[i].code)
        fprintf(stderr, "# %s\n", err.message);
    if (rows[i].counted)
        is_int(live_fake_count(rows[i].counted), rows[i].n, "... %s", rows[i].counted);
    if (rows[i].act == upload) {
        char *data = NULL;
        size_t len = 0;

        live_fake_clear();
        s3pve_object_get(client, "file", SIZE, &data, &len, NULL, NULL, NULL);
        if (err.code == S3PVE_OK)
            ok(len == SIZE && memcmp(data, bytes, SIZE) == 0, "... and the object is whole");
        else if (err.code != S3PVE_E_CORRUPT || !strstr(rows[i].rule, "bad-3"))
            ok(!data, "... and nothing is published");
        is_int(live_fake_uploads(), 0, "... and no parts are left behind");
        free(data);
    }
}

int main(void) {
    bytes = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 31 + i / 777);
    client = live_fake("", "8");
    there_is("there", SIZE);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        try_row(i);
    s3pve_client_close(client);
    free(bytes);
    return done_testing();
}
