/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A whole answer: "STATUS MODE CHUNK", header lines, an empty line, the body.  Mode r reads a
 * range into memory, s into a function, x keeps a document.  The body comes in pieces of CHUNK.
 */
#include <string.h>

#include "base/limits.h"
#include "core/answer.h"
#include "core/exchange.h"
#include "fuzz.h"

#define OFFSET 100
#define LENGTH 64

#define NOW_S 1369353600

struct world {
    struct s3pve_client client;
    struct exchange ex;
    struct request rq;
    char *into; /* exactly as long as the range */
    size_t drained;
};

static int drain(void *ctx, const void *data, size_t len) {
    struct world *w = ctx;
    unsigned char sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = (unsigned char)(sum + ((const unsigned char *)data)[i]);
    w->drained += len;
    return sum == 255; /* a receiver that may stop */
}

static int64_t wall_s(void *ctx) {
    return NOW_S;
}

static void set_mode(struct world *w, char mode) {
    request_init(&w->rq, "GetObject", "GET", mode == 'x' ? NULL : "key", NULL);
    w->client.transport.wall_s = wall_s;
    w->ex.client = &w->client;
    w->ex.rq = &w->rq;
    w->ex.transfer.owner = &w->ex;
    w->ex.body.max = LIMIT_REPLY;
    w->ex.signed_s = NOW_S;
    w->rq.root = "ListBucketResult";
    if (mode == 'x')
        return;

    w->rq.root = NULL;
    w->rq.range.set = true;
    w->rq.range.offset = mode == 'r' ? OFFSET : 0;
    w->rq.range.len = LENGTH;
    w->rq.into = mode == 'r' ? w->into : NULL;
    w->rq.sink = mode == 'r' ? NULL : drain;
    w->rq.sink_ctx = w;
}

/* Moves *text behind the empty line.  Return: false when the transfer was stopped. */
static bool feed_headers(struct world *w, char **text) {
    char *line;

    while ((line = strsep(text, "\n")) && *line) {
        char *value = line;

        strsep(&value, ":");
        if (answer_header(&w->ex.transfer, line, value ? value + strspn(value, " ") : "") != 0)
            return false;
    }
    return true;
}

static bool feed_body(struct world *w, const uint8_t *data, size_t size, size_t chunk) {
    while (size) {
        const size_t n = size < chunk ? size : chunk;

        if (answer_data(&w->ex.transfer, data, n) != 0)
            return false;
        data += n;
        size -= n;
    }
    return true;
}

static void check_texts(const struct reply *reply) {
    const struct s3pve_info *info = &reply->info;

    must(memchr(info->etag, 0, sizeof(info->etag)));
    must(memchr(info->content_type, 0, sizeof(info->content_type)));
    must(memchr(info->storage_class, 0, sizeof(info->storage_class)));
    must(memchr(reply->request_id, 0, sizeof(reply->request_id)));
    must(memchr(reply->region, 0, sizeof(reply->region)));
    must(memchr(reply->location, 0, sizeof(reply->location)));
    must(memchr(reply->checksum_crc32c, 0, sizeof(reply->checksum_crc32c)));
    must(info->n_meta <= S3PVE_META_MAX);
    must(reply->retry_after_ms <= RETRY_AFTER_CAP_MS);
}

static void check_outcome(struct world *w, bool stopped) {
    struct exchange *ex = &w->ex;
    struct outcome outcome;
    struct judgement judgement;

    ex->transfer.failure = stopped ? HTTP_STOPPED : HTTP_FINE;
    exchange_facts(ex, &outcome);
    judgement = retry_judge(&outcome);
    check_texts(&ex->reply);
    must(w->rq.received <= w->rq.range.len);
    must(w->rq.into || !w->rq.range.set || w->drained >= w->rq.received);
    must((judgement.verdict == VERDICT_OK) == (judgement.code == S3PVE_OK));
    if (judgement.verdict == VERDICT_OK && ex->started_body && ex->reply.has_content_range)
        must(w->rq.range.offset + w->rq.received == ex->reply.range_end + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct world w = {.into = malloc(LENGTH)};
    char *text = strndup((const char *)data, size), *rest = text, mode = 'x';
    unsigned chunk = 0;
    bool going;

    if (sscanf(strsep(&rest, "\n"), "%d %c %u", &w.ex.transfer.status, &mode, &chunk) < 1)
        w.ex.transfer.status = 200;
    set_mode(&w, mode);
    going = feed_headers(&w, &rest);
    if (going && rest)
        going = feed_body(&w, data + (rest - text), size - (size_t)(rest - text), chunk % 4096 + 1);
    check_outcome(&w, !going);

    buf_clear(&w.ex.body);
    request_clear(&w.rq);
    free(w.into);
    free(text);
    return 0;
}
