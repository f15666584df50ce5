/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* object.c - what is said of an object: asking the store, and telling it */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/object.h"

/* An empty key would name the bucket, and a DELETE of that is not what anybody meant. */
int object_check_key(const struct s3pve_client *client, const char *key, struct s3pve_error *err) {
    size_t len = strlen(client->config.prefix);

    if (client->pid != getpid()) /* before somebody wants a lock, see engine_calls.c */
        return error_set(err, S3PVE_E_INVALID, "used after fork()");
    if (!key || !*key)
        return error_set(err, S3PVE_E_INVALID, "key: empty");
    if (len + strlen(key) > LIMIT_KEY)
        return error_set(
            err,
            S3PVE_E_INVALID,
            "key '%.40s...': %zu bytes with the prefix; S3 allows %d",
            key,
            len + strlen(key),
            LIMIT_KEY
        );
    return 0;
}

int object_check_new_key(
    const struct s3pve_client *client, const char *key, struct s3pve_error *err
) {
    if (object_check_key(client, key, err) < 0)
        return -1;
    return config_check_key(key, err);
}

static bool is_printable(const char *text) {
    for (; text && *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

/* What HTTP calls a token, so that no colon or space ends the name early. */
static bool is_header_name(const char *name) {
    return *name && name[strspn(
                        name,
                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                        "!#$%&'*+-.^_`|~"
                    )] == '\0';
}

int object_check_options(const struct s3pve_put_options *options, struct s3pve_error *err) {
    if (!options)
        return 0;
    if (options->if_absent && options->if_match)
        return error_set(err, S3PVE_E_INVALID, "it cannot be absent and have an ETag at once");
    if (options->n_meta > S3PVE_META_MAX)
        return error_set(err, S3PVE_E_INVALID, "metadata: more than %d names", S3PVE_META_MAX);
    if (!is_printable(options->content_type) || !is_printable(options->storage_class) ||
        !is_printable(options->tags) || !is_printable(options->if_match))
        return error_set(
            err, S3PVE_E_INVALID, "type, class, tags and ETag must be one line of text"
        );
    for (unsigned i = 0; i < options->n_meta; i++) {
        const struct s3pve_meta *meta = &options->meta[i];

        if (!is_header_name(meta->name) || !is_printable(meta->value))
            return error_set(
                err,
                S3PVE_E_INVALID,
                "metadata '%s': the name must be letters, digits and '-', the value one line",
                meta->name
            );
    }
    return 0;
}

void object_marker_new(struct s3pve_client *client, struct object_marker *ret_marker) {
    struct transport *transport = &client->transport;

    for (int i = 0; i < 4; i++)
        snprintf(
            ret_marker->text + (size_t)i * 8, 9, "%08x", (unsigned)transport->random(transport->ctx)
        );
}

static const char *first_of(const char *a, const char *b) {
    return a && *a ? a : b;
}

void object_describe(
    const struct s3pve_client *client,
    struct request *rq,
    const struct s3pve_put_options *options,
    const struct object_marker *marker
) {
    static const struct s3pve_put_options none;
    const struct config *config = &client->config;
    const struct s3pve_put_options *o = options ? options : &none;
    const char *class = first_of(o->storage_class, config->storage_class);

    if (o->content_type && *o->content_type)
        request_header(rq, "content-type", "%s", o->content_type);
    if (class && *class)
        request_header(rq, "x-amz-storage-class", "%s", class);
    if (config->sse && *config->sse)
        request_header(rq, "x-amz-server-side-encryption", "%s", config->sse);
    if (config->sse_kms_key && *config->sse_kms_key)
        request_header(
            rq, "x-amz-server-side-encryption-aws-kms-key-id", "%s", config->sse_kms_key
        );
    for (unsigned i = 0; i < o->n_meta; i++) {
        char name[sizeof("x-amz-meta-") + sizeof(o->meta[i].name)];

        snprintf(name, sizeof(name), "x-amz-meta-%s", o->meta[i].name);
        request_header(rq, name, "%s", o->meta[i].value);
    }
    if (marker && marker->text[0])
        request_header(rq, "x-amz-meta-" OBJECT_MARKER, "%s", marker->text);
    if (o->tags && *o->tags)
        request_header(rq, "x-amz-tagging", "%s", o->tags);
}

bool object_etag_is_opaque(const struct s3pve_client *client) {
    return client->config.sse && strncmp(client->config.sse, "aws:kms", 7) == 0;
}

void object_hide_marker(struct s3pve_info *info, struct object_marker *ret_marker) {
    unsigned kept = 0;

    if (ret_marker)
        ret_marker->text[0] = '\0';
    for (unsigned i = 0; i < info->n_meta; i++) {
        if (strcmp(info->meta[i].name, OBJECT_MARKER) != 0) {
            info->meta[kept++] = info->meta[i];
            continue;
        }
        if (ret_marker)
            snprintf(
                ret_marker->text,
                sizeof(ret_marker->text),
                "%.*s",
                (int)sizeof(ret_marker->text) - 1,
                info->meta[i].value
            );
    }
    info->n_meta = kept;
}

static int head_once(
    struct s3pve_client *client,
    const char *key,
    const struct s3pve_call *call,
    struct s3pve_info *ret_info,
    struct object_marker *ret_marker,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq;

    request_init(&rq, "HeadObject", "HEAD", key, call);
    rq.urgent = true;
    if (request_send(client, &rq, err) < 0)
        return -1;
    if (!rq.reply.has_content_length)
        return error_set(err, S3PVE_E_CORRUPT, "HeadObject %s: no Content-Length", key);

    object_hide_marker(&rq.reply.info, ret_marker);
    rq.reply.info.size = rq.reply.content_length;
    if (ret_info)
        *ret_info = rq.reply.info;
    return 0;
}

/* What a refused HEAD cannot say, having no body: which region, or that it is the bucket that is
 * missing.  So the bucket is asked for, unless it was seen. */
static bool is_silent(struct s3pve_client *client, const struct s3pve_error *err) {
    LOCK_SCOPE(&client->lock);

    return !client->bucket_seen && !err->s3_code[0];
}

static bool may_be_the_region(const struct s3pve_error *err) {
    return err->http_status == 400 || err->http_status == 403 || err->http_status == 301;
}

static void region_of(struct s3pve_client *client, char region[64]) {
    LOCK_SCOPE(&client->lock);

    memcpy(region, client->region, sizeof(client->region));
}

/* Return: true when it is worth asking again; else *err may be told better. */
static bool look_at_bucket(
    struct s3pve_client *client, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct s3pve_error why = S3PVE_ERROR_INIT;
    char before[64], after[64];

    region_of(client, before);
    if (s3pve_bucket_check(client, call, &why) < 0) {
        if (why.code == S3PVE_E_NO_BUCKET)
            *err = why;
        if (why.code == S3PVE_E_DENIED) { /* not ours to look at, but there */
            LOCK_SCOPE(&client->lock);
            client->bucket_seen = true;
        }
    }
    region_of(client, after);
    return strcmp(before, after) != 0;
}

int object_head(
    struct s3pve_client *client,
    const char *key,
    const struct s3pve_call *call,
    struct s3pve_info *ret_info,
    struct object_marker *ret_marker,
    struct s3pve_error *err
) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    struct span span;

    span_begin(&span, client, call, 0);
    if (head_once(client, key, span_call(&span), ret_info, ret_marker, &cause) == 0)
        return 0;
    if (may_be_the_region(&cause) && is_silent(client, &cause) &&
        look_at_bucket(client, span_call(&span), &cause))
        return head_once(client, key, span_call(&span), ret_info, ret_marker, err);
    if (err)
        *err = cause;
    return -1;
}

_public_ int s3pve_object_head(
    struct s3pve_client *client,
    const char *key,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (object_check_key(client, key, err) < 0)
        return -1;
    if (object_head(client, key, call, ret_info, NULL, &cause) == 0)
        return 0;
    if (cause.http_status == 404 && is_silent(client, &cause))
        look_at_bucket(client, call, &cause);
    if (err)
        *err = cause;
    return -1;
}

int object_check_condition(
    const char *key,
    const struct s3pve_put_options *options,
    const struct object_marker *marker,
    struct span *span,
    struct s3pve_info *ret_info,
    struct s3pve_error *err
) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    struct object_marker found;
    struct s3pve_info info;

    if (object_head(span->client, key, span_call(span), &info, &found, &cause) < 0) {
        if (cause.code == S3PVE_E_NOT_FOUND) {
            if (options->if_absent)
                return 0;
            return error_set(err, S3PVE_E_CONFLICT, "%s: it is not there any more", key);
        }
        if (err)
            *err = cause;
        return -1;
    }
    if (marker && marker->text[0] && strcmp(found.text, marker->text) == 0) {
        *ret_info = info;
        return 1;
    }
    if (options->if_absent)
        return error_set(err, S3PVE_E_CONFLICT, "%s: it exists already", key);
    if (strcmp(info.etag, options->if_match) != 0)
        return error_set(err, S3PVE_E_CONFLICT, "%s: it has changed", key);
    return 0;
}
