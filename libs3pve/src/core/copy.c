/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * copy.c - an object under another name, the bytes staying in the store where it can do that
 *
 * Small ones in one CopyObject, large ones part by part; where the store cannot, through us.  The
 * source is pinned by its ETag, and the copy's size is looked at before we call it done: who
 * renames deletes the source next.
 */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/multipart.h"
#include "core/upload.h"
#include "core/xml.h"

struct copy {
    struct s3pve_client *client;
    const char *src, *dst;
    const struct s3pve_call *call;
    struct span span;                 /* the time of all but moving parts */
    struct s3pve_put_options options; /* what the copy shall be; pointers borrowed */
    bool replace;                     /* not what the source is */
    bool bare;                        /* the server wants the source's ETag without quotes */
    char *tags;                       /* owned; the source's, where the store does not copy them */
    struct s3pve_info from, info;
    struct buf source; /* x-amz-copy-source */
};

static bool is_preset(const struct s3pve_client *client, const char *name) {
    return client->config.provider && strcmp(client->config.provider->name, name) == 0;
}

static uint64_t copy_limit(const struct s3pve_client *client) {
    return is_preset(client, "backblaze") || is_preset(client, "cloudflare") ? LIMIT_COPY
                                                                             : LIMIT_PUT;
}

static bool copies_parts(struct s3pve_client *client) {
    const struct s3pve_provider *provider = client->config.provider;
    LOCK_SCOPE(&client->lock);

    if (client->caps.part_copy == S3PVE_YES)
        return true;
    return client->caps.part_copy == S3PVE_UNKNOWN && (!provider || provider->part_copy);
}

static int name_source(struct copy *copy, struct s3pve_error *err) {
    const struct config *config = &copy->client->config;

    copy->source.max = LIMIT_URL;
    if (buf_printf(&copy->source, "/%s/", config->bucket) < 0 ||
        sigv4_encode(&copy->source, config->prefix, strlen(config->prefix), true) < 0 ||
        sigv4_encode(&copy->source, copy->src, strlen(copy->src), true) < 0)
        return error_set(err, S3PVE_E_NOMEM, "CopyObject %s", copy->src);
    return 0;
}

static void source_headers(const struct copy *copy, struct request *rq) {
    request_header(rq, "x-amz-copy-source", "%s", buf_text(&copy->source));
    if (copy->from.etag[0])
        request_header(
            rq, "x-amz-copy-source-if-match", copy->bare ? "%s" : "\"%s\"", copy->from.etag
        );
    rq->slow_answer = true;
}

/* Copying is the server's work: no byte tells us that it goes on, so its size buys it time. */
static struct s3pve_call call_for(const struct copy *copy, uint64_t bytes) {
    struct s3pve_call call = copy->call ? *copy->call : (struct s3pve_call){0};

    if (!call.timeout_ms)
        call.timeout_ms = copy->client->config.timeout_ms;
    call.timeout_ms += (unsigned)(bytes / COPY_BYTES_MS);
    return call;
}

struct etag_reader {
    const char *path;
    char etag[S3PVE_ETAG_MAX];
};

static int on_etag(void *ctx, const char *path, const char *text) {
    struct etag_reader *reader = ctx;

    if (strcmp(path, reader->path) != 0)
        return 0;
    text += *text == '"';
    snprintf(reader->etag, sizeof(reader->etag), "%.*s", (int)strcspn(text, "\""), text);
    return 1;
}

static int read_etag(
    const struct request *rq, struct etag_reader *reader, struct s3pve_error *err
) {
    char root[64];

    return xml_walk(rq->reply.body, rq->reply.body_len, root, on_etag, reader, err);
}

static int verify(struct copy *copy, const char *etag, struct s3pve_error *err) {
    if (object_head(copy->client, copy->dst, span_call(&copy->span), &copy->info, NULL, err) < 0)
        return error_wrap(err, "copied, but not verified");
    if (*etag && strcmp(etag, copy->info.etag) != 0)
        return 0; /* somebody has replaced it since */
    if (copy->info.size == copy->from.size)
        return 0;
    return error_set(
        err,
        S3PVE_E_CORRUPT,
        "CopyObject %s: the copy has %llu bytes instead of %llu",
        copy->dst,
        (unsigned long long)copy->info.size,
        (unsigned long long)copy->from.size
    );
}

static int copy_single(struct copy *copy, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    struct etag_reader reader = {.path = "CopyObjectResult/ETag"};

    request_init(&rq, "CopyObject", "PUT", copy->dst, span_call(&copy->span));
    source_headers(copy, &rq);
    object_describe(copy->client, &rq, copy->replace ? &copy->options : NULL, NULL);
    request_header(&rq, "x-amz-metadata-directive", copy->replace ? "REPLACE" : "COPY");
    if (copy->replace && copy->options.tags)
        request_header(&rq, "x-amz-tagging-directive", "REPLACE");
    rq.root = "CopyObjectResult";
    rq.urgent = true;
    if (request_send(copy->client, &rq, err) < 0 || read_etag(&rq, &reader, err) < 0)
        return -1;
    return verify(copy, reader.etag, err);
}

/* ------------------------------------------------------------- part by part */

struct part_copies {
    struct copy *copy;
    struct multipart mp;
    uint64_t part_size;
    unsigned next, n_parts; /* next to be started, counting from 1 */
    struct request rq[COPIES_IN_FLIGHT];
    struct request *busy[COPIES_IN_FLIGHT];
    unsigned number[COPIES_IN_FLIGHT];
};

static uint64_t part_len(const struct part_copies *pc, unsigned number) {
    uint64_t offset = (number - 1) * pc->part_size;

    return pc->copy->from.size - offset < pc->part_size ? pc->copy->from.size - offset
                                                        : pc->part_size;
}

static void start_part(struct part_copies *pc, size_t slot) {
    unsigned number = pc->next++;
    uint64_t offset = (number - 1) * pc->part_size, len = part_len(pc, number);
    struct s3pve_call call = call_for(pc->copy, len);
    struct request *rq = &pc->rq[slot];

    multipart_part_request(&pc->mp, rq, "UploadPartCopy", number, &call);
    source_headers(pc->copy, rq);
    request_header(
        rq,
        "x-amz-copy-source-range",
        "bytes=%llu-%llu",
        (unsigned long long)offset,
        (unsigned long long)(offset + len - 1)
    );
    rq->root = "CopyPartResult";
    pc->number[slot] = number;
    pc->busy[slot] = rq;
    request_submit(pc->copy->client, rq);
}

static int finish_part(struct part_copies *pc, size_t slot, struct s3pve_error *err) {
    struct request *rq = &pc->rq[slot];
    struct etag_reader reader = {.path = "CopyPartResult/ETag"};
    unsigned number = pc->number[slot];
    int rc = -1;

    pc->busy[slot] = NULL;
    if (rq->error.code != S3PVE_OK)
        *err = rq->error;
    else if (read_etag(rq, &reader, err) == 0)
        rc = multipart_note(&pc->mp, number, part_len(pc, number), reader.etag, err);
    request_clear(rq);
    return rc;
}

static int copy_all_parts(struct part_copies *pc, struct s3pve_error *err) {
    for (;;) {
        bool any = false;
        int i;

        for (size_t slot = 0; slot < COPIES_IN_FLIGHT; slot++) {
            if (!pc->busy[slot] && pc->next <= pc->n_parts)
                start_part(pc, slot);
            any = any || pc->busy[slot];
        }
        if (!any)
            return 0;
        i = request_wait(pc->copy->client, pc->busy, COPIES_IN_FLIGHT, CALL_MS);
        if (i >= 0 && finish_part(pc, (size_t)i, err) < 0)
            return -1;
    }
}

static void drop_parts(struct part_copies *pc) {
    struct s3pve_call call = {.timeout_ms = CALL_MS}; /* the caller may have cancelled the copy */

    for (size_t slot = 0; slot < COPIES_IN_FLIGHT; slot++) {
        if (!pc->busy[slot])
            continue;
        request_cancel(pc->copy->client, pc->busy[slot]);
        request_clear(pc->busy[slot]);
    }
    multipart_abort(pc->copy->client, pc->copy->dst, false, pc->mp.id, &call, NULL);
}

static int copy_in_parts(struct copy *copy, struct s3pve_error *err) {
    _free_ struct part_copies *pc = calloc(1, sizeof(*pc));
    struct s3pve_call call = call_for(copy, 0);
    uint64_t least = copy->from.size / copy->client->config.max_parts + 1;
    int rc;

    if (!pc)
        return error_set(err, S3PVE_E_NOMEM, "CopyObject %s", copy->dst);
    pc->copy = copy;
    pc->part_size = least > COPY_PART ? (least + MIB(1) - 1) / MIB(1) * MIB(1) : COPY_PART;
    if (pc->part_size > LIMIT_PART)
        return error_set(err, S3PVE_E_NO_SPACE, "CopyObject %s: too large to copy", copy->dst);
    pc->n_parts = (unsigned)((copy->from.size + pc->part_size - 1) / pc->part_size);
    pc->next = 1;
    pc->mp = (struct multipart){.client = copy->client, .key = copy->dst};
    if (multipart_create(&pc->mp, &copy->options, &call, err) < 0)
        return -1;

    rc = copy_all_parts(pc, err);
    call = call_for(copy, copy->from.size);
    if (rc == 0)
        rc = multipart_complete(&pc->mp, &copy->options, &copy->info, &call, err);
    if (rc < 0)
        drop_parts(pc);
    multipart_clear(&pc->mp);
    return rc;
}

/* --------------------------------------------------------------- through us */

static int copy_bytes(struct copy *copy, struct s3pve_upload *upload, struct s3pve_error *err) {
    for (uint64_t offset = 0; offset < copy->from.size;) {
        uint64_t left = copy->from.size - offset;
        size_t room, n;

        if (upload_room(upload, READ_CHUNK, &room, copy->call, err) < 0)
            return -1;
        if (room > left)
            room = (size_t)left;
        if (room > 4 * READ_CHUNK)
            room = 4 * READ_CHUNK;
        if (s3pve_object_pread(
                copy->client,
                copy->src,
                copy->from.etag,
                upload->fill.data + upload->fill_len,
                room,
                offset,
                &n,
                NULL,
                copy->call,
                err
            ) < 0)
            return -1;
        if (n != room)
            return error_set(err, S3PVE_E_CORRUPT, "%s: shorter than it was", copy->src);
        if (upload_filled(upload, n, copy->call, err) < 0)
            return -1;
        offset += n;
    }
    return 0;
}

static int copy_through_us(struct copy *copy, struct s3pve_error *err) {
    struct s3pve_upload *upload;
    int rc;

    client_log(
        copy->client, S3PVE_LOG_INFO, "CopyObject", copy->dst, "not here: copied through this node"
    );
    if (s3pve_upload_open(copy->client, copy->dst, &copy->options, &upload, err) < 0)
        return -1;
    rc = copy_bytes(copy, upload, err);
    if (rc == 0)
        rc = s3pve_upload_complete(upload, &copy->info, copy->call, err);
    s3pve_upload_close(upload);
    return rc;
}

/* ----------------------------------------------------------------- the ways */

/* Where the store does not carry them over: what is known of the source, and its tags, if there are
 * any and we may see them. */
static void inherit(struct copy *copy) {
    if (copy->replace)
        return;
    copy->options.content_type = copy->from.content_type;
    copy->options.meta = copy->from.meta;
    copy->options.n_meta = copy->from.n_meta;
    if (copy->tags ||
        s3pve_object_tags(copy->client, copy->src, &copy->tags, span_call(&copy->span), NULL) == 0)
        copy->options.tags = copy->tags;
}

static bool is_too_large(const struct copy *copy, const struct s3pve_error *err) {
    return strcmp(err->s3_code, "EntityTooLarge") == 0 || err->http_status == 413 ||
           (strcmp(err->s3_code, "InvalidRequest") == 0 && copy->from.size > LIMIT_PART_MIN);
}

static int copy_some_way(struct copy *copy, struct s3pve_error *err) {
    bool parts = copies_parts(copy->client);
    int rc;

    if (copy->from.size <= copy_limit(copy->client) || !parts) {
        rc = copy_single(copy, err);
        if (rc == 0 || (err->code != S3PVE_E_UNSUPPORTED && !is_too_large(copy, err)))
            return rc;
        parts = parts && is_too_large(copy, err);
    }
    inherit(copy);
    if (parts) {
        rc = copy_in_parts(copy, err);
        if (rc == 0 || (err->code != S3PVE_E_UNSUPPORTED && !is_too_large(copy, err)))
            return rc;
    }
    return copy_through_us(copy, err);
}

/* Servers disagree on the quotes of an ETag (see put.c): was that all? */
static bool is_source_the_same(struct copy *copy) {
    struct s3pve_info now;

    return copy->from.etag[0] &&
           object_head(copy->client, copy->src, span_call(&copy->span), &now, NULL, NULL) == 0 &&
           strcmp(now.etag, copy->from.etag) == 0;
}

static int copy_run(struct copy *copy, struct s3pve_error *err) {
    int rc = copy_some_way(copy, err);

    if (rc == 0 || err->code != S3PVE_E_CONFLICT || !is_source_the_same(copy))
        return rc;
    copy->bare = true;
    return copy_some_way(copy, err);
}

static int copy_check(struct copy *copy, struct s3pve_error *err) {
    span_begin(&copy->span, copy->client, copy->call, 0);
    if (s3pve_object_head(copy->client, copy->src, &copy->from, span_call(&copy->span), err) < 0)
        return -1;
    span_extend(&copy->span, copy->from.size / COPY_BYTES_MS);
    if (copy->replace && !copy->options.content_type)
        copy->options.content_type = copy->from.content_type;
    if (!copy->options.if_absent && !copy->options.if_match)
        return 0;
    return object_check_condition(copy->dst, &copy->options, NULL, &copy->span, &copy->info, err);
}

static int copy_object(struct copy *copy, struct s3pve_error *err) {
    if (copy_check(copy, err) < 0)
        return -1;
    if (strcmp(copy->src, copy->dst) == 0 && !copy->replace) {
        copy->info = copy->from; /* stores refuse it, and there is nothing to do */
        return 0;
    }
    if (name_source(copy, err) < 0)
        return -1;
    return copy_run(copy, err);
}

_public_ int s3pve_object_copy(
    struct s3pve_client *client,
    const char *src,
    const char *dst,
    const struct s3pve_put_options *options,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    struct copy copy = {.client = client, .src = src, .dst = dst, .call = call};
    int rc;

    if (object_check_key(client, src, err) < 0 || object_check_new_key(client, dst, err) < 0)
        return -1;
    if (object_check_options(options, err) < 0)
        return error_wrap(err, "CopyObject %s", dst);
    if (options) {
        copy.options = *options;
        copy.replace = true;
    }

    rc = copy_object(&copy, &cause);
    buf_clear(&copy.source);
    free(copy.tags);
    if (rc < 0 && err)
        *err = cause;
    if (rc == 0 && ret_info)
        *ret_info = copy.info;
    return rc;
}
