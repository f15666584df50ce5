/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * probe.c - find out what a server does, by doing it
 *
 * The dangerous answer is neither yes nor no but a header that is accepted and ignored, so every
 * question is asked with something that must be refused.  A 403 proves nothing: it leaves the
 * question open.  Each question has a key of its own, as some providers allow few writes to one.
 */
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "core/error.h"
#include "core/list_page.h"
#include "core/probe_private.h"
#include "core/xml.h"

#define CLEANUP_MS 5000  /* tidying up must not double the time of a probe that failed */
#define PROBE_ATTEMPTS 4 /* a server that keeps failing is not worth the whole timeout */

/* Failures that say nothing of the server's abilities end the probe; the rest are answers. */
static bool is_answer(enum s3pve_code code) {
    switch (code) {
    case S3PVE_OK:
    case S3PVE_E_INVALID:
    case S3PVE_E_NOT_FOUND:
    case S3PVE_E_CONFLICT:
    case S3PVE_E_DENIED:
    case S3PVE_E_CORRUPT:
    case S3PVE_E_UNSUPPORTED: return true;
    default: return false;
    }
}

static void note_server(struct probe *probe, const struct request *rq) {
    if (rq->reply.server[0] && !probe->caps.server[0])
        memcpy(probe->caps.server, rq->reply.server, sizeof(probe->caps.server));
}

int probe_ask(
    struct probe *probe, struct request *rq, enum s3pve_code *ret_code, struct s3pve_error *err
) {
    struct s3pve_error reason = S3PVE_ERROR_INIT;

    rq->quiet = true;
    (void)request_send(probe->client, rq, &reason);
    note_server(probe, rq);
    if (is_answer(reason.code)) {
        *ret_code = reason.code;
        return 0;
    }
    if (err)
        *err = reason;
    return -1;
}

enum s3pve_support probe_refused(enum s3pve_code code, enum s3pve_code refusal) {
    if (code == refusal)
        return S3PVE_YES;
    if (code == S3PVE_OK)
        return S3PVE_IGNORED;
    return code == S3PVE_E_UNSUPPORTED || code == S3PVE_E_INVALID ? S3PVE_NO : S3PVE_UNKNOWN;
}

enum s3pve_support probe_accepted(enum s3pve_code code) {
    if (code == S3PVE_OK)
        return S3PVE_YES;
    return code == S3PVE_E_DENIED ? S3PVE_UNKNOWN : S3PVE_NO;
}

/* A PUT of a few bytes with one header. */
static int put(
    struct probe *probe,
    int key,
    const char *header,
    const char *value,
    enum s3pve_code *ret_code,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq;
    struct iovec iov;

    request_init(&rq, "PutObject", "PUT", probe->keys[key], &probe->call);
    request_body(&rq, &iov, probe->body, PROBE_BODY_LEN);
    request_header(&rq, header, "%s", value);
    rq.once = key == PROBE_CONDITION || key == PROBE_MISSING; /* twice: it would meet itself */
    if (probe_ask(probe, &rq, ret_code, err) < 0) {
        probe->may_exist[key] = true;
        return -1;
    }
    probe->may_exist[key] |= *ret_code == S3PVE_OK;
    if (key == PROBE_CONDITION && *ret_code == S3PVE_OK && rq.reply.info.etag[0])
        memcpy(probe->etag, rq.reply.info.etag, sizeof(probe->etag));
    return 0;
}

void probe_new_body(struct probe *probe) {
    snprintf(
        probe->body,
        sizeof(probe->body),
        "s3pve probe %-*u\n",
        PROBE_BODY_LEN - 13,
        ++probe->n_bodies
    );
}

/* A write without conditions, that has to work or there is nothing to find out. */
static int put_plainly(struct probe *probe, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    struct iovec iov;

    request_init(&rq, "PutObject", "PUT", probe->keys[PROBE_CONDITION], &probe->call);
    request_body(&rq, &iov, probe->body, PROBE_BODY_LEN);
    if (request_send(probe->client, &rq, err) < 0)
        return -1;
    note_server(probe, &rq);
    probe->may_exist[PROBE_CONDITION] = true;
    memcpy(probe->etag, rq.reply.info.etag, sizeof(probe->etag));
    return 0;
}

static int probe_put_if_absent(struct probe *probe, struct s3pve_error *err) {
    enum s3pve_code code;

    probe_new_body(probe);
    if (put(probe, PROBE_CONDITION, "if-none-match", "*", &code, err) < 0)
        return -1;
    if (code != S3PVE_OK) {
        probe->caps.put_if_absent = probe_refused(code, S3PVE_OK);
        return put_plainly(probe, err);
    }

    probe_new_body(probe);
    if (put(probe, PROBE_CONDITION, "if-none-match", "*", &code, err) < 0)
        return -1;
    probe->caps.put_if_absent = probe_refused(code, S3PVE_E_CONFLICT);
    return 0;
}

/* Reading from the middle: a server that sends all of it is noticed by the engine (CORRUPT). */
static int probe_range(struct probe *probe, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    char got[8] = {0};
    enum s3pve_code code;

    request_init(&rq, "GetObject", "GET", probe->keys[PROBE_CONDITION], &probe->call);
    rq.range.set = true;
    rq.range.offset = 6;
    rq.range.len = 5;
    rq.into = got;
    if (probe_ask(probe, &rq, &code, err) < 0)
        return -1;
    if (code == S3PVE_E_CORRUPT)
        probe->caps.range = S3PVE_IGNORED;
    else
        probe->caps.range = probe_accepted(code);
    if (code == S3PVE_OK && strcmp(got, "probe") != 0)
        return error_set(err, S3PVE_E_CORRUPT, "a range of an object holds other bytes");
    if (code == S3PVE_OK && rq.reply.info.etag[0])
        memcpy(probe->etag, rq.reply.info.etag, sizeof(probe->etag));
    return 0;
}

/* What is not there has no ETag that could match. */
static int probe_put_if_missing(struct probe *probe, const char *etag, struct s3pve_error *err) {
    enum s3pve_code code;

    probe_new_body(probe);
    if (put(probe, PROBE_MISSING, "if-match", etag, &code, err) < 0)
        return -1;
    if (code == S3PVE_OK)
        probe->caps.put_if_match = S3PVE_IGNORED;
    return 0;
}

/* With the ETag the object has, bare and then quoted; then with the one it had before. */
static int probe_put_if_match(struct probe *probe, struct s3pve_error *err) {
    char quoted[S3PVE_ETAG_MAX + 2];
    enum s3pve_code code;

    if (!probe->etag[0])
        return 0;
    memcpy(probe->old_etag, probe->etag, sizeof(probe->old_etag));
    probe_new_body(probe);
    if (put(probe, PROBE_CONDITION, "if-match", probe->old_etag, &code, err) < 0)
        return -1;
    if (code == S3PVE_E_CONFLICT || code == S3PVE_E_INVALID) {
        snprintf(quoted, sizeof(quoted), "\"%s\"", probe->old_etag);
        if (put(probe, PROBE_CONDITION, "if-match", quoted, &code, err) < 0)
            return -1;
        probe->caps.etag_quoted = code == S3PVE_OK;
    }
    if (code != S3PVE_OK) {
        probe->caps.put_if_match = code == S3PVE_E_CONFLICT ? S3PVE_NO : probe_accepted(code);
        return 0;
    }

    probe_new_body(probe);
    snprintf(quoted, sizeof(quoted), probe->caps.etag_quoted ? "\"%s\"" : "%s", probe->old_etag);
    if (put(probe, PROBE_CONDITION, "if-match", quoted, &code, err) < 0)
        return -1;
    probe->caps.put_if_match = probe_refused(code, S3PVE_E_CONFLICT);
    return probe->caps.put_if_match == S3PVE_YES ? probe_put_if_missing(probe, quoted, err) : 0;
}

/* A digest that does not fit must be refused, and one that fits must not. */
static int probe_digest(
    struct probe *probe,
    int key,
    const char *header,
    const char *const values[2],
    enum s3pve_support *ret_support,
    struct s3pve_error *err
) {
    enum s3pve_code code;

    if (put(probe, key, header, values[0], &code, err) < 0)
        return -1;
    if (code == S3PVE_OK || code == S3PVE_E_UNSUPPORTED || code == S3PVE_E_DENIED) {
        *ret_support = probe_refused(code, S3PVE_E_CORRUPT);
        return 0;
    }
    if (put(probe, key, header, values[1], &code, err) < 0)
        return -1;
    *ret_support = probe_accepted(code);
    return 0;
}

static int probe_digests(struct probe *probe, struct s3pve_error *err) {
    unsigned char md5[EVP_MAX_MD_SIZE], wrong_md5[16] = {1}, crc[4], wrong_crc[4];
    char texts[4][32];
    uint32_t sum;

    probe_new_body(probe);
    if (!EVP_Digest(probe->body, PROBE_BODY_LEN, md5, NULL, EVP_md5(), NULL))
        return error_set(err, S3PVE_E_NOMEM, "MD5: out of memory");
    sum = crc32c(0, probe->body, PROBE_BODY_LEN);
    for (int i = 0; i < 4; i++) {
        crc[i] = (unsigned char)(sum >> (24 - 8 * i));
        wrong_crc[i] = crc[i] ^ 0x55;
    }
    EVP_EncodeBlock((unsigned char *)texts[0], wrong_md5, sizeof(wrong_md5));
    EVP_EncodeBlock((unsigned char *)texts[1], md5, 16);
    EVP_EncodeBlock((unsigned char *)texts[2], wrong_crc, sizeof(wrong_crc));
    EVP_EncodeBlock((unsigned char *)texts[3], crc, sizeof(crc));

    if (probe_digest(
            probe,
            PROBE_MD5,
            "content-md5",
            (const char *const[]){texts[0], texts[1]},
            &probe->caps.content_md5,
            err
        ) < 0)
        return -1;
    return probe_digest(
        probe,
        PROBE_CRC32C,
        "x-amz-checksum-crc32c",
        (const char *const[]){texts[2], texts[3]},
        &probe->caps.checksum_crc32c,
        err
    );
}

static int probe_delete_if_match(struct probe *probe, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    const char *stale = probe->old_etag;
    enum s3pve_code code;

    if (!*stale || strcmp(stale, probe->etag) == 0)
        stale = "00000000000000000000000000000000"; /* nobody's MD5 */
    request_init(&rq, "DeleteObject", "DELETE", probe->keys[PROBE_CONDITION], &probe->call);
    request_header(&rq, "if-match", probe->caps.etag_quoted ? "\"%s\"" : "%s", stale);
    if (probe_ask(probe, &rq, &code, err) < 0)
        return -1;
    probe->caps.delete_if_match = probe_refused(code, S3PVE_E_CONFLICT);
    return 0;
}

static int probe_list(struct probe *probe, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    _cleanup_(list_page_clear) struct list_page page = {0};
    enum s3pve_code code;

    request_init(&rq, "ListObjectsV2", "GET", NULL, &probe->call);
    request_query(&rq, "list-type", "2");
    request_query(&rq, "max-keys", "1");
    request_query(&rq, "prefix", probe->client->config.prefix);
    rq.root = "ListBucketResult";
    if (probe_ask(probe, &rq, &code, err) < 0)
        return -1;
    probe->caps.list_v2 = probe_accepted(code);
    if (code == S3PVE_OK &&
        list_page_parse(rq.reply.body, rq.reply.body_len, "", &page, NULL) == 0 && page.is_v1)
        probe->caps.list_v2 = S3PVE_IGNORED;
    return 0;
}

/* Deletes all keys, which also tidies up. */
static int probe_batch_delete(struct probe *probe, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq = {0};
    _cleanup_(buf_clear) struct buf body = {0};
    struct iovec iov;
    enum s3pve_code code;
    char refusal[48];
    int rc = buf_str(&body, "<Delete>");

    for (int i = 0; i < PROBE_KEYS && rc == 0; i++) {
        if (buf_str(&body, "<Object><Key>") < 0 ||
            xml_escape(&body, probe->client->config.prefix) < 0 ||
            buf_printf(&body, "%s</Key></Object>", probe->keys[i]) < 0)
            rc = -1;
    }
    if (rc < 0 || buf_str(&body, "</Delete>") < 0)
        return error_set(err, S3PVE_E_NOMEM, "DeleteObjects: out of memory");

    request_init(&rq, "DeleteObjects", "POST", NULL, &probe->call);
    request_query(&rq, "delete", "");
    request_body(&rq, &iov, body.data, body.len);
    rq.md5 = true;
    rq.root = "DeleteResult";
    if (probe_ask(probe, &rq, &code, err) < 0)
        return -1;
    probe->caps.batch_delete = probe_accepted(code);
    probe_text(&rq, "Code", refusal, sizeof(refusal));
    if (code == S3PVE_OK && refusal[0])
        probe->caps.batch_delete = S3PVE_UNKNOWN;
    return 0;
}

/* Leave nothing behind, whatever happened; quietly, as there is nobody left to tell. */
static void tidy_up(struct probe *probe) {
    struct s3pve_call call = {.timeout_ms = CLEANUP_MS};

    if (probe->upload_id[0]) {
        _cleanup_(request_clear) struct request rq;

        request_init(&rq, "AbortMultipartUpload", "DELETE", probe->keys[PROBE_CONDITION], &call);
        request_query(&rq, "uploadId", probe->upload_id);
        (void)request_send(probe->client, &rq, NULL);
    }
    for (int i = 0; i < PROBE_KEYS && probe->caps.batch_delete != S3PVE_YES; i++) {
        if (!probe->may_exist[i])
            continue;

        _cleanup_(request_clear) struct request rq;
        request_init(&rq, "DeleteObject", "DELETE", probe->keys[i], &call);
        (void)request_send(probe->client, &rq, NULL);
    }
}

static void probe_init(
    struct probe *probe, struct s3pve_client *client, const struct s3pve_call *call
) {
    static const char *const names[] = {"condition", "md5", "crc32c", "missing", "race"};
    struct transport *world = &client->transport;
    uint32_t high = world->random(world->ctx), low = world->random(world->ctx);

    *probe = (struct probe){.client = client};
    if (call)
        probe->call = *call;
    if (!probe->call.max_attempts)
        probe->call.max_attempts = PROBE_ATTEMPTS;
    for (int i = 0; i < PROBE_KEYS; i++)
        snprintf(
            probe->keys[i],
            sizeof(probe->keys[i]),
            ".s3pve/probe/%08" PRIx32 "%08" PRIx32 "-%s%.0d",
            high,
            low,
            names[i < PROBE_RACE ? i : PROBE_RACE],
            i < PROBE_RACE ? 0 : i - PROBE_RACE + 1
        );
}

_public_ int s3pve_probe(
    struct s3pve_client *client,
    struct s3pve_caps *ret_caps,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct probe probe;
    int rc = 0;

    probe_init(&probe, client, call);
    if (probe_put_if_absent(&probe, err) < 0 || probe_range(&probe, err) < 0 ||
        probe_put_if_match(&probe, err) < 0 || probe_digests(&probe, err) < 0 ||
        probe_multipart(&probe, err) < 0 || probe_delete_if_match(&probe, err) < 0 ||
        probe_list(&probe, err) < 0 || probe_race(&probe, err) < 0 ||
        probe_batch_delete(&probe, err) < 0)
        rc = error_wrap(err, "probe");
    tidy_up(&probe);
    if (rc < 0)
        return -1;

    probe.caps.probed_s = client->transport.wall_s(client->transport.ctx);
    {
        LOCK_SCOPE(&client->lock);
        probe.caps.skew_s = (int)client->skew_s;
    }
    *ret_caps = probe.caps;
    return 0;
}
