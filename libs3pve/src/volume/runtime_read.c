/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* runtime_read.c - the bytes of reads, those around writes, and those that will be asked for next
 */
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "core/error.h"
#include "volume/runtime_private.h"

/* ----------------------------------------------------------------- requests */

static bool is_write(const struct volume_request *request) {
    return request->type == VOLUME_WRITE || request->type == VOLUME_ZERO;
}

/* Does it cover a part of its first block only?  Of its last, which may be the same? */
static bool cuts_first(const struct volume_request *request) {
    return request->offset % BLOCK || (request_blocks(request) == 1 && request->len % BLOCK);
}

static bool cuts_last(const struct volume_request *request) {
    return request_blocks(request) > 1 && (request->offset + request->len) % BLOCK;
}

uint8_t *runtime_block(const struct runtime_request *r, uint32_t i) {
    if (r->request.type == VOLUME_ZERO) /* has no data but at its edges */
        return r->edges + (i && cuts_first(&r->request) ? BLOCK : 0);
    return r->data - r->request.offset % BLOCK + (size_t)i * BLOCK;
}

static void sum_block(struct runtime_request *r, uint32_t i) {
    const uint8_t *block = runtime_block(r, i);
    uint64_t first;

    memcpy(&first, block, sizeof(first));
    r->request.sums[i] = crc32c(0, block, BLOCK);
    r->request.zero[i] = !first && memcmp(block, block + 8, BLOCK - 8) == 0;
}

int runtime_prepare(struct runtime_request *r) {
    struct volume_request *request = &r->request;
    uint32_t n = request->type == VOLUME_FLUSH ? 0 : request_blocks(request);

    r->edges = NULL;
    request->sums = r->few_sums;
    request->zero = r->few_zero;
    request->pieces = NULL;
    request->n_pieces = 0;
    if (!is_write(request))
        return 0;
    if (n > RUNTIME_FEW) {
        request->sums = malloc(n * sizeof(*request->sums));
        request->zero = malloc(n * sizeof(*request->zero));
    }
    if (cuts_first(request) || cuts_last(request))
        r->edges = malloc(2 * (size_t)BLOCK);
    if (!request->sums || !request->zero ||
        (!r->edges && (cuts_first(request) || cuts_last(request)))) {
        runtime_clear(r);
        return -1;
    }
    for (uint32_t i = cuts_first(request); request->type == VOLUME_WRITE; i++) {
        if (i >= n - cuts_last(request))
            break;
        sum_block(r, i);
    }
    return 0;
}

void runtime_clear(struct runtime_request *r) {
    if (r->request.sums != r->few_sums)
        free(r->request.sums);
    if (r->request.zero != r->few_zero)
        free(r->request.zero);
    free(r->edges);
    r->request.sums = NULL;
    r->request.zero = NULL;
    r->edges = NULL;
}

/* ----------------------------------------------------------------- fetching */

static void end_fetch(struct runtime *rt, struct runtime_request *r, bool job) {
    if (job)
        runtime_post_job(rt, &r->event);
    else
        runtime_soon(rt, &r->event);
}

/* Some pieces of a fetch. */
struct part {
    struct runtime_request *r;
    struct fetch fetch;
    struct s3pve_error err;
};

/* The last one to end says how it went. */
static void end_part(struct runtime_request *r) {
    if (atomic_fetch_sub(&r->parts_left, 1) > 1)
        return;
    for (unsigned i = 0; i < r->n_parts && !r->error.code; i++)
        r->error = r->parts[i].err;
    free(r->parts);
    end_fetch(r->runtime, r, true);
}

static void part_job(void *arg) {
    struct part *part = arg;

    fetch_step(&part->fetch, &part->err);
    end_part(part->r);
}

/* Pieces from @first on of what is left of the fetch, up to @end. */
static void make_part(struct runtime_request *r, struct part *part, uint32_t first, uint32_t end) {
    const struct fetch *whole = &r->fetch;

    *part = (struct part){.r = r, .fetch = *whole};
    for (uint32_t i = whole->at_piece; i < first && whole->data; i++)
        part->fetch.data +=
            (size_t)(whole->pieces[i].n - (i == whole->at_piece ? whole->at_block : 0)) * BLOCK;
    if (first > whole->at_piece)
        part->fetch.at_block = 0;
    part->fetch.at_piece = first;
    part->fetch.n_pieces = end;
}

/* What is scattered is fetched side by side. */
static void remote_job(void *arg) {
    struct runtime_request *r = arg;
    uint32_t at = r->fetch.at_piece, left = r->fetch.n_pieces - at;
    unsigned n = left < READ_PARTS ? left : READ_PARTS;

    r->parts = calloc(n, sizeof(*r->parts));
    if (!r->parts) {
        error_set(&r->error, S3PVE_E_NOMEM, "no memory for a read");
        end_fetch(r->runtime, r, true);
        return;
    }
    r->n_parts = n;
    atomic_store(&r->parts_left, n);
    for (unsigned i = 0; i < n; i++)
        make_part(
            r,
            &r->parts[i],
            at + (uint32_t)((uint64_t)left * i / n),
            at + (uint32_t)((uint64_t)left * (i + 1) / n)
        );
    for (unsigned i = 1; i < n; i++)
        if (pool_run(r->runtime->volumes->remote, part_job, &r->parts[i]) < 0)
            part_job(&r->parts[i]);
    part_job(&r->parts[0]);
}

/* Whatever the disk does not have is for the threads that wait for the bucket; this one stays the
 * disk's. */
static void local_job(void *arg) {
    struct runtime_request *r = arg;

    if (fetch_step(&r->fetch, &r->error) == 0 && r->fetch.level == FETCH_REMOTE) {
        if (pool_run(r->runtime->volumes->remote, remote_job, r) == 0)
            return;
        error_set(&r->error, S3PVE_E_NOMEM, "no thread for a read");
    }
    end_fetch(r->runtime, r, true);
}

static void start_fetch(struct runtime *rt, struct runtime_request *r, uint8_t *data) {
    bool remote;

    r->error = S3PVE_ERROR_INIT;
    r->fetch = (struct fetch){
        .store = &rt->store,
        .cache = rt->volumes->cache,
        .flights = &rt->volumes->flights,
        .uuid = rt->params.uuid,
        .pieces = r->request.pieces,
        .n_pieces = r->request.n_pieces,
        .data = data,
    };
    if (fetch_step(&r->fetch, &r->error) < 0 || r->fetch.level == FETCH_DONE) {
        end_fetch(rt, r, false);
        return;
    }
    remote = r->fetch.level == FETCH_REMOTE;
    if (runtime_job(
            rt,
            remote ? rt->volumes->remote : rt->volumes->local,
            remote ? remote_job : local_job,
            r
        ) == 0)
        return;
    error_set(&r->error, S3PVE_E_NOMEM, "no thread for a read");
    end_fetch(rt, r, false);
}

/* -------------------------------------------------------------------- reads */

static const struct s3pve_error *error_of(const struct runtime_request *r) {
    return r->error.code ? &r->error : NULL;
}

static void read_done(struct runtime *rt, void *arg) {
    struct runtime_request *r = arg;

    volume_read_done(rt->volume, &r->request, error_of(r));
}

/* Blocks, as far as they are of the range. */
static void tell_stretches(struct runtime_request *r) {
    uint64_t at = r->request.offset / BLOCK * BLOCK, end = r->request.offset + r->request.len;

    for (uint32_t i = 0; i < r->request.n_pieces; i++) {
        const struct volume_piece *piece = &r->request.pieces[i];
        uint64_t from = at > r->request.offset ? at : r->request.offset;

        at += (uint64_t)piece->n * BLOCK;
        r->stretch(r, (at < end ? at : end) - from, piece->where == PIECE_ZERO);
    }
}

void runtime_read_op(
    void *ctx, struct volume_request *request, const struct volume_piece *pieces, uint32_t n
) {
    struct runtime *rt = ctx;
    struct runtime_request *r = (struct runtime_request *)request;

    r->event = (struct event){.fn = read_done, .arg = r};
    if (r->stretch) {
        r->error = S3PVE_ERROR_INIT;
        tell_stretches(r);
        runtime_soon(rt, &r->event);
        return;
    }
    start_fetch(rt, r, r->data ? runtime_block(r, 0) : NULL);
}

/* -------------------------------------------------------------------- edges */

/* Block @i as it will be: @old, and over it what the request covers. */
static void join(struct runtime_request *r, uint32_t i, const uint8_t *old) {
    uint64_t start = (request_first(&r->request) + i) * BLOCK;
    uint64_t request_end = r->request.offset + r->request.len;
    size_t from = r->request.offset > start ? (size_t)(r->request.offset - start) : 0;
    size_t to = request_end < start + BLOCK ? (size_t)(request_end - start) : BLOCK;
    uint8_t *block = runtime_block(r, i);

    if (r->request.type == VOLUME_ZERO) { /* @old is there already */
        memset(block + from, 0, to - from);
    } else {
        memcpy(block, old, from);
        memcpy(block + to, old + to, BLOCK - to);
    }
    sum_block(r, i);
}

static void edges_done(struct runtime *rt, void *arg) {
    struct runtime_request *r = arg;
    uint32_t last = request_blocks(&r->request) - 1;
    const uint8_t *old = r->edges;

    if (!r->error.code && cuts_first(&r->request)) {
        join(r, 0, old);
        old += BLOCK;
    }
    if (!r->error.code && cuts_last(&r->request))
        join(r, last, old);
    volume_edges_done(rt->volume, &r->request, error_of(r));
}

void runtime_edges_op(
    void *ctx, struct volume_request *request, const struct volume_piece *pieces, uint32_t n
) {
    struct runtime_request *r = (struct runtime_request *)request;

    r->event = (struct event){.fn = edges_done, .arg = r};
    start_fetch(ctx, r, r->edges);
}

/* ------------------------------------------------------------ reading ahead */

static void ahead_done(struct runtime_request *r, const struct s3pve_error *err) {
    r->runtime->n_ahead--;
    free(r);
}

static void read_into_cache(struct runtime *rt, uint64_t offset, uint64_t len) {
    struct runtime_request *r = calloc(1, sizeof(*r));

    if (!r)
        return;
    r->request = (struct volume_request){.type = VOLUME_READ, .offset = offset, .len = len};
    r->done = ahead_done;
    rt->n_ahead++;
    runtime_begin(rt, r);
}

/* Who reads on where he ended; else the one that was quiet for longest. */
static struct stream *stream_of(struct runtime *rt, uint64_t offset) {
    struct stream *oldest = &rt->streams[0];

    for (struct stream *s = rt->streams; s < rt->streams + STREAMS_MAX; s++) {
        if (s->used_ms && s->next == offset)
            return s;
        if (s->used_ms < oldest->used_ms)
            oldest = s;
    }
    *oldest = (struct stream){.next = UINT64_MAX};
    return oldest;
}

/* Of what is read in order twice as much each time, in pieces that are fetched side by side. */
void runtime_read_ahead(struct runtime *rt, const struct runtime_request *r) {
    uint64_t end = r->request.offset + r->request.len, until;
    struct stream *stream = stream_of(rt, r->request.offset);
    bool goes_on = stream->next == r->request.offset;

    stream->next = end;
    stream->used_ms = clock_monotonic_ms();
    if (!goes_on)
        return;
    stream->window = stream->window ? stream->window * 2 : VOLUME_AHEAD_MIN;
    if (stream->window > VOLUME_AHEAD_MAX)
        stream->window = VOLUME_AHEAD_MAX;
    if (stream->ahead < end)
        stream->ahead = end;
    until = end + stream->window < rt->params.size ? end + stream->window : rt->params.size;
    while (stream->ahead < until && rt->n_ahead < VOLUME_AHEAD_REQUESTS) {
        uint64_t chunk_end = (stream->ahead / READ_RUN + 1) * READ_RUN;

        if (chunk_end > rt->params.size)
            chunk_end = rt->params.size;
        if (chunk_end > until && until < rt->params.size)
            break; /* whole pieces only */
        read_into_cache(rt, stream->ahead, chunk_end - stream->ahead);
        stream->ahead = chunk_end;
    }
}
