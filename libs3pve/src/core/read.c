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

struct reading {
    struct s3pve_client *client;
    const char *key, *if_match;
    struct iovec to; /* shortened to what there is */
    uint64_t offset;
    struct s3pve_info *ret_info;
    struct span span;
};

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

/* All of it, if it is not longer than @limit. */
static int get_whole(struct reading *r, size_t limit, struct request *rq, struct s3pve_error *err) {
    request_init(rq, "GetObject", "GET", r->key, span_call(&r->span));
    rq->reply_max = limit > LIMIT_ERROR_BODY ? limit : LIMIT_ERROR_BODY; /* room for a refusal */
    rq->urgent = true;
    refine(rq, r->if_match);
    if (request_send(r->client, rq, err) < 0 || check_version(rq, r->if_match, err) < 0)
        return -1;
    if (rq->reply.body_len > limit)
        return error_set(
            err, S3PVE_E_CORRUPT, "GetObject %s: longer than the %zu bytes expected", r->key, limit
        );
    return 0;
}

/* For a server that knows no ranges: the whole object, if it is small, and the piece from it. */
static int pread_sliced(struct reading *r, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    size_t len;

    if (get_whole(r, READ_CHUNK, &rq, err) < 0)
        return error_wrap(err, "this server ignores Range");
    take_info(&rq, r->ret_info);
    len = rq.reply.body_len;
    len = r->offset < len ? len - (size_t)r->offset : 0;
    if (r->to.iov_len > len)
        r->to.iov_len = len;
    if (len)
        memcpy(r->to.iov_base, rq.reply.body + r->offset, r->to.iov_len);
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

bool object_is_past_end(const struct request *rq) {
    return rq->error.http_status == 416;
}

bool object_ignores_ranges(const struct request *rq) {
    return rq->error.http_status == 200 && rq->error.code == S3PVE_E_CORRUPT && !rq->received &&
           !rq->reply.has_content_range;
}

static int read_info(struct reading *r, struct s3pve_error *err) {
    return r->ret_info ? object_head(r->client, r->key, span_call(&r->span), r->ret_info, NULL, err)
                       : 0;
}

static int pread_into(struct reading *r, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;

    request_init(&rq, "GetObject", "GET", r->key, span_call(&r->span));
    rq.range.set = true;
    rq.range.offset = r->offset;
    rq.range.len = r->to.iov_len;
    rq.into = r->to.iov_base;
    rq.urgent = true;
    refine(&rq, r->if_match);
    if (request_send(r->client, &rq, err) < 0) {
        if (object_ignores_ranges(&rq))
            return pread_sliced(r, err);
        if (!object_is_past_end(&rq))
            return -1;
        r->to.iov_len = 0;
        return read_info(r, err);
    }

    if (check_version(&rq, r->if_match, err) < 0 || check_length(&rq, err) < 0)
        return -1;
    r->to.iov_len = rq.received;
    take_info(&rq, r->ret_info);
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
    struct reading r = {
        .client = client,
        .key = key,
        .if_match = if_match,
        .to = {.iov_base = buf, .iov_len = len},
        .offset = offset,
        .ret_info = ret_info,
    };
    int rc;

    if (object_check_key(client, key, err) < 0)
        return -1;
    if (offset > UINT64_MAX - len)
        return error_set(err, S3PVE_E_INVALID, "GetObject %s: the range has no end", key);

    span_begin(&r.span, client, call, 0);
    rc = len ? pread_into(&r, &cause) : read_info(&r, &cause);
    if (rc == 0)
        *ret_len = r.to.iov_len;
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
    struct reading r = {.client = client, .key = key};
    char *data;

    if (object_check_key(client, key, err) < 0)
        return -1;
    span_begin(&r.span, client, call, 0);
    if (get_whole(&r, limit, &rq, err) < 0)
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
