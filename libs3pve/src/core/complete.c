/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * complete.c - publishing a multipart upload
 *
 * Complete is sent once and its lost answer resolved by reading (C3).  The object is ours when it
 * carries the marker that Create gave it, or the ETag and size that only our parts make.  If it is
 * not there, sending Complete again is safe: this upload id can become nothing else, and is used up
 * by becoming it.
 *
 *     answer                      object ours    absent or another's
 *     lost                        done           send again
 *     404 NoSuchUpload            done           fail: the upload is gone
 *     412, 409                    done           CONFLICT
 */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/multipart.h"
#include "core/xml.h"

struct completion {
    struct multipart *mp;
    const struct s3pve_put_options *options;
    struct buf body;
    struct span span;
    unsigned wait_ms;          /* before the next try */
    bool in_header;            /* the server keeps the condition */
    bool has_etag;             /* we know what the object's ETag has to be ... */
    char etag[S3PVE_ETAG_MAX]; /* ... this */
    struct s3pve_info info;    /* result */
};

enum outcome_of_complete { COMPLETE_FAILED = -1, COMPLETE_DONE, COMPLETE_AGAIN };

static int complete_body(struct completion *c, struct s3pve_error *err) {
    struct buf *body = &c->body;
    int rc = buf_str(body, "<CompleteMultipartUpload>");

    for (unsigned i = 0; rc == 0 && i < c->mp->n_parts; i++) {
        if (buf_printf(body, "<Part><PartNumber>%u</PartNumber><ETag>\"", i + 1) < 0 ||
            xml_escape(body, c->mp->parts[i].etag) < 0 || buf_str(body, "\"</ETag></Part>") < 0)
            rc = -1;
    }
    if (rc < 0 || buf_str(body, "</CompleteMultipartUpload>") < 0)
        return error_set(err, S3PVE_E_NOMEM, "CompleteMultipartUpload %s", c->mp->key);
    return 0;
}

static bool is_ours(
    const struct completion *c, const struct s3pve_info *info, const struct object_marker *marker
) {
    if (c->mp->marker.text[0] && strcmp(c->mp->marker.text, marker->text) == 0)
        return info->size == c->mp->size;
    return c->has_etag && strcmp(c->etag, info->etag) == 0 && info->size == c->mp->size;
}

static int fail_with(const struct s3pve_error *cause, struct s3pve_error *err) {
    if (err)
        *err = *cause;
    return COMPLETE_FAILED;
}

/* What is there under our key? */
static enum outcome_of_complete complete_resolve(
    struct completion *c, const struct request *rq, struct s3pve_error *err
) {
    struct s3pve_error why = S3PVE_ERROR_INIT;
    const struct multipart *mp = c->mp;
    struct object_marker marker;
    struct s3pve_info info;
    int found = object_head(mp->client, mp->key, span_call(&c->span), &info, &marker, &why);

    if (found == 0 && is_ours(c, &info, &marker)) {
        c->info = info;
        return COMPLETE_DONE;
    }
    if (found < 0 && why.code != S3PVE_E_NOT_FOUND) {
        fail_with(&rq->error, err);
        return error_wrap(err, "it is not known whether this was published (%s)", why.message);
    }
    if (rq->error.code == S3PVE_E_NOT_FOUND) {
        fail_with(&rq->error, err);
        if (err) {
            err->code = S3PVE_E_IO;
            err->errnum = error_errno(S3PVE_E_IO);
        }
        return error_wrap(err, "the store no longer has the upload, nor the object");
    }
    return rq->ambiguous ? COMPLETE_AGAIN : (enum outcome_of_complete)fail_with(&rq->error, err);
}

/* "md5-of-md5s-N": only such an ETag can be compared; many stores make others. */
static bool is_composite(const char *etag, unsigned n_parts) {
    char tail[16];

    snprintf(tail, sizeof(tail), "-%u", n_parts);
    return strspn(etag, "0123456789abcdef") == 32 && strcmp(etag + 32, tail) == 0;
}

static int on_complete(void *ctx, const char *path, const char *text) {
    char *etag = ctx;
    size_t len;

    if (strcmp(path, "CompleteMultipartUploadResult/ETag") != 0)
        return 0;
    text += *text == '"';
    len = strcspn(text, "\"");
    if (len < S3PVE_ETAG_MAX)
        snprintf(etag, S3PVE_ETAG_MAX, "%.*s", (int)len, text);
    return 1;
}

static int check_etag(const struct completion *c, const char *etag, struct s3pve_error *err) {
    if (strcmp(etag, c->etag) == 0)
        return 0;
    return error_set(
        err,
        S3PVE_E_CORRUPT,
        "CompleteMultipartUpload %s: the object's ETag is %s, our parts make %s",
        c->mp->key,
        etag,
        c->etag
    );
}

/* Has somebody replaced what we published?  @etag: as Complete said it, "" when it did not. */
static bool is_replaced(
    const struct completion *c,
    const char *etag,
    const struct s3pve_info *info,
    const struct object_marker *marker
) {
    if (*etag)
        return strcmp(etag, info->etag) != 0;
    return c->mp->marker.text[0] && marker->text[0] &&
           strcmp(c->mp->marker.text, marker->text) != 0;
}

/* The answer proves nothing: look at the object. */
static int complete_look(struct completion *c, const char *etag, struct s3pve_error *err) {
    const struct multipart *mp = c->mp;
    struct object_marker marker;
    struct s3pve_info info;

    if (object_head(mp->client, mp->key, span_call(&c->span), &info, &marker, err) < 0)
        return error_wrap(err, "published, but not verified");
    if (is_replaced(c, etag, &info, &marker))
        return 0;
    if (info.size != mp->size)
        return error_set(
            err,
            S3PVE_E_CORRUPT,
            "CompleteMultipartUpload %s: the object has %llu bytes instead of %llu",
            mp->key,
            (unsigned long long)info.size,
            (unsigned long long)mp->size
        );
    c->info = info;
    return c->has_etag && is_composite(info.etag, mp->n_parts) ? check_etag(c, info.etag, err) : 0;
}

/* The store says it is done.  An ETag made of our parts' proves it in one request; RGW 16 leaves it
 * out, others make it of something else. */
static int complete_verify(
    struct completion *c, const struct request *rq, struct s3pve_error *err
) {
    struct multipart *mp = c->mp;
    char root[64], etag[S3PVE_ETAG_MAX] = "";

    if (xml_walk(rq->reply.body, rq->reply.body_len, root, on_complete, etag, err) < 0)
        return error_wrap(err, "CompleteMultipartUpload %s", mp->key);
    c->info = (struct s3pve_info){.size = mp->size, .mtime = rq->reply.date_s};
    memcpy(c->info.etag, etag, sizeof(etag));
    if (!c->has_etag || !is_composite(etag, mp->n_parts))
        return complete_look(c, etag, err);
    return check_etag(c, etag, err);
}

static enum outcome_of_complete complete_try(struct completion *c, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    struct iovec iov;

    request_init(&rq, "CompleteMultipartUpload", "POST", c->mp->key, span_call(&c->span));
    request_query(&rq, "uploadId", c->mp->id);
    request_header(&rq, "content-type", "application/xml");
    request_body(&rq, &iov, c->body.data, c->body.len);
    rq.root = "CompleteMultipartUploadResult";
    rq.once = rq.slow_answer = rq.urgent = true;
    rq.delay_ms = c->wait_ms;
    if (c->in_header)
        request_header(&rq, "if-none-match", "*");
    if (request_send(c->mp->client, &rq, err) == 0)
        return complete_verify(c, &rq, err);

    if (rq.error.code == S3PVE_E_CANCELLED)
        return COMPLETE_FAILED;
    if (rq.ambiguous || rq.error.code == S3PVE_E_NOT_FOUND || rq.error.code == S3PVE_E_CONFLICT)
        return complete_resolve(c, &rq, err);
    return COMPLETE_FAILED;
}

/* Return: 0 go on, 1 an earlier Complete of ours was done after all, or -1. */
static int complete_condition(struct completion *c, struct s3pve_error *err) {
    const struct s3pve_put_options *options = c->options;
    struct s3pve_client *client = c->mp->client;

    if (!options || (!options->if_absent && !options->if_match))
        return 0;
    {
        LOCK_SCOPE(&client->lock);
        c->in_header = options->if_absent && client->caps.complete_if_absent == S3PVE_YES;
    }
    if (c->in_header)
        return 0;
    return object_check_condition(c->mp->key, options, &c->mp->marker, &c->span, &c->info, err);
}

static int complete_run(struct completion *c, struct s3pve_error *err) {
    enum outcome_of_complete outcome = COMPLETE_AGAIN;
    int rc;

    if (multipart_check(c->mp, err) < 0 || complete_body(c, err) < 0)
        return -1;
    rc = complete_condition(c, err);
    if (rc != 0)
        return rc < 0 ? -1 : 0;

    for (unsigned n = 0; outcome == COMPLETE_AGAIN; n++) {
        if (!span_round(&c->span, n, &c->wait_ms))
            return error_wrap(err, "not published after %u attempts", n);
        outcome = complete_try(c, err);
    }
    return outcome;
}

int multipart_complete(
    struct multipart *mp,
    const struct s3pve_put_options *options,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct completion c = {.mp = mp, .options = options};
    struct s3pve_error cause = S3PVE_ERROR_INIT; /* of a try that may yet be mended */
    int rc;

    span_begin(&c.span, mp->client, call, mp->size / COPY_BYTES_MS); /* some stores copy now */
    c.has_etag = !object_etag_is_opaque(mp->client) && multipart_etag(mp, c.etag);
    rc = complete_run(&c, &cause);
    buf_clear(&c.body);
    if (rc < 0 && err)
        *err = cause;
    if (rc == 0 && ret_info)
        *ret_info = c.info;
    return rc;
}
