/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* answer.c - headers into struct reply, bytes to where the caller wants them, facts for the judge
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "core/answer.h"
#include "core/config_private.h"
#include "core/error.h"
#include "core/exchange.h"

static void copy_text(char *to, size_t room, const char *from) {
    snprintf(to, room, "%s", from);
    utf8_make_printable(to); /* it goes into logs and messages */
}

/* An ETag without quotes and without the weak mark: an opaque version token. */
static void copy_etag(char to[S3PVE_ETAG_MAX], const char *from) {
    size_t len;

    if (strncmp(from, "W/", 2) == 0)
        from += 2;
    if (*from == '"')
        from++;
    len = strcspn(from, "\"");
    snprintf(to, S3PVE_ETAG_MAX, "%.*s", (int)len, from);
}

static bool parse_u64(const char *text, uint64_t *ret_value) {
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret_value = strtoull(text, &end, 10);
    return errno == 0 && (*end == '\0' || *end == '-' || *end == '/');
}

/* "bytes 0-99/1234" or ".../\*" */
static void parse_content_range(struct reply *reply, const char *text) {
    const char *dash, *slash;

    if (strncmp(text, "bytes ", 6) != 0)
        return;
    text += 6;
    dash = strchr(text, '-');
    slash = strchr(text, '/');
    if (!dash || !slash || slash < dash)
        return;
    if (strcmp(slash + 1, "*") != 0 && !parse_u64(slash + 1, &reply->range_total))
        return;
    reply->has_content_range = parse_u64(text, &reply->range_start) &&
                               parse_u64(dash + 1, &reply->range_end) &&
                               reply->range_start <= reply->range_end &&
                               (!reply->range_total || reply->range_end < reply->range_total);
}

static void parse_retry_after(struct reply *reply, const char *text, int64_t wall_s) {
    uint64_t seconds;
    int64_t at_s;

    if (parse_u64(text, &seconds))
        reply->retry_after_ms =
            seconds < RETRY_AFTER_CAP_MS / 1000 ? (unsigned)seconds * 1000 : RETRY_AFTER_CAP_MS;
    else if (clock_parse_http_date(text, &at_s) == 0 && at_s > wall_s)
        reply->retry_after_ms = at_s - wall_s < RETRY_AFTER_CAP_MS / 1000
                                    ? (unsigned)(at_s - wall_s) * 1000
                                    : RETRY_AFTER_CAP_MS;
}

static void add_meta(struct s3pve_info *info, const char *name, const char *value) {
    struct s3pve_meta *meta = &info->meta[info->n_meta];

    if (info->n_meta == S3PVE_META_MAX || strlen(name) >= sizeof(meta->name) ||
        strlen(value) >= sizeof(meta->value))
        return; /* not one of ours */
    copy_text(meta->name, sizeof(meta->name), name);
    copy_text(meta->value, sizeof(meta->value), value);
    info->n_meta++;
}

static bool text_header(struct reply *reply, const char *name, const char *value) {
    const struct {
        const char *name;
        char *to;
        size_t room;
    } texts[] = {
        {"content-type", reply->info.content_type, sizeof(reply->info.content_type)},
        {"x-amz-storage-class", reply->info.storage_class, sizeof(reply->info.storage_class)},
        {"x-amz-request-id", reply->request_id, sizeof(reply->request_id)},
        {"x-amz-bucket-region", reply->region, sizeof(reply->region)},
        {"x-amz-checksum-crc32c", reply->checksum_crc32c, sizeof(reply->checksum_crc32c)},
        {"server", reply->server, sizeof(reply->server)},
        {"location", reply->location, sizeof(reply->location)},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(name, texts[i].name) == 0) {
            copy_text(texts[i].to, texts[i].room, value);
            return true;
        }
    }
    return false;
}

/* Against the clock as it is now: a part may have been minutes on its way. */
static void take_date(struct exchange *ex, const char *value) {
    const struct transport *transport = &ex->client->transport;

    if (clock_parse_http_date(value, &ex->reply.date_s) == 0)
        ex->skew_s = ex->reply.date_s - transport->wall_s(transport->ctx);
}

int answer_header(struct transfer *transfer, const char *name, const char *value) {
    struct exchange *ex = transfer->owner;
    struct reply *reply = &ex->reply;

    if (++ex->n_reply_headers > LIMIT_HEADERS) {
        ex->refused = S3PVE_E_CORRUPT;
        copy_text(ex->why, sizeof(ex->why), "too many headers");
        return 1;
    }
    if (text_header(reply, name, value))
        return 0;
    if (strcmp(name, "etag") == 0)
        copy_etag(reply->info.etag, value);
    else if (strcmp(name, "content-length") == 0)
        reply->has_content_length = parse_u64(value, &reply->content_length);
    else if (strcmp(name, "transfer-encoding") == 0)
        reply->chunked = strcasestr(value, "chunked") != NULL;
    else if (strcmp(name, "content-range") == 0)
        parse_content_range(reply, value);
    else if (strcmp(name, "last-modified") == 0)
        (void)clock_parse_http_date(value, &reply->info.mtime);
    else if (strcmp(name, "date") == 0)
        take_date(ex, value);
    else if (strcmp(name, "retry-after") == 0)
        parse_retry_after(reply, value, ex->signed_s);
    else if (strncmp(name, "x-amz-meta-", 11) == 0)
        add_meta(&reply->info, name + 11, value);
    return 0;
}

static int refuse(struct exchange *ex, const char *why) {
    ex->refused = S3PVE_E_CORRUPT;
    copy_text(ex->why, sizeof(ex->why), why);
    return 1;
}

/*
 * Before the first byte of a range is let through (C5): is it the range we asked for, of the
 * version we began with?  A whole object (200) will do when we asked from its start.
 */
static int check_range(struct exchange *ex) {
    struct request *rq = ex->rq;
    const struct reply *reply = &ex->reply;
    uint64_t from = rq->range.offset + rq->received;

    if (rq->pinned_etag[0] && reply->info.etag[0] && strcmp(rq->pinned_etag, reply->info.etag) != 0)
        return refuse(ex, "the object changed while it was read");
    if (ex->transfer.status == 200 && !reply->has_content_range)
        return from == 0 ? 0 : refuse(ex, "the server ignored Range");
    if (!reply->has_content_range || reply->range_start != from ||
        reply->range_end >= rq->range.offset + rq->range.len)
        return refuse(ex, "Content-Range is not what was asked for");
    return 0;
}

static int deliver(struct exchange *ex, const void *data, size_t len) {
    struct request *rq = ex->rq;

    if (rq->range.set && len > rq->range.len - rq->received) {
        len = (size_t)(rq->range.len - rq->received); /* a 200 for more than we want */
        ex->enough = true;
    }
    if (rq->into) {
        memcpy((char *)rq->into + rq->received, data, len);
    } else if (rq->sink(rq->sink_ctx, data, len) != 0) {
        ex->refused = S3PVE_E_CANCELLED;
        copy_text(ex->why, sizeof(ex->why), "the receiver stopped");
        return 1;
    }
    rq->received += len;
    return ex->enough;
}

int answer_data(struct transfer *transfer, const void *data, size_t len) {
    struct exchange *ex = transfer->owner;
    struct request *rq = ex->rq;
    bool good = transfer->status == 200 || transfer->status == 206;

    if (good && (rq->into || rq->sink)) {
        if (!ex->started_body) {
            ex->started_body = true;
            if (rq->range.set && check_range(ex) != 0)
                return 1;
            if (!rq->pinned_etag[0])
                copy_text(rq->pinned_etag, sizeof(rq->pinned_etag), ex->reply.info.etag);
        }
        return deliver(ex, data, len);
    }

    if (!good && ex->body.len + len > LIMIT_ERROR_BODY)
        len = LIMIT_ERROR_BODY - ex->body.len; /* the rest of an error page is no use */
    if (buf_add(&ex->body, data, len) < 0)
        return refuse(ex, "the answer is longer than any honest one");
    return 0;
}

/* A 2xx may carry an error (Complete, Copy, DeleteObjects); anything else should carry one. */
static void read_document(struct exchange *ex) {
    const char *body = buf_text(&ex->body);
    bool good = ex->transfer.status >= 200 && ex->transfer.status < 300;
    char root[64];

    if (!ex->body.len) {
        ex->wrong_root = good && ex->rq->root && *ex->rq->root;
        return;
    }
    if (good && !ex->rq->root)
        return;

    ex->has_error = xml_error_parse(body, ex->body.len, &ex->error);
    if (!good || ex->has_error || !*ex->rq->root)
        return;
    ex->wrong_root = xml_root(body, ex->body.len, root) < 0 || strcmp(root, ex->rq->root) != 0;
}

/* A body shorter than its range is not the end of the object unless Content-Range said so. */
static bool short_range(const struct exchange *ex) {
    const struct request *rq = ex->rq;
    const struct reply *reply = &ex->reply;
    uint64_t end = rq->range.offset + rq->received;

    if (!rq->range.set || ex->transfer.status < 200 || ex->transfer.status > 206)
        return false;
    return reply->has_content_range
               ? end != reply->range_end + 1
               : reply->has_content_length && !ex->enough && rq->received < reply->content_length;
}

/* An object that ends where the connection does: nobody can tell whether that was all (C5). */
static bool is_endless(const struct exchange *ex) {
    const struct reply *reply = &ex->reply;

    return ex->transfer.status == 200 && ex->rq->key && strcmp(ex->rq->method, "GET") == 0 &&
           !reply->has_content_length && !reply->has_content_range && !reply->chunked;
}

void exchange_facts(struct exchange *ex, struct outcome *ret_outcome) {
    struct transfer *t = &ex->transfer;

    if (t->failure == HTTP_STOPPED && ex->enough)
        t->failure = HTTP_FINE;
    if (t->failure == HTTP_FINE && t->status == 206 && ex->rq->range.set && !ex->started_body)
        (void)check_range(ex); /* not even one byte came */
    if (t->failure == HTTP_FINE && is_endless(ex))
        (void)refuse(ex, "neither length nor end was told, so it may be cut short");
    if (t->failure == HTTP_FINE && !t->no_body) {
        read_document(ex);
        if ((ex->rq->into || ex->rq->sink) && short_range(ex)) {
            t->failure = HTTP_BROKEN;
            copy_text(t->detail, sizeof(t->detail), "the body is shorter than its head says");
        }
    }
    if (ex->has_error && !ex->reply.request_id[0])
        copy_text(ex->reply.request_id, sizeof(ex->reply.request_id), ex->error.request_id);
    if (ex->has_error && ex->error.region[0])
        copy_text(ex->reply.region, sizeof(ex->reply.region), ex->error.region);

    *ret_outcome = (struct outcome){
        .failure = t->failure,
        .reused = t->reused,
        .status = t->status,
        .s3_code = ex->error.code,
        .method = ex->rq->method,
        .once = ex->rq->once,
        .bucket_level = !ex->rq->key,
        .sent_any = t->failure != HTTP_RESOLVE && t->failure != HTTP_CONNECT,
        .wrong_root = ex->wrong_root,
        .skew_s = ex->reply.date_s ? ex->skew_s - ex->corrected_s : 0,
    };
}

static const char *hint(const char *code, int status) {
    static const struct {
        const char *code, *hint;
    } hints[] = {
        {"InvalidAccessKeyId", "check the access key"},
        {"SignatureDoesNotMatch", "check the secret key (and the region)"},
        {"AccessDenied", "the key may not do this: check its policy"},
        {"NoSuchBucket", "check the bucket's name, or create it"},
        {"RequestTimeTooSkewed", "check this machine's clock"},
        {"PermanentRedirect",
         "the bucket lives behind another endpoint: check region and endpoint"},
        {"TemporaryRedirect",
         "the bucket lives behind another endpoint: check region and endpoint"},
        {"AuthorizationHeaderMalformed", "check the region"},
        {"XMinioStorageFull", "the store is full"},
        {"QuotaExceeded", "the store's quota is used up"},
    };

    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
        if (strcmp(code, hints[i].code) == 0)
            return hints[i].hint;
    return status == 301 || status == 307 ? hints[5].hint : NULL;
}

/* Those who speak TLS say 400 to http, and nothing that only a store would say. */
static bool may_be_tls(const struct exchange *ex) {
    return ex->transfer.status == 400 && !ex->client->config.tls && !ex->has_error &&
           !ex->reply.request_id[0];
}

/* "scheme://host:port" or "host:port", whatever follows it.  Return: 0, or -1 for anything else. */
static int read_host(const char *text, bool *ret_scheme, struct endpoint *ret_endpoint) {
    const char *scheme = strstr(text, "://"), *host = scheme ? scheme + 3 : text;
    size_t len = (size_t)(host - text) + strcspn(host, "/?#");
    char url[LIMIT_ENDPOINT + 1];

    if (len >= sizeof(url))
        return -1;
    snprintf(url, sizeof(url), "%.*s", (int)len, text);
    *ret_scheme = scheme;
    return config_endpoint_parse(url, ret_endpoint, NULL);
}

/* The endpoint that a redirect names, which is for people to judge; nothing when it names ours. */
static void add_redirect(const struct exchange *ex, struct buf *out) {
    const struct config *config = &ex->client->config;
    bool from_document = *ex->error.endpoint, scheme;
    _cleanup_(buf_clear) struct buf host = {0};
    struct endpoint endpoint;

    if (read_host(from_document ? ex->error.endpoint : ex->reply.location, &scheme, &endpoint) < 0)
        return;
    if ((!scheme && !from_document) || config_endpoint_host(&endpoint, &host) < 0)
        return;
    if (strcmp(buf_text(&host), config->host) == 0 && (!scheme || endpoint.tls == config->tls))
        return;
    (void)buf_printf(
        out,
        "; it names %s%s",
        scheme ? (endpoint.tls ? "https://" : "http://") : "",
        buf_text(&host)
    );
}

void exchange_describe(
    const struct exchange *ex, enum s3pve_code code, struct s3pve_error *ret_error
) {
    const struct request *rq = ex->rq;
    const struct transfer *t = &ex->transfer;
    const char *what = rq->key ? rq->key : ex->client->config.bucket;
    const char *help = may_be_tls(ex) ? "if it speaks TLS, say https:// for http://"
                                      : hint(ex->error.code, t->status);
    _cleanup_(buf_clear) struct buf redirect = {0};

    if (t->status >= 300 && t->status < 400)
        add_redirect(ex, &redirect);
    if (ex->refused)
        error_set(ret_error, ex->refused, "%s %s: %s", rq->operation, what, ex->why);
    else if (t->failure != HTTP_FINE)
        error_set(
            ret_error,
            code,
            "%s %s: %s: %s%s",
            rq->operation,
            what,
            ex->client->config.host,
            t->detail,
            t->failure == HTTP_UNTRUSTED ? "; trust it with a ca-file or its fingerprint" : ""
        );
    else if (ex->wrong_root)
        error_set(
            ret_error, code, "%s %s: %d with an unexpected document", rq->operation, what, t->status
        );
    else
        error_set(
            ret_error,
            code,
            "%s %s: %d%s%s%s%s%s",
            rq->operation,
            what,
            t->status,
            ex->error.code[0] ? " " : "",
            ex->error.code,
            help ? ": " : (ex->error.message[0] ? ": " : ""),
            help ? help : ex->error.message,
            buf_text(&redirect)
        );
    ret_error->http_status = t->status;
    copy_text(ret_error->s3_code, sizeof(ret_error->s3_code), ex->error.code);
    copy_text(ret_error->request_id, sizeof(ret_error->request_id), ex->reply.request_id);
}
