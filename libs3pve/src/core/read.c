/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * read.c - objects and pieces of them into memory
 *
 * The engine checks before the first byte that a range is the range asked for, and goes on where a
 * broken transfer stopped, pinned to the version it began with (C5).
 */
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/object.h"

static void refine(struct request *rq, const char *if_match) {
    if (if_match && *if_match)
        request_header(rq, "if-match", "\"%s\"", if_match);
}

/* A server may ignore If-Match; what it calls the object's version decides. */
static int check_version(const struct request *rq, const char *if_match, struct s3pve_error *err) {
    const char *etag = rq->reply.info.etag;

    if (!if_match || !*if_match || !*etag || strcmp(etag, if_match) == 0)
        return 0;
    return error_set(err, S3PVE_E_CONFLICT, "GetObject %s: it has changed", rq->key);
}

static void take_info(struct request *rq, struct s3pve_info *ret_info) {
    if (!ret_info)
        return;
    object_hide_marker(&rq->reply.info, NULL);
    *ret_info = rq->reply.info;
}

static int get_whole(
    struct s3pve_client *client,
    const char *key,
    const char *if_match,
    size_t limit,
    struct request *rq,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    request_init(rq, "GetObject", "GET", key, call);
    rq->reply_max = limit > LIMIT_ERROR_BODY ? limit : LIMIT_ERROR_BODY; /* room for a refusal */
    rq->urgent = true;
    refine(rq, if_match);
    if (request_send(client, rq, err) < 0 || check_version(rq, if_match, err) < 0)
        return -1;
    if (rq->reply.body_len > limit)
        return error_set(
            err, S3PVE_E_CORRUPT, "GetObject %s: longer than the %zu bytes expected", key, limit
        );
    return 0;
}

/* For a server that knows no ranges: the whole object, if it is small, and the piece from it. */
static int pread_sliced(
    struct s3pve_client *client,
    const char *key,
    const char *if_match,
    struct iovec *to,
    uint64_t offset,
    struct s3pve_info *ret_info,
    struct span *span,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq;

    if (get_whole(client, key, if_match, READ_CHUNK, &rq, span_call(span), err) < 0)
        return error_wrap(err, "this server ignores Range");
    take_info(&rq, ret_info);
    if (offset >= rq.reply.body_len) {
        to->iov_len = 0;
        return 0;
    }
    if (to->iov_len > rq.reply.body_len - offset)
        to->iov_len = rq.reply.body_len - (size_t)offset;
    memcpy(to->iov_base, rq.reply.body + offset, to->iov_len);
    return 0;
}

/* Is what arrived all there is of what was asked for? */
static int check_length(const struct request *rq, struct s3pve_error *err) {
    uint64_t size = rq->reply.info.size, want = rq->range.len;

    if (!rq->reply.has_content_range && !rq->reply.has_content_length)
        return 0; /* a whole object of a length nobody said; its transfer ended well */
    if (rq->reply.has_content_range && !rq->reply.range_total)
        size = rq->range.offset + rq->range.len; /* "*": nobody said where it ends */
    if (size < rq->range.offset + want)
        want = size > rq->range.offset ? size - rq->range.offset : 0;
    if (rq->received == want)
        return 0;
    return error_set(
        err,
        S3PVE_E_CORRUPT,
        "GetObject %s: %llu bytes instead of %llu at %llu",
        rq->key,
        (unsigned long long)rq->received,
        (unsigned long long)want,
        (unsigned long long)rq->range.offset
    );
}

static bool is_past_end(const struct request *rq) {
    return rq->error.http_status == 416;
}

static bool ignores_ranges(const struct request *rq) {
    return rq->error.http_status == 200 && rq->error.code == S3PVE_E_CORRUPT && !rq->received &&
           !rq->reply.has_content_range;
}

static int pread_into(
    struct s3pve_client *client,
    const char *key,
    const char *if_match,
    struct iovec *to,
    uint64_t offset,
    struct s3pve_info *ret_info,
    struct span *span,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq;

    request_init(&rq, "GetObject", "GET", key, span_call(span));
    rq.range.set = true;
    rq.range.offset = offset;
    rq.range.len = to->iov_len;
    rq.into = to->iov_base;
    rq.urgent = true;
    refine(&rq, if_match);
    if (request_send(client, &rq, err) < 0) {
        if (ignores_ranges(&rq))
            return pread_sliced(client, key, if_match, to, offset, ret_info, span, err);
        if (!is_past_end(&rq))
            return -1;
        to->iov_len = 0;
        return ret_info ? object_head(client, key, span_call(span), ret_info, NULL, err) : 0;
    }

    if (check_version(&rq, if_match, err) < 0 || check_length(&rq, err) < 0)
        return -1;
    to->iov_len = rq.received;
    take_info(&rq, ret_info);
    return 0;
}

_public_ int s3pve_object_pread(
    struct s3pve_client *client,
    const char *key,
    const char *if_match,
    void *buf,
    size_t len,
    uint64_t offset,
    size_t *ret_len,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_error cause = S3PVE_ERROR_INIT; /* of a request that need not be the last */
    struct iovec to = {.iov_base = buf, .iov_len = len};
    struct span span;
    int rc = 0;

    if (object_check_key(client, key, err) < 0)
        return -1;
    if (offset > UINT64_MAX - len)
        return error_set(err, S3PVE_E_INVALID, "GetObject %s: the range has no end", key);

    span_begin(&span, client, call, 0);
    if (len)
        rc = pread_into(client, key, if_match, &to, offset, ret_info, &span, &cause);
    else if (ret_info)
        rc = object_head(client, key, span_call(&span), ret_info, NULL, &cause);
    if (rc == 0)
        *ret_len = to.iov_len;
    else if (err)
        *err = cause;
    return rc;
}

_public_ int s3pve_object_get(
    struct s3pve_client *client,
    const char *key,
    size_t limit,
    char **ret_data,
    size_t *ret_len,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq = {0};
    char *data;

    if (object_check_key(client, key, err) < 0)
        return -1;
    if (get_whole(client, key, NULL, limit, &rq, call, err) < 0)
        return -1;

    if (rq.reply.has_content_length && rq.reply.content_length != rq.reply.body_len)
        return error_set(err, S3PVE_E_CORRUPT, "GetObject %s: cut short", key);
    data = rq.reply.body ? steal_ptr(&rq.reply.body) : calloc(1, 1);
    if (!data)
        return error_set(err, S3PVE_E_NOMEM, "GetObject %s", key);

    take_info(&rq, ret_info);
    if (ret_info)
        ret_info->size = rq.reply.body_len;
    *ret_len = rq.reply.body_len;
    *ret_data = data;
    return 0;
}
