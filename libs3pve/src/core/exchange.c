/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* exchange.c - addressing, hashing and signing one attempt; see answer.c for what comes back */
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "core/answer.h"
#include "core/error.h"
#include "core/exchange.h"

#define HASH_ALWAYS KIB(64) /* hashing so little costs nothing, and some gateways insist */

static int body_md5(struct request *rq) {
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char digest[16];
    bool good = md && EVP_DigestInit_ex(md, EVP_md5(), NULL);

    for (size_t i = 0; good && i < rq->n_body; i++)
        good = EVP_DigestUpdate(md, rq->body[i].iov_base, rq->body[i].iov_len);
    good = good && EVP_DigestFinal_ex(md, digest, NULL);
    EVP_MD_CTX_free(md);
    if (good)
        EVP_EncodeBlock((unsigned char *)rq->content_md5, digest, sizeof(digest));
    return good ? 0 : -1;
}

static int body_crc32c(struct request *rq) {
    uint32_t crc = 0;
    unsigned char be[4];

    for (size_t i = 0; i < rq->n_body; i++)
        crc = crc32c(crc, rq->body[i].iov_base, rq->body[i].iov_len);
    for (int i = 0; i < 4; i++)
        be[i] = (unsigned char)(crc >> (24 - 8 * i));
    EVP_EncodeBlock((unsigned char *)rq->crc32c, be, sizeof(be));
    return 0;
}

static bool wants_signature(const struct config *config, const struct request *rq) {
    if (config->payload_signing != PAYLOAD_AUTO)
        return config->payload_signing == PAYLOAD_ALWAYS;
    return !config->tls || rq->body_len < HASH_ALWAYS;
}

static bool server_checks_crc32c(struct s3pve_client *client) {
    LOCK_SCOPE(&client->lock);

    return client->caps.checksum_crc32c == S3PVE_YES;
}

/* What lets the server notice a body damaged on the way: the signature, or a checksum where that
 * does not cover it. */
static int hash_body(struct s3pve_client *client, struct request *rq) {
    bool covered = !rq->body_len || wants_signature(&client->config, rq);

    strcpy(rq->payload_hash, rq->body_len ? SIGV4_UNSIGNED : SIGV4_EMPTY);
    if (covered && rq->body_len && sigv4_hash(rq->body, rq->n_body, rq->payload_hash) < 0)
        return -1;
    if (rq->checksum && !covered && !rq->md5 && server_checks_crc32c(client))
        return body_crc32c(rq);
    return rq->md5 || (rq->checksum && !covered) ? body_md5(rq) : 0;
}

void exchange_hash(struct s3pve_client *client, struct request *rq) {
    rq->content_md5[0] = rq->crc32c[0] = '\0';
    if (hash_body(client, rq) < 0)
        rq->out_of_memory = true;
}

static int header_add(struct exchange *ex, const char *name, const char *fmt, ...) _printf_(3, 4);

static int header_add(struct exchange *ex, const char *name, const char *fmt, ...) {
    char *line = NULL, *value = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&value, fmt, ap);
    va_end(ap);
    if (n < 0)
        return -1;

    /* Without a value libcurl would drop the header; with ';' it sends it empty. */
    n = *value ? asprintf(&line, "%s: %s", name, value) : asprintf(&line, "%s;", name);
    explicit_bzero(value, strlen(value)); /* a token, perhaps */
    free(value);
    if (n < 0 || ex->n_headers == EXCHANGE_HEADERS) {
        if (n >= 0)
            free(line);
        return -1;
    }
    ex->headers[ex->n_headers++] = line;
    return 0;
}

static bool has_header(const struct request *rq, const char *name) {
    for (unsigned i = 0; i < rq->n_headers; i++)
        if (strcasecmp(rq->headers[i].name, name) == 0)
            return true;
    return false;
}

static int add_headers(struct exchange *ex, const struct creds *creds) {
    const struct request *rq = ex->rq;
    char stamp[17];

    sigv4_timestamp(ex->signed_s, stamp);
    if (header_add(ex, "host", "%s", ex->client->config.host) < 0 ||
        header_add(ex, "x-amz-content-sha256", "%s", rq->payload_hash) < 0 ||
        header_add(ex, "x-amz-date", "%s", stamp) < 0)
        return -1;
    if (*creds->token && header_add(ex, "x-amz-security-token", "%s", creds->token) < 0)
        return -1;
    for (unsigned i = 0; i < rq->n_headers; i++)
        if (header_add(ex, rq->headers[i].name, "%s", rq->headers[i].value) < 0)
            return -1;
    if (rq->range.set) {
        uint64_t from = rq->range.offset + rq->received;

        if (header_add(
                ex,
                "range",
                "bytes=%llu-%llu",
                (unsigned long long)from,
                (unsigned long long)(rq->range.offset + rq->range.len - 1)
            ) < 0)
            return -1;
        if (rq->pinned_etag[0] && !has_header(rq, "if-match") &&
            header_add(ex, "if-match", "\"%s\"", rq->pinned_etag) < 0)
            return -1;
    }
    if (rq->content_md5[0] && header_add(ex, "content-md5", "%s", rq->content_md5) < 0)
        return -1;
    if (rq->crc32c[0] && header_add(ex, "x-amz-checksum-crc32c", "%s", rq->crc32c) < 0)
        return -1;
    return 0;
}

/* Headers that a proxy may touch, or that S3 asks not to be signed, stay out of the signature. */
static bool is_signed(const char *name, size_t len) {
    static const char *const names[] = {"host", "content-md5", "content-type", "range"};

    if (len > 6 && strncasecmp(name, "x-amz-", 6) == 0)
        return true;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == len && strncasecmp(name, names[i], len) == 0)
            return true;
    return false;
}

static int add_signature(
    struct exchange *ex,
    const char *path,
    const struct creds *creds,
    const struct sigv4_scope *scope,
    const struct sigv4_key *key
) {
    _cleanup_(buf_wipe) struct buf names = {0}, authorization = {0};
    struct sigv4_pair headers[EXCHANGE_HEADERS], query[REQUEST_PAIRS];
    struct sigv4_request sv = {.method = ex->rq->method, .path = path, .query = query};

    /* "name: value" lines, split for the signer in a copy that lives as long as this call. */
    for (unsigned i = 0; i < ex->n_headers; i++) {
        size_t len = strcspn(ex->headers[i], ":;");

        if (is_signed(ex->headers[i], len) &&
            buf_printf(&names, "%.*s%c", (int)len, ex->headers[i], '\0') < 0)
            return -1;
    }
    const char *name = buf_text(&names);
    for (unsigned i = 0; i < ex->n_headers; i++) {
        size_t len = strcspn(ex->headers[i], ":;");
        const char *value = ex->headers[i] + len;

        if (!is_signed(ex->headers[i], len))
            continue;
        value += *value == ':' ? 2 : 1;
        headers[sv.n_headers++] = (struct sigv4_pair){name, value};
        name += strlen(name) + 1;
    }
    for (unsigned i = 0; i < ex->rq->n_query; i++)
        query[sv.n_query++] = (struct sigv4_pair){ex->rq->query[i].name, ex->rq->query[i].value};
    sv.headers = headers;
    sv.payload_hash = ex->rq->payload_hash;

    if (sigv4_authorization(&sv, scope, creds->access_key, key, &authorization) < 0)
        return -1;
    return header_add(ex, "authorization", "%s", buf_text(&authorization));
}

/* base_url + encoded key + query; @path gets the part that is signed. */
static int add_url(struct exchange *ex, struct buf *path) {
    const struct config *config = &ex->client->config;
    const struct request *rq = ex->rq;
    const char *prefix = rq->raw_key ? "" : config->prefix;

    if (buf_str(path, config->base_path) < 0)
        return -1;
    if (rq->key) {
        if (buf_str(path, "/") < 0 || sigv4_encode(path, prefix, strlen(prefix), true) < 0 ||
            sigv4_encode(path, rq->key, strlen(rq->key), true) < 0)
            return -1;
    } else if (!path->len && buf_str(path, "/") < 0) {
        return -1;
    }

    if (buf_printf(
            &ex->url,
            "%.*s%s",
            (int)(strlen(config->base_url) - strlen(config->base_path)),
            config->base_url,
            buf_text(path)
        ) < 0)
        return -1;
    for (unsigned i = 0; i < rq->n_query; i++) {
        const struct request_pair *pair = &rq->query[i];

        if (buf_str(&ex->url, i ? "&" : "?") < 0 ||
            sigv4_encode(&ex->url, pair->name, strlen(pair->name), false) < 0 ||
            buf_str(&ex->url, "=") < 0 ||
            sigv4_encode(&ex->url, pair->value, strlen(pair->value), false) < 0)
            return -1;
    }
    return 0;
}

/* Address and sign under the client's lock: keys, clock and region change together. */
static int exchange_sign(struct exchange *ex) {
    struct s3pve_client *client = ex->client;
    _cleanup_(buf_clear) struct buf path = {.max = LIMIT_URL};
    LOCK_SCOPE(&client->lock);
    const struct creds *creds = &client->creds;
    struct sigv4_scope scope = {
        .region = client->region[0] ? client->region : "us-east-1",
        .service = "s3",
    };

    ex->creds_serial = client->creds_serial;
    memcpy(ex->region, client->region, sizeof(ex->region));
    ex->corrected_s = client->skew_s;
    ex->signed_s = client->transport.wall_s(client->transport.ctx) + ex->corrected_s;
    scope.time_s = ex->signed_s;
    if (add_url(ex, &path) < 0 || add_headers(ex, creds) < 0)
        return -1;
    if (creds->anonymous)
        return 0;

    if (!sigv4_key_fits(&client->signing_key, &scope) &&
        sigv4_derive(&client->signing_key, creds->secret_key, &scope) < 0)
        return -1;
    return add_signature(ex, buf_text(&path), creds, &scope, &client->signing_key);
}

int exchange_new(
    struct s3pve_client *client,
    struct request *rq,
    struct exchange **ret_exchange,
    struct s3pve_error *err
) {
    struct exchange *ex = calloc(1, sizeof(*ex));

    if (!ex)
        return error_set(err, S3PVE_E_NOMEM, "%s: out of memory", rq->operation);

    ex->client = client;
    ex->rq = rq;
    ex->url.max = LIMIT_URL;
    ex->body.max = rq->reply_max ? rq->reply_max : LIMIT_REPLY;
    if (exchange_sign(ex) < 0) {
        exchange_free(ex);
        return error_set(
            err, S3PVE_E_INVALID, "%s: the request is too long, or out of memory", rq->operation
        );
    }

    ex->transfer = (struct transfer){
        .method = rq->method,
        .url = buf_text(&ex->url),
        .headers = (const char *const *)ex->headers,
        .body = rq->body,
        .n_body = rq->n_body,
        .body_len = rq->body_len,
        .low_speed_s = rq->slow_answer ? COMPLETE_LOW_SPEED_S : LOW_SPEED_S,
        .no_body = strcmp(rq->method, "HEAD") == 0,
        .once = rq->once,
        .owner = ex,
        .on_header = answer_header,
        .on_data = answer_data,
    };
    *ret_exchange = ex;
    return 0;
}

void exchange_free(struct exchange *ex) {
    if (!ex)
        return;

    for (unsigned i = 0; i < ex->n_headers; i++) {
        explicit_bzero(ex->headers[i], strlen(ex->headers[i])); /* tokens and signatures */
        free(ex->headers[i]);
    }
    buf_clear(&ex->url);
    buf_clear(&ex->body);
    free(ex);
}
