/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* request.c - filling in a request; what happens to it then is engine.c's */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "core/request.h"

void request_init(
    struct request *rq,
    const char *operation,
    const char *method,
    const char *key,
    const struct s3pve_call *call
) {
    *rq = (struct request){.operation = operation, .method = method};
    if (key) {
        rq->key = strdup(key);
        rq->out_of_memory = !rq->key;
    }
    if (call)
        rq->call = *call;
}

static void pair_add(
    struct request *rq, struct request_pair *pairs, unsigned *n_pairs, const char *name, char *value
) {
    struct request_pair pair = {.name = strdup(name), .value = value};

    if (!pair.name || !pair.value || *n_pairs == REQUEST_PAIRS) {
        rq->out_of_memory = true;
        free(pair.name);
        free(pair.value);
        return;
    }
    pairs[(*n_pairs)++] = pair;
}

void request_query(struct request *rq, const char *name, const char *value) {
    pair_add(rq, rq->query, &rq->n_query, name, strdup(value ? value : ""));
}

void request_header(struct request *rq, const char *name, const char *fmt, ...) {
    char *value = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&value, fmt, ap) < 0)
        value = NULL;
    va_end(ap);
    pair_add(rq, rq->headers, &rq->n_headers, name, value);
}

void request_body(struct request *rq, struct iovec *iov, const void *data, size_t len) {
    *iov = (struct iovec){.iov_base = (void *)data, .iov_len = len};
    rq->body = iov;
    rq->n_body = 1;
    rq->body_len = len;
}

static void pairs_clear(struct request_pair *pairs, unsigned *n_pairs) {
    for (unsigned i = 0; i < *n_pairs; i++) {
        free(pairs[i].name);
        free(pairs[i].value);
    }
    *n_pairs = 0;
}

void request_clear(struct request *rq) {
    pairs_clear(rq->query, &rq->n_query);
    pairs_clear(rq->headers, &rq->n_headers);
    free(rq->key);
    rq->key = NULL;
    free(rq->reply.body);
    rq->reply.body = NULL;
}
