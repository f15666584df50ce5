/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* upload.c - the life of an upload; see upload.h for how it moves */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/upload.h"

#define READ_BYTES MIB(1) /* from a file descriptor at once: also how often transfers are moved */
#define PIPE_BYTES MIB(1) /* asked of a pipe, so that its writer need not wait for us */
#define INPUT_MS 2        /* waiting for input while transfers must be moved */
#define INPUT_IDLE_MS 100 /* waiting for input otherwise; how soon a cancel flag is seen */

DEFINE_CLEANUP(struct s3pve_upload *, s3pve_upload_leave)

static void options_clear(struct s3pve_put_options *options) {
    free((void *)options->content_type);
    free((void *)options->storage_class);
    free((void *)options->meta);
    free((void *)options->tags);
    free((void *)options->if_match);
    *options = (struct s3pve_put_options){0};
}

static bool copy_text(const char **to, const char *from) {
    if (!from)
        return true;
    *to = strdup(from);
    return *to != NULL;
}

static bool options_copy(struct s3pve_put_options *to, const struct s3pve_put_options *from) {
    if (!from)
        return true;
    to->if_absent = from->if_absent;
    if (from->n_meta) {
        struct s3pve_meta *meta = calloc(from->n_meta, sizeof(*meta));

        if (!meta)
            return false;
        memcpy(meta, from->meta, from->n_meta * sizeof(*meta));
        to->meta = meta;
        to->n_meta = from->n_meta;
    }
    return copy_text(&to->content_type, from->content_type) &&
           copy_text(&to->storage_class, from->storage_class) && copy_text(&to->tags, from->tags) &&
           copy_text(&to->if_match, from->if_match);
}

struct s3pve_upload *upload_new(
    struct s3pve_client *client, const char *key, const struct s3pve_put_options *options
) {
    _cleanup_(s3pve_upload_leavep) struct s3pve_upload *upload = calloc(1, sizeof(*upload));

    if (!upload)
        return NULL;
    upload->client = client;
    upload->number = 1;
    upload->key = strdup(key);
    if (!upload->key || !options_copy(&upload->options, options))
        return NULL;
    upload->mp = (struct multipart){.client = client, .key = upload->key};
    return steal_ptr(&upload);
}

_public_ int s3pve_upload_open(
    struct s3pve_client *client,
    const char *key,
    const struct s3pve_put_options *options,
    struct s3pve_upload **ret_upload,
    struct s3pve_error *err
) {
    struct s3pve_upload *upload;

    if (object_check_new_key(client, key, err) < 0)
        return -1;
    if (object_check_options(options, err) < 0)
        return error_wrap(err, "upload of %s", key);
    upload = upload_new(client, key, options);
    if (!upload)
        return error_set(err, S3PVE_E_NOMEM, "upload of %s", key);
    *ret_upload = upload;
    return 0;
}

_public_ int s3pve_upload_begin(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (upload_check(upload, err) < 0)
        return -1;
    if (upload->mp.id || upload->completed)
        return 0;
    upload->sealed = false;
    if (multipart_create(&upload->mp, &upload->options, call, &cause) < 0)
        return upload_fail(upload, &cause, err);
    return 0;
}

/* -------------------------------------------------------------------- bytes */

static int check_open(struct s3pve_upload *upload, struct s3pve_error *err) {
    if (upload->completed)
        return error_set(err, S3PVE_E_INVALID, "upload of %s: already complete", upload->key);
    return upload_check(upload, err);
}

_public_ int s3pve_upload_write(
    struct s3pve_upload *upload,
    const void *data,
    size_t len,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    size_t room;

    if (check_open(upload, err) < 0)
        return -1;
    while (len > 0) {
        if (upload_room(upload, len, &room, call, err) < 0)
            return -1;
        if (room > len)
            room = len;
        memcpy(upload->fill.data + upload->fill_len, data, room);
        if (upload_filled(upload, room, call, err) < 0)
            return -1;
        data = (const char *)data + room;
        len -= room;
    }
    return 0;
}

/* Until @fd has something; meanwhile the parts in flight are moved along. */
static int wait_input(
    struct s3pve_upload *upload, int fd, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct pollfd input = {.fd = fd, .events = POLLIN};

    for (;;) {
        int n = poll(&input, 1, upload_is_busy(upload) ? 0 : INPUT_IDLE_MS);

        if (n > 0 || (n < 0 && errno != EINTR) || fd < 0)
            return 0; /* read() has the last word */
        if (upload_check_cancel(upload, call, err) < 0)
            return -1;
        if (upload_is_busy(upload))
            upload_move(upload, INPUT_MS);
        if (upload_check(upload, err) < 0)
            return -1;
    }
}

/* Return: bytes, 0 at the end, or -1. */
static ssize_t read_some(
    struct s3pve_upload *upload,
    int fd,
    struct iovec *to,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_error cause;
    ssize_t n;

    for (;;) {
        if (wait_input(upload, fd, call, err) < 0)
            return -1;
        n = read(fd, to->iov_base, to->iov_len < READ_BYTES ? to->iov_len : READ_BYTES);
        if (n >= 0)
            return n;
        if (errno == EINTR || errno == EAGAIN)
            continue;
        error_set(&cause, S3PVE_E_IO, "upload of %s: input: %s", upload->key, strerror(errno));
        cause.errnum = errno;
        return upload_fail(upload, &cause, err);
    }
}

/* The first part is full.  Only another byte decides that there will be a second. */
static bool must_peek(const struct s3pve_upload *upload) {
    return !upload->mp.id && upload->fill_len == parts_size(&upload->client->config, 1);
}

_public_ int s3pve_upload_read_fd(
    struct s3pve_upload *upload, int fd, const struct s3pve_call *call, struct s3pve_error *err
) {
    char peek[4096];
    ssize_t n;

    if (check_open(upload, err) < 0)
        return -1;
    (void)fcntl(fd, F_SETPIPE_SZ, (int)PIPE_BYTES); /* no pipe, no matter */
    for (;;) {
        struct iovec to = {.iov_base = peek, .iov_len = sizeof(peek)};
        bool peeking = must_peek(upload);

        if (!peeking) {
            if (upload_room(upload, READ_BYTES, &to.iov_len, call, err) < 0)
                return -1;
            to.iov_base = upload->fill.data + upload->fill_len;
        }
        n = read_some(upload, fd, &to, call, err);
        if (n <= 0)
            return (int)n;
        if (peeking ? s3pve_upload_write(upload, peek, (size_t)n, call, err) < 0
                    : upload_filled(upload, (size_t)n, call, err) < 0)
            return -1;
    }
}

/* ---------------------------------------------------------------- publishing */

_public_ int s3pve_upload_seal(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
) {
    if (upload_check(upload, err) < 0)
        return -1;
    if (upload->sealed || upload->completed)
        return 0;
    if (upload_flush(upload, call, err) < 0)
        return -1;
    upload->sealed = true;
    return 0;
}

_public_ int s3pve_upload_complete(
    struct s3pve_upload *upload,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct iovec iov;
    const struct object_source source = {upload->key, &iov, 1, &upload->options};
    int rc = 0;

    if (s3pve_upload_seal(upload, call, err) < 0)
        return -1;
    iov = (struct iovec
    ){.iov_base = upload->fill.data ? upload->fill.data : "", .iov_len = upload->fill_len};
    if (!upload->completed && upload->mp.id)
        rc = multipart_complete(&upload->mp, &upload->options, &upload->info, call, err);
    else if (!upload->completed)
        rc = object_put(upload->client, &source, &upload->info, call, err);
    if (rc < 0)
        return -1;

    upload->completed = true;
    atomic_store(&upload->stored, atomic_load(&upload->size));
    upload_free_buffers(upload);
    if (ret_info)
        *ret_info = upload->info;
    return 0;
}

/* ----------------------------------------------------------------- the end */

_public_ void s3pve_upload_abort(struct s3pve_upload *upload, const struct s3pve_call *call) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    bool was_busy;
    int rc;

    if (upload->completed || upload->aborted)
        return;
    upload->aborted = true;
    was_busy = upload_cancel_slots(upload);
    upload_free_buffers(upload);
    error_set(&err, S3PVE_E_CANCELLED, "upload of %s: aborted", upload->key);
    upload_fail(upload, &err, NULL);
    if (!upload->mp.id)
        return;

    rc = multipart_abort(upload->client, upload->key, false, upload->mp.id, call, &err);
    /* A part that the store was still taking in may have outlived the first one. */
    if (rc == 0 && was_busy)
        rc = multipart_abort(upload->client, upload->key, false, upload->mp.id, call, &err);
    if (rc < 0)
        client_log(
            upload->client,
            S3PVE_LOG_WARNING,
            "AbortMultipartUpload",
            upload->key,
            "parts may be left behind: %s",
            err.message
        );
}

_public_ struct s3pve_upload *s3pve_upload_leave(struct s3pve_upload *upload) {
    if (!upload)
        return NULL;
    upload_cancel_slots(upload);
    upload_free_buffers(upload);
    multipart_clear(&upload->mp);
    options_clear(&upload->options);
    free(upload->key);
    free(upload);
    return NULL;
}

_public_ struct s3pve_upload *s3pve_upload_close(struct s3pve_upload *upload) {
    if (upload && upload->client->pid == getpid())
        s3pve_upload_abort(upload, NULL);
    return s3pve_upload_leave(upload);
}

_public_ uint64_t s3pve_upload_size(const struct s3pve_upload *upload) {
    return atomic_load(&upload->size);
}

_public_ uint64_t s3pve_upload_stored(const struct s3pve_upload *upload) {
    return atomic_load(&upload->stored);
}

_public_ const char *s3pve_upload_id(const struct s3pve_upload *upload) {
    return upload->mp.id ? upload->mp.id : "";
}
