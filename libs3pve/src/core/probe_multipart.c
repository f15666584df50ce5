/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* probe_multipart.c - a multipart upload over an object that exists */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "core/error.h"
#include "core/probe_private.h"
#include "core/xml.h"

struct wanted {
    const char *name; /* last part of the path */
    char *to;
    size_t room;
};

static int take_wanted(void *ctx, const char *path, const char *text) {
    const struct wanted *wanted = ctx;
    const char *slash = strrchr(path, '/');

    if (!slash || strcmp(slash + 1, wanted->name) != 0)
        return 0;
    snprintf(wanted->to, wanted->room, "%s", text);
    return 1;
}

void probe_text(const struct request *rq, const char *name, char *to, size_t room) {
    struct wanted wanted = {name, to, room};

    to[0] = '\0';
    if (rq->reply.body)
        (void)xml_walk(rq->reply.body, rq->reply.body_len, NULL, take_wanted, &wanted, NULL);
}

static int create_upload(struct probe *probe, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    enum s3pve_code code;

    request_init(&rq, "CreateMultipartUpload", "POST", probe->keys[PROBE_CONDITION], &probe->call);
    request_query(&rq, "uploads", "");
    rq.root = "InitiateMultipartUploadResult";
    if (probe_ask(probe, &rq, &code, err) < 0)
        return -1;
    probe_text(&rq, "UploadId", probe->upload_id, sizeof(probe->upload_id));
    return 0;
}

static void part_query(struct probe *probe, struct request *rq, const char *number) {
    if (number)
        request_query(rq, "partNumber", number);
    request_query(rq, "uploadId", probe->upload_id);
}

/* Part 1 is a copy of the object itself. */
static int copy_part(struct probe *probe, char ret_etag[S3PVE_ETAG_MAX], struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    _cleanup_(buf_clear) struct buf source = {0};
    const struct config *config = &probe->client->config;
    enum s3pve_code code;

    request_init(&rq, "UploadPartCopy", "PUT", probe->keys[PROBE_CONDITION], &probe->call);
    part_query(probe, &rq, "1");
    if (buf_printf(&source, "/%s/", config->bucket) < 0 ||
        sigv4_encode(&source, config->prefix, strlen(config->prefix), true) < 0 ||
        buf_str(&source, probe->keys[PROBE_CONDITION]) < 0)
        return error_set(err, S3PVE_E_NOMEM, "UploadPartCopy: out of memory");
    request_header(&rq, "x-amz-copy-source", "%s", source.data);
    rq.root = "CopyPartResult";
    rq.slow_answer = true;
    if (probe_ask(probe, &rq, &code, err) < 0)
        return -1;
    probe->caps.part_copy = probe_accepted(code);
    if (code == S3PVE_OK)
        probe_text(&rq, "ETag", ret_etag, S3PVE_ETAG_MAX);
    return 0;
}

static int upload_part(
    struct probe *probe, char ret_etag[S3PVE_ETAG_MAX], struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq;
    struct iovec iov;
    enum s3pve_code code;

    request_init(&rq, "UploadPart", "PUT", probe->keys[PROBE_CONDITION], &probe->call);
    part_query(probe, &rq, "1");
    request_body(&rq, &iov, probe->body, PROBE_BODY_LEN);
    if (probe_ask(probe, &rq, &code, err) < 0)
        return -1;
    memcpy(ret_etag, rq.reply.info.etag, S3PVE_ETAG_MAX);
    return 0;
}

static int complete_if_absent(struct probe *probe, const char *etag, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq = {0};
    _cleanup_(buf_clear) struct buf body = {0};
    struct iovec iov;
    enum s3pve_code code;

    if (buf_str(&body, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>") < 0 ||
        xml_escape(&body, etag) < 0 ||
        buf_str(&body, "</ETag></Part></CompleteMultipartUpload>") < 0)
        return error_set(err, S3PVE_E_NOMEM, "CompleteMultipartUpload: out of memory");
    request_init(
        &rq, "CompleteMultipartUpload", "POST", probe->keys[PROBE_CONDITION], &probe->call
    );
    part_query(probe, &rq, NULL);
    request_header(&rq, "if-none-match", "*");
    request_body(&rq, &iov, body.data, body.len);
    rq.root = "CompleteMultipartUploadResult";
    rq.slow_answer = rq.once = true;
    if (probe_ask(probe, &rq, &code, err) < 0)
        return -1;
    probe->caps.complete_if_absent = probe_refused(code, S3PVE_E_CONFLICT);
    if (code == S3PVE_OK) {
        probe->upload_id[0] = '\0';
        probe_text(&rq, "ETag", probe->etag, sizeof(probe->etag));
    }
    return 0;
}

/* The key exists, so a Complete that wants it absent must be refused. */
int probe_multipart(struct probe *probe, struct s3pve_error *err) {
    char etag[S3PVE_ETAG_MAX] = "";

    if (create_upload(probe, err) < 0)
        return -1;
    if (!probe->upload_id[0])
        return 0;
    if (copy_part(probe, etag, err) < 0 || (!etag[0] && upload_part(probe, etag, err) < 0))
        return -1;
    return etag[0] ? complete_if_absent(probe, etag, err) : 0;
}
