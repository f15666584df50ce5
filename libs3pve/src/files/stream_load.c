/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* stream_load.c - what the store has already, for a writer who keeps some of it */
#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "files/publish.h"

/* With room for @n bytes in the head. */
static int load_head(
    struct stream *stream, const struct object *object, uint64_t n, struct s3pve_error *err
) {
    struct s3pve_call call = files_call(stream->files, 0);
    size_t len = 0;

    if (n && s3pve_object_pread(
                 stream->files->client,
                 object->key,
                 *object->etag ? object->etag : NULL,
                 stream->head,
                 n,
                 0,
                 &len,
                 NULL,
                 &call,
                 err
             ) < 0)
        return -1;
    if (len != n)
        return error_set(err, S3PVE_E_CORRUPT, "load: the object changed its size");
    stream->place = PLACE_HEAD;
    return 0;
}

/* A download is of one version; is it this one? */
static int check_version(
    struct s3pve_files *files,
    const struct object *object,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_info info;

    if (s3pve_object_head(files->client, object->key, &info, call, err) < 0)
        return -1;
    if (info.size != object->size || (*object->etag && strcmp(info.etag, object->etag) != 0))
        return error_set(err, S3PVE_E_CONFLICT, "load: the object was replaced");
    return 0;
}

static int load_spool(
    struct stream *stream, const struct object *object, uint64_t n, struct s3pve_error *err
) {
    struct s3pve_files *files = stream->files;
    struct s3pve_call call = files_call(files, 0);
    int rc = spool_open(files, &stream->spool);

    if (rc == 0)
        rc = spool_truncate(files, &stream->spool, n);
    if (rc == 0)
        rc = spool_make_room(files, &stream->spool, n);
    if (rc < 0)
        return error_set(
            err, rc == -ENOSPC ? S3PVE_E_NO_SPACE : S3PVE_E_IO, "load: spool: %s", strerror(-rc)
        );
    if (s3pve_object_get_fd(files->client, object->key, stream->spool.fd, 0, n, NULL, &call, err) <
            0 ||
        check_version(files, object, &call, err) < 0)
        return -1;
    stream->place = PLACE_SPOOL;
    return 0;
}

int stream_load(struct stream *stream, uint64_t most) {
    struct s3pve_files *files = stream->files;
    _cleanup_(object_clear) struct object object = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int rc = object_of(files, stream->node, &object);
    uint64_t n = object.size < most ? object.size : most;

    if (rc < 0)
        return rc;
    rc = n <= HEAD_MAX / 2 && stream_reserve_head(stream, n) ? load_head(stream, &object, n, &err)
                                                             : load_spool(stream, &object, n, &err);
    if (rc < 0) {
        spool_close(files, &stream->spool);
        stream_free_head(stream);
        return files_fail(files, "write", object.key, &err);
    }
    stream->end = n;
    stream->is_unordered = true;
    return 0;
}
