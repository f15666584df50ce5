/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* multipart.c - beginning, counting and giving up; complete.c publishes */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/multipart.h"
#include "core/xml.h"

static int on_create(void *ctx, const char *path, const char *text) {
    char **id = ctx;

    if (strcmp(path, "InitiateMultipartUploadResult/UploadId") != 0)
        return 0;
    *id = strdup(text);
    return 1;
}

int multipart_create(
    struct multipart *mp,
    const struct s3pve_put_options *options,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq;
    _free_ char *id = NULL;
    char root[64];

    object_marker_new(mp->client, &mp->marker);
    request_init(&rq, "CreateMultipartUpload", "POST", mp->key, call);
    request_query(&rq, "uploads", "");
    object_describe(mp->client, &rq, options, &mp->marker);
    rq.root = "InitiateMultipartUploadResult";
    if (request_send(mp->client, &rq, err) < 0)
        return -1;
    if (xml_walk(rq.reply.body, rq.reply.body_len, root, on_create, &id, err) < 0)
        return error_wrap(err, "CreateMultipartUpload %s", mp->key);
    if (!id || !*id || strlen(id) > LIMIT_UPLOAD_ID)
        return error_set(err, S3PVE_E_CORRUPT, "CreateMultipartUpload %s: no usable id", mp->key);

    mp->id = steal_ptr(&id);
    return 0;
}

void multipart_part_request(
    const struct multipart *mp,
    struct request *rq,
    const char *operation,
    unsigned number,
    const struct s3pve_call *call
) {
    char text[16];

    snprintf(text, sizeof(text), "%u", number);
    request_init(rq, operation, "PUT", mp->key, call);
    request_query(rq, "partNumber", text);
    request_query(rq, "uploadId", mp->id);
}

static int parts_grow(struct multipart *mp, unsigned number) {
    unsigned room = mp->room ? mp->room : 16;
    struct multipart_part *parts;

    if (number <= mp->room)
        return 0;
    while (room < number)
        room *= 2;
    parts = realloc(mp->parts, room * sizeof(*parts));
    if (!parts)
        return -1;
    memset(parts + mp->room, 0, (room - mp->room) * sizeof(*parts));
    mp->parts = parts;
    mp->room = room;
    return 0;
}

int multipart_note(
    struct multipart *mp, unsigned number, uint64_t size, const char *etag, struct s3pve_error *err
) {
    struct multipart_part *part;

    if (!*etag)
        return error_set(err, S3PVE_E_CORRUPT, "%s: part %u: no ETag came back", mp->key, number);
    if (parts_grow(mp, number) < 0)
        return error_set(err, S3PVE_E_NOMEM, "%s: part %u", mp->key, number);

    part = &mp->parts[number - 1];
    mp->size += size - part->size;
    part->size = size;
    snprintf(part->etag, sizeof(part->etag), "%s", etag);
    if (number > mp->n_parts)
        mp->n_parts = number;
    return 0;
}

int multipart_check(const struct multipart *mp, struct s3pve_error *err) {
    for (unsigned i = 0; i < mp->n_parts; i++)
        if (!mp->parts[i].etag[0])
            return error_set(err, S3PVE_E_CORRUPT, "%s: part %u is missing", mp->key, i + 1);
    return 0;
}

static bool md5_of_hex(const char *hex, unsigned char ret_md5[16]) {
    if (strlen(hex) != 32 || strspn(hex, "0123456789abcdef") != 32)
        return false;
    for (size_t i = 0; i < 16; i++) {
        const char byte[3] = {hex[i * 2], hex[i * 2 + 1]};

        ret_md5[i] = (unsigned char)strtoul(byte, NULL, 16);
    }
    return true;
}

bool multipart_etag(const struct multipart *mp, char ret_etag[S3PVE_ETAG_MAX]) {
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char digest[16];
    bool good = md && mp->n_parts && EVP_DigestInit_ex(md, EVP_md5(), NULL);

    for (unsigned i = 0; good && i < mp->n_parts; i++)
        good =
            md5_of_hex(mp->parts[i].etag, digest) && EVP_DigestUpdate(md, digest, sizeof(digest));
    good = good && EVP_DigestFinal_ex(md, digest, NULL);
    EVP_MD_CTX_free(md);
    if (!good)
        return false;

    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(ret_etag + i * 2, 3, "%02x", digest[i]);
    snprintf(ret_etag + 32, S3PVE_ETAG_MAX - 32, "-%u", mp->n_parts);
    return true;
}

int multipart_abort(
    struct s3pve_client *client,
    const char *key,
    bool raw,
    const char *id,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq;
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    request_init(&rq, "AbortMultipartUpload", "DELETE", key, call);
    rq.raw_key = raw;
    request_query(&rq, "uploadId", id);
    if (request_send(client, &rq, &cause) == 0 || cause.code == S3PVE_E_NOT_FOUND)
        return 0;
    if (err)
        *err = cause;
    return -1;
}

void multipart_clear(struct multipart *mp) {
    free(mp->id);
    free(mp->parts);
    mp->id = NULL;
    mp->parts = NULL;
    mp->n_parts = mp->room = 0;
}
