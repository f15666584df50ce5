/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* tags.c - an object's tag set, outside as "k=v&k2=v2", percent-encoded */
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/object.h"
#include "core/xml.h"

struct tag_reader {
    struct buf key, value, out;
    bool out_of_memory;
};

static void tag_reader_clear(struct tag_reader *reader) {
    buf_clear(&reader->key);
    buf_clear(&reader->value);
    buf_clear(&reader->out);
}

static int add_tag(struct tag_reader *reader) {
    if (reader->out.len && buf_str(&reader->out, "&") < 0)
        return -1;
    if (sigv4_encode(&reader->out, buf_text(&reader->key), reader->key.len, false) < 0 ||
        buf_str(&reader->out, "=") < 0)
        return -1;
    return sigv4_encode(&reader->out, buf_text(&reader->value), reader->value.len, false);
}

static int on_element(void *ctx, const char *path, const char *text) {
    struct tag_reader *reader = ctx;
    int rc = 0;

    if (strcmp(path, "Tagging/TagSet/Tag/Key") == 0) {
        rc = buf_str(&reader->key, text);
    } else if (strcmp(path, "Tagging/TagSet/Tag/Value") == 0) {
        rc = buf_str(&reader->value, text);
    } else if (strcmp(path, "Tagging/TagSet/Tag") == 0) {
        rc = add_tag(reader);
        buf_clear(&reader->key);
        buf_clear(&reader->value);
    }
    reader->out_of_memory = rc < 0;
    return rc;
}

_public_ int s3pve_object_tags(
    struct s3pve_client *client,
    const char *key,
    char **ret_tags,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq = {0};
    _cleanup_(tag_reader_clear) struct tag_reader reader = {0};
    char root[64], *tags;

    if (object_check_key(client, key, err) < 0)
        return -1;
    request_init(&rq, "GetObjectTagging", "GET", key, call);
    request_query(&rq, "tagging", "");
    rq.root = "Tagging";
    rq.urgent = true;
    if (request_send(client, &rq, err) < 0)
        return -1;
    if (xml_walk(rq.reply.body, rq.reply.body_len, root, on_element, &reader, err) < 0)
        return error_wrap(err, "GetObjectTagging %s", key);

    tags = reader.out.len ? buf_steal(&reader.out) : calloc(1, 1);
    if (!tags || reader.out_of_memory) {
        free(tags);
        return error_set(err, S3PVE_E_NOMEM, "GetObjectTagging %s", key);
    }
    *ret_tags = tags;
    return 0;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "a%20b" in XML.  Return: 0, or -1 when it is no such text, or without memory. */
static int add_decoded(struct buf *out, const char *text, size_t len) {
    _cleanup_(buf_clear) struct buf plain = {0};

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '%') {
            int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text[i + 2]) : -1;

            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return -1;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (buf_add(&plain, &c, 1) < 0)
            return -1;
    }
    return xml_escape(out, buf_text(&plain));
}

static int tags_document(struct buf *out, const char *tags) {
    if (buf_str(out, "<Tagging><TagSet>") < 0)
        return -1;
    while (*tags) {
        size_t len = strcspn(tags, "&"), key_len = strcspn(tags, "=&");
        const char *value = tags + key_len + (tags[key_len] == '=');

        if (key_len == 0 || buf_str(out, "<Tag><Key>") < 0 || add_decoded(out, tags, key_len) < 0 ||
            buf_str(out, "</Key><Value>") < 0 ||
            add_decoded(out, value, (size_t)(tags + len - value)) < 0 ||
            buf_str(out, "</Value></Tag>") < 0)
            return -1;
        tags += len + (tags[len] == '&');
    }
    return buf_str(out, "</TagSet></Tagging>");
}

_public_ int s3pve_object_set_tags(
    struct s3pve_client *client,
    const char *key,
    const char *tags,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq = {0};
    _cleanup_(buf_clear) struct buf body = {0};
    bool none = !tags || !*tags;
    struct iovec iov;

    if (object_check_key(client, key, err) < 0)
        return -1;
    if (!none && tags_document(&body, tags) < 0)
        return error_set(
            err, S3PVE_E_INVALID, "tags '%.200s': want k=v&k2=v2, percent-encoded", tags
        );

    if (none)
        request_init(&rq, "DeleteObjectTagging", "DELETE", key, call);
    else
        request_init(&rq, "PutObjectTagging", "PUT", key, call);
    request_query(&rq, "tagging", "");
    rq.urgent = true;
    if (!none) {
        request_header(&rq, "content-type", "application/xml");
        request_body(&rq, &iov, body.data, body.len);
        rq.md5 = true;
    }
    return request_send(client, &rq, err);
}
