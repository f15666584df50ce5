/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * resume.c - go on with an upload that another process began
 *
 * Sizes of parts are a function of their number, so the parts that count are those from the first
 * on that have just that size; what comes after a gap or a short part is written again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/upload.h"
#include "core/xml.h"

struct part_list {
    struct s3pve_upload *upload;
    unsigned number; /* being read */
    uint64_t size;
    char etag[S3PVE_ETAG_MAX];
    unsigned marker, next_marker;
    bool truncated, ended; /* a part that does not count was seen */
    struct s3pve_error error;
};

static uint64_t number_of(const char *text) {
    uint64_t value;
    char *end;

    errno = 0;
    value = strtoull(text, &end, 10);
    return errno || *end || end == text || *text == '-' ? 0 : value;
}

static int take_part(struct part_list *list) {
    struct multipart *mp = &list->upload->mp;
    int rc = 0;

    if (list->number != mp->n_parts + 1 || !list->etag[0] || !list->size ||
        list->size != parts_size(&list->upload->client->config, list->number))
        list->ended = true;
    if (!list->ended)
        rc = multipart_note(mp, list->number, list->size, list->etag, &list->error);
    list->number = 0;
    list->size = 0;
    list->etag[0] = '\0';
    return rc;
}

static int on_element(void *ctx, const char *path, const char *text) {
    static const char root[] = "ListPartsResult/";
    struct part_list *list = ctx;

    if (strncmp(path, root, strlen(root)) != 0)
        return 0;
    path += strlen(root);
    if (strcmp(path, "Part/PartNumber") == 0)
        list->number = (unsigned)number_of(text);
    else if (strcmp(path, "Part/Size") == 0)
        list->size = number_of(text);
    else if (strcmp(path, "Part/ETag") == 0)
        snprintf(
            list->etag,
            sizeof(list->etag),
            "%.*s",
            (int)strcspn(text + (*text == '"'), "\""),
            text + (*text == '"')
        );
    else if (strcmp(path, "Part") == 0)
        return take_part(list);
    else if (strcmp(path, "NextPartNumberMarker") == 0)
        list->next_marker = (unsigned)number_of(text);
    else if (strcmp(path, "IsTruncated") == 0)
        list->truncated = strcmp(text, "true") == 0;
    return 0;
}

static int list_page(struct part_list *list, struct span *span, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    struct s3pve_upload *upload = list->upload;
    char root[64], marker[16];

    request_init(&rq, "ListParts", "GET", upload->key, span_call(span));
    request_query(&rq, "uploadId", upload->mp.id);
    request_query(&rq, "max-parts", "1000");
    snprintf(marker, sizeof(marker), "%u", list->marker);
    if (list->marker)
        request_query(&rq, "part-number-marker", marker);
    rq.root = "ListPartsResult";
    list->truncated = false;
    list->next_marker = 0;
    if (request_send(upload->client, &rq, err) < 0)
        return -1;
    if (xml_walk(rq.reply.body, rq.reply.body_len, root, on_element, list, err) < 0)
        return error_wrap(err, "ListParts %s", upload->key);
    if (list->error.code != S3PVE_OK && err)
        *err = list->error;
    return list->error.code == S3PVE_OK ? 0 : -1;
}

static int list_parts(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct part_list list = {.upload = upload};
    struct span span;

    span_begin(&span, upload->client, call, 0);
    do {
        unsigned before = upload->mp.n_parts;
        bool stuck;

        if (list_page(&list, &span, err) < 0)
            return -1;
        stuck = list.next_marker <= list.marker || (!list.ended && upload->mp.n_parts == before);
        if (list.truncated && stuck)
            return error_set(
                err, S3PVE_E_CORRUPT, "ListParts %s: the listing does not end", upload->key
            );
        list.marker = list.next_marker;
    } while (list.truncated && !list.ended);
    return 0;
}

_public_ int s3pve_upload_resume(
    struct s3pve_client *client,
    const char *key,
    const char *upload_id,
    const struct s3pve_put_options *options,
    struct s3pve_upload **ret_upload,
    uint64_t *ret_offset,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_upload *upload;

    if (!*upload_id)
        return error_set(err, S3PVE_E_INVALID, "%s: an upload id is empty", key);
    if (s3pve_upload_open(client, key, options, &upload, err) < 0)
        return -1;
    upload->mp.id = strdup(upload_id);
    if (!upload->mp.id || list_parts(upload, call, err) < 0) {
        if (!upload->mp.id)
            error_set(err, S3PVE_E_NOMEM, "upload of %s", key);
        s3pve_upload_leave(upload);
        return -1;
    }

    upload->number = upload->mp.n_parts + 1;
    atomic_store(&upload->size, upload->mp.size);
    atomic_store(&upload->stored, upload->mp.size);
    *ret_offset = upload->mp.size;
    *ret_upload = upload;
    return 0;
}
