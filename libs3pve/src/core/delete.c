/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * delete.c - objects go: one by one, or a thousand in one request
 *
 * Where a server has no DeleteObjects (it says so, or chokes on the document) keys go singly, a few
 * at a time, and the client remembers.  A key that a batch could not delete gets a request of its
 * own too: that one is judged and repeated like any other.
 */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/object.h"
#include "core/xml.h"

static void delete_request(struct request *rq, const char *key, const struct s3pve_call *call) {
    request_init(rq, "DeleteObject", "DELETE", key, call);
}

_public_ int s3pve_object_delete(
    struct s3pve_client *client,
    const char *key,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq = {0};
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (object_check_key(client, key, err) < 0)
        return -1;
    delete_request(&rq, key, call);
    rq.urgent = true;
    if (request_send(client, &rq, &cause) == 0 || cause.code == S3PVE_E_NOT_FOUND)
        return 0;
    if (err)
        *err = cause;
    return -1;
}

/* -------------------------------------------------------------- one by one */

struct singles {
    struct s3pve_client *client;
    struct span *span;
    struct request rq[DELETES_IN_FLIGHT];
    struct request *busy[DELETES_IN_FLIGHT]; /* NULL: free */
    struct s3pve_error first;                /* .code S3PVE_OK while nothing failed */
};

/* Wait until one is done, and account for it. */
static size_t singles_reap(struct singles *s) {
    int i;

    do
        i = request_wait(s->client, s->busy, DELETES_IN_FLIGHT, CALL_MS);
    while (i < 0);
    if (s->rq[i].error.code != S3PVE_OK && s->rq[i].error.code != S3PVE_E_NOT_FOUND &&
        s->first.code == S3PVE_OK)
        s->first = s->rq[i].error;
    request_clear(&s->rq[i]);
    s->busy[i] = NULL;
    return (size_t)i;
}

/* A store that does not answer is not asked for each of a million keys. */
static bool is_hopeless(const struct singles *s) {
    switch (s->first.code) {
    case S3PVE_E_TIMEOUT:
    case S3PVE_E_IO:
    case S3PVE_E_THROTTLED:
    case S3PVE_E_CANCELLED: return span_is_over(s->span) || s->first.code == S3PVE_E_CANCELLED;
    default: return false;
    }
}

static void singles_add(struct singles *s, const char *key) {
    size_t i = 0;

    if (is_hopeless(s))
        return;
    while (i < DELETES_IN_FLIGHT && s->busy[i])
        i++;
    if (i == DELETES_IN_FLIGHT)
        i = singles_reap(s);
    delete_request(&s->rq[i], key, span_call(s->span));
    s->busy[i] = &s->rq[i];
    request_submit(s->client, &s->rq[i]);
}

static void singles_finish(struct singles *s) {
    for (size_t i = 0; i < DELETES_IN_FLIGHT; i++)
        while (s->busy[i])
            singles_reap(s);
}

/* ------------------------------------------------------------------ batches */

struct batch {
    const char *const *keys;
    size_t n_keys;
    struct singles *singles;
    const struct s3pve_client *client;
    char key[LIMIT_KEY + 1], code[48];
};

/* XML 1.0 cannot carry control characters, whatever one escapes. */
static bool fits_xml(const char *key) {
    for (; *key; key++)
        if ((unsigned char)*key < 0x20)
            return false;
    return true;
}

static int batch_body(const struct batch *batch, struct buf *body) {
    int rc = buf_str(body, "<Delete><Quiet>true</Quiet>");

    for (size_t i = 0; rc == 0 && i < batch->n_keys; i++) {
        if (!fits_xml(batch->keys[i]))
            continue;
        if (buf_str(body, "<Object><Key>") < 0 ||
            xml_escape(body, batch->client->config.prefix) < 0 ||
            xml_escape(body, batch->keys[i]) < 0 || buf_str(body, "</Key></Object>") < 0)
            rc = -1;
    }
    return rc < 0 ? -1 : buf_str(body, "</Delete>");
}

/* Only a key that was asked for: what else a server names is not to be deleted, nor to be forgiven.
 */
static void try_alone(struct batch *batch) {
    const char *key = client_relative_key(batch->client, batch->key);

    for (size_t i = 0; key && i < batch->n_keys; i++) {
        if (strcmp(batch->keys[i], key) == 0) {
            singles_add(batch->singles, batch->keys[i]);
            return;
        }
    }
    if (batch->singles->first.code == S3PVE_OK)
        error_set(
            &batch->singles->first,
            S3PVE_E_CORRUPT,
            "DeleteObjects: %.40s for a key that was not asked for",
            batch->code[0] ? batch->code : "an error"
        );
}

/* One <Error><Key/><Code/></Error> a key that is still there. */
static int on_element(void *ctx, const char *path, const char *text) {
    struct batch *batch = ctx;

    if (strcmp(path, "DeleteResult/Error/Key") == 0) {
        snprintf(batch->key, sizeof(batch->key), "%s", text);
    } else if (strcmp(path, "DeleteResult/Error/Code") == 0) {
        snprintf(batch->code, sizeof(batch->code), "%s", text);
    } else if (strcmp(path, "DeleteResult/Error") == 0) {
        if (strcmp(batch->code, "NoSuchKey") != 0)
            try_alone(batch);
        batch->key[0] = batch->code[0] = '\0';
    }
    return 0;
}

/* Return: 0 all are accounted for, 1 the server cannot do batches, or -1 with @err set. */
static int batch_send(struct batch *batch, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    _cleanup_(buf_clear) struct buf body = {0};
    struct s3pve_client *client = batch->singles->client;
    struct iovec iov;
    char root[64];

    request_init(&rq, "DeleteObjects", "POST", NULL, span_call(batch->singles->span));
    if (batch_body(batch, &body) < 0)
        return error_set(err, S3PVE_E_NOMEM, "DeleteObjects");
    request_query(&rq, "delete", "");
    request_header(&rq, "content-type", "application/xml");
    request_body(&rq, &iov, body.data, body.len);
    rq.md5 = true;
    rq.root = "DeleteResult";
    if (request_send(client, &rq, err) < 0) {
        bool unable = rq.error.code == S3PVE_E_UNSUPPORTED || rq.error.http_status == 405 ||
                      strcmp(rq.error.s3_code, "MalformedXML") == 0;

        return unable ? 1 : -1;
    }

    for (size_t i = 0; i < batch->n_keys; i++)
        if (!fits_xml(batch->keys[i]))
            singles_add(batch->singles, batch->keys[i]);
    return xml_walk(rq.reply.body, rq.reply.body_len, root, on_element, batch, err);
}

static bool has_batches(struct s3pve_client *client) {
    LOCK_SCOPE(&client->lock);

    return !client->no_batch_delete && client->caps.batch_delete != S3PVE_NO &&
           client->caps.batch_delete != S3PVE_IGNORED;
}

static void remember_no_batches(struct s3pve_client *client) {
    {
        LOCK_SCOPE(&client->lock);
        client->no_batch_delete = true;
    }
    client_log(
        client, S3PVE_LOG_INFO, "DeleteObjects", "", "not here: objects are deleted one by one"
    );
}

static void delete_batch(struct singles *singles, const char *const *keys, size_t n_keys) {
    struct batch batch = {
        .keys = keys, .n_keys = n_keys, .singles = singles, .client = singles->client};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    size_t n_fit = 0;
    int rc = 2;

    for (size_t i = 0; i < n_keys; i++)
        n_fit += fits_xml(keys[i]);
    if (n_fit > 1 && has_batches(singles->client))
        rc = batch_send(&batch, &err);

    if (rc < 0 && singles->first.code == S3PVE_OK)
        singles->first = err;
    if (rc == 1)
        remember_no_batches(singles->client);
    for (size_t i = 0; rc > 0 && i < n_keys; i++)
        singles_add(singles, keys[i]);
}

_public_ int s3pve_object_delete_many(
    struct s3pve_client *client,
    const char *const *keys,
    size_t n_keys,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _free_ struct singles *singles = calloc(1, sizeof(*singles));
    struct span span;

    if (!singles)
        return error_set(err, S3PVE_E_NOMEM, "DeleteObjects");
    for (size_t i = 0; i < n_keys; i++)
        if (object_check_key(client, keys[i], err) < 0)
            return -1;

    span_begin(&span, client, call, 0);
    singles->client = client;
    singles->span = &span;
    for (size_t at = 0; at < n_keys && !is_hopeless(singles); at += LIMIT_DELETE_BATCH)
        delete_batch(
            singles, keys + at, n_keys - at < LIMIT_DELETE_BATCH ? n_keys - at : LIMIT_DELETE_BATCH
        );
    singles_finish(singles);
    if (singles->first.code == S3PVE_OK)
        return 0;
    if (err)
        *err = singles->first;
    return -1;
}
