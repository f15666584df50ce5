/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* get_ranges.c - ranges of an object in parallel, written in order: a ring of buffers */
#include <stdlib.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/get.h"

#define WIDTH_MAX (READ_AHEAD_MAX / READ_CHUNK)

struct ranges {
    struct get *get;
    struct request rq[WIDTH_MAX];
    struct request *busy[WIDTH_MAX]; /* NULL: free, or done and not yet written */
    char *buffers;                   /* owned; WIDTH_MAX times READ_CHUNK, used from the start */
    unsigned head, n;                /* the oldest range, and how many there are */
    uint64_t asked;                  /* offset of the next range to ask for */
};

static void ask(struct ranges *r, uint64_t until, unsigned width) {
    uint64_t left = until - r->asked;
    unsigned slot = (r->head + r->n) % width;
    struct request *rq = &r->rq[slot];

    get_request(r->get, rq, r->asked, left < READ_CHUNK ? left : READ_CHUNK);
    rq->into = r->buffers + slot * READ_CHUNK;
    r->asked += rq->range.len;
    r->busy[slot] = rq;
    r->n++;
    request_submit(r->get->client, rq);
}

/* What is still missing of the oldest range, in its place. */
static void ask_rest(struct ranges *r, uint64_t received) {
    struct request *rq = &r->rq[r->head];
    uint64_t offset = rq->range.offset + received, len = rq->range.len - received;
    void *into = rq->into;

    request_clear(rq);
    get_request(r->get, rq, offset, len);
    rq->into = into;
    r->busy[r->head] = rq;
    request_submit(r->get->client, rq);
}

static int write_head(struct ranges *r, unsigned width, struct s3pve_error *err) {
    struct request *rq = &r->rq[r->head];
    bool goes_on = get_goes_on(rq);
    int rc = 0;

    if (rq->error.code != S3PVE_OK && !goes_on) {
        rc = -1;
        if (err)
            *err = rq->error;
    } else if (rq->received != rq->range.len && !goes_on) {
        rc = error_set(err, S3PVE_E_CORRUPT, "GetObject %s: shorter than it was", r->get->key);
    } else if (get_write(r->get, rq->into, rq->received) < 0) {
        rc = get_fail(r->get, err);
    } else if (goes_on) {
        ask_rest(r, rq->received);
        return 0;
    }
    request_clear(rq);
    r->head = (r->head + 1) % width;
    r->n--;
    return rc;
}

static void drop(struct ranges *r, unsigned width) {
    for (; r->n; r->n--, r->head = (r->head + 1) % width) {
        if (r->busy[r->head])
            request_cancel(r->get->client, r->busy[r->head]);
        request_clear(&r->rq[r->head]);
    }
}

int get_ranges(struct get *get, uint64_t until, unsigned width, struct s3pve_error *err) {
    _free_ struct ranges *r = calloc(1, sizeof(*r));
    _free_ char *buffers = aligned_alloc(4096, width * READ_CHUNK);
    int rc = 0;

    if (!r || !buffers)
        return error_set(err, S3PVE_E_NOMEM, "GetObject %s", get->key);
    r->get = get;
    r->buffers = buffers;
    r->asked = get->next;
    while (rc == 0 && get->next < until) {
        while (r->n < width && r->asked < until)
            ask(r, until, width);
        if (r->busy[r->head]) {
            int i = request_wait(get->client, r->busy, WIDTH_MAX, CALL_MS);

            if (i >= 0)
                r->busy[i] = NULL;
        } else {
            rc = write_head(r, width, err);
        }
    }
    drop(r, width);
    return rc;
}
