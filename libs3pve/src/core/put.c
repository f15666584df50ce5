/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * put.c - one object in one request
 *
 * Without a condition a PUT may be repeated as often as it takes, which the engine does.  With one,
 * a lost answer leaves open who won, and the same request sent again would lose against itself; so
 * such a PUT carries a marker, is sent once, and what became of it is read from the store (C3):
 *
 *     the object there ...       if_absent      if_match
 *     carries our marker         done           done
 *     is absent                  send again     CONFLICT
 *     has the wanted ETag        CONFLICT       send again
 *     is any other               CONFLICT       CONFLICT
 *
 * Servers disagree on whether If-Match wants its quotes: the bare form goes first, and a refusal
 * while the object has just that ETag makes us try the other one and remember it.
 */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/object.h"

struct put {
    struct s3pve_client *client;
    const struct object_source *source;
    const char *key; /* of the source, as the next one */
    const struct s3pve_put_options *options;
    uint64_t len;
    bool conditional, in_header; /* and the server is told of the condition */
    bool quoted, tried_quoting;
    unsigned n_lost;  /* answers, in a row */
    unsigned wait_ms; /* before the next try */
    struct object_marker marker;
    struct span span;
    struct s3pve_info info; /* result */
};

enum outcome_of_put { PUT_FAILED = -1, PUT_DONE, PUT_AGAIN };

static enum s3pve_support support_of(const struct put *put) {
    LOCK_SCOPE(&put->client->lock);
    const struct s3pve_caps *caps = &put->client->caps;

    return put->options->if_absent ? caps->put_if_absent : caps->put_if_match;
}

static bool quotes(struct s3pve_client *client) {
    LOCK_SCOPE(&client->lock);

    return client->caps.etag_quoted;
}

static void remember_quotes(struct put *put) {
    LOCK_SCOPE(&put->client->lock);

    put->client->caps.etag_quoted = put->quoted;
}

static void remember_unconditional(struct put *put) {
    LOCK_SCOPE(&put->client->lock);
    struct s3pve_caps *caps = &put->client->caps;

    *(put->options->if_absent ? &caps->put_if_absent : &caps->put_if_match) = S3PVE_NO;
}

static void put_request(struct put *put, struct request *rq) {
    request_init(rq, "PutObject", "PUT", put->key, span_call(&put->span));
    rq->body = put->source->iov;
    rq->n_body = put->source->n_iov;
    rq->body_len = put->len;
    rq->checksum = true;
    rq->urgent = put->len <= SMALL_OBJECT;
    rq->once = put->conditional;
    rq->delay_ms = put->wait_ms;
    object_describe(put->client, rq, put->options, &put->marker);
    if (!put->in_header)
        return;
    if (put->options->if_absent)
        request_header(rq, "if-none-match", "*");
    else
        request_header(rq, "if-match", put->quoted ? "\"%s\"" : "%s", put->options->if_match);
}

/* The answer is lost, or it is "no" and we may have been first ourselves: look. */
static enum outcome_of_put put_resolve(
    struct put *put, const struct request *rq, struct s3pve_error *err
) {
    struct s3pve_error why = S3PVE_ERROR_INIT;
    int found =
        object_check_condition(put->key, put->options, &put->marker, &put->span, &put->info, &why);

    if (found > 0)
        return PUT_DONE;
    if (found < 0 && why.code == S3PVE_E_CONFLICT) {
        error_wrap(&why, "PutObject");
        why.http_status = rq->error.http_status;
        if (err)
            *err = why;
        return PUT_FAILED;
    }
    if (found < 0) {
        if (err)
            *err = rq->error;
        error_wrap(err, "it is not known whether this was written (%s)", why.message);
        return PUT_FAILED;
    }
    if (rq->ambiguous || rq->error.http_status == 409) {
        put->n_lost++;
        return PUT_AGAIN;
    }
    if (!put->options->if_match || put->tried_quoting) {
        if (err)
            *err = rq->error;
        return PUT_FAILED;
    }
    put->quoted = !put->quoted;
    put->tried_quoting = true;
    return PUT_AGAIN;
}

/* The worst servers take the header and do not act on it.  Looking first is not atomic, but it is
 * all there is. */
static int put_look_first(struct put *put, struct s3pve_error *err) {
    int found = object_check_condition(put->key, put->options, NULL, &put->span, &put->info, err);

    return found < 0 ? -1 : 0;
}

static enum outcome_of_put put_try(struct put *put, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    enum s3pve_code code;

    put_request(put, &rq);
    if (request_send(put->client, &rq, err) == 0) {
        if (!rq.reply.info.etag[0])
            return error_set(err, S3PVE_E_CORRUPT, "PutObject %s: no ETag came back", put->key);
        if (put->tried_quoting)
            remember_quotes(put);
        put->info.size = put->len;
        put->info.mtime = rq.reply.date_s;
        memcpy(put->info.etag, rq.reply.info.etag, sizeof(put->info.etag));
        return PUT_DONE;
    }

    code = rq.error.code;
    if (code == S3PVE_E_UNSUPPORTED && put->in_header) {
        put->in_header = false; /* an honest server */
        remember_unconditional(put);
        return put_look_first(put, err) < 0 ? PUT_FAILED : PUT_AGAIN;
    }
    if (!put->conditional || code == S3PVE_E_CANCELLED)
        return PUT_FAILED;
    if (rq.ambiguous || code == S3PVE_E_CONFLICT)
        return put_resolve(put, &rq, err);
    if (code == S3PVE_E_NOT_FOUND && put->options->if_match)
        return error_set(err, S3PVE_E_CONFLICT, "PutObject %s: it is not there any more", put->key);
    return PUT_FAILED;
}

static int put_prepare(struct put *put, struct s3pve_error *err) {
    const struct s3pve_put_options *options = put->options;
    enum s3pve_support support;

    if (put->len > LIMIT_PUT)
        return error_set(err, S3PVE_E_INVALID, "PutObject %s: larger than 5 GiB", put->key);
    if (!options || (!options->if_absent && !options->if_match))
        return 0;

    put->conditional = true;
    object_marker_new(put->client, &put->marker);
    put->quoted = quotes(put->client);
    support = support_of(put);
    put->in_header = support != S3PVE_NO;
    if (support == S3PVE_YES)
        return 0;
    return put_look_first(put, err);
}

int object_put(
    struct s3pve_client *client,
    const struct object_source *source,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct put put = {
        .client = client,
        .source = source,
        .key = source->key,
        .options = source->options,
    };
    struct s3pve_error cause = S3PVE_ERROR_INIT; /* of a try that may yet be mended */
    enum outcome_of_put outcome = PUT_AGAIN;

    for (size_t i = 0; i < source->n_iov; i++)
        put.len += source->iov[i].iov_len;
    span_begin(&put.span, client, call, 0);
    if (put_prepare(&put, err) < 0)
        return -1;

    while (outcome == PUT_AGAIN && span_round(&put.span, put.n_lost, &put.wait_ms))
        outcome = put_try(&put, &cause);
    if (outcome == PUT_AGAIN) {
        error_wrap(&cause, "not written after %u attempts", put.n_lost);
        outcome = PUT_FAILED;
    }
    if (outcome == PUT_FAILED && err)
        *err = cause;
    if (outcome == PUT_DONE && ret_info)
        *ret_info = put.info;
    return outcome;
}

int object_put_once(
    struct s3pve_client *client,
    const struct object_source *source,
    bool *ret_lost,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq;
    struct put put = {
        .client = client,
        .source = source,
        .key = source->key,
        .options = source->options,
        .conditional = true,
        .quoted = quotes(client),
    };

    for (size_t i = 0; i < source->n_iov; i++)
        put.len += source->iov[i].iov_len;
    put.in_header = support_of(&put) != S3PVE_NO;
    span_begin(&put.span, client, call, 0);
    put_request(&put, &rq);
    rq.call.max_attempts = 1;
    if (request_send(client, &rq, err) == 0)
        return 0;
    *ret_lost = rq.ambiguous;
    return -1;
}

_public_ int s3pve_object_put(
    struct s3pve_client *client,
    const char *key,
    const void *data,
    size_t len,
    const struct s3pve_put_options *options,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    const struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
    const struct object_source source = {key, &iov, 1, options};

    if (object_check_new_key(client, key, err) < 0)
        return -1;
    if (object_check_options(options, err) < 0)
        return error_wrap(err, "PutObject %s", key);
    return object_put(client, &source, ret_info, call, err);
}
