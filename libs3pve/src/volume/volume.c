/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <assert.h>
#include <string.h>

#include "core/error.h"
#include "volume/machine.h"

void queue_add(struct queue *queue, struct volume_request *request) {
    request->next = NULL;
    if (!queue->head)
        queue->tail = &queue->head;
    *queue->tail = request;
    queue->tail = &request->next;
}

struct volume_request *queue_take(struct queue *queue) {
    struct volume_request *request = queue->head;

    if (request)
        queue->head = request->next;
    return request;
}

struct volume *volume_new(
    const struct volume_params *params, const struct volume_ops *ops, void *ctx
) {
    struct volume *volume = calloc(1, sizeof(*volume));

    if (!volume)
        return NULL;
    volume->params = *params;
    volume->ops = ops;
    volume->ctx = ctx;
    volume->overlay = map_new(OVERLAY_STEP);
    volume->map = map_new(MAP_STEP);
    return volume->overlay && volume->map ? volume : volume_free(volume);
}

struct volume *volume_free(struct volume *volume) {
    if (!volume)
        return NULL;
    while (volume->first) {
        struct batch *next = volume->first->next;

        batch_free(volume->first);
        volume->first = next;
    }
    free(volume->by_seq);
    checkpoint_free(volume->checkpoint);
    leaves_clear(&volume->leaves);
    map_free(volume->overlay);
    map_free(volume->map);
    table_clear(&volume->table);
    free(volume);
    return NULL;
}

void machine_answer_with(
    struct volume *volume, struct volume_request *request, const struct s3pve_error *err
) {
    lookup_unpin(volume, request);
    volume->ops->answer(volume->ctx, request, err);
}

void machine_answer(struct volume *volume, struct volume_request *request) {
    machine_answer_with(volume, request, volume->failure.code ? &volume->failure : NULL);
}

static void answer_all(struct volume *volume, struct queue *queue) {
    struct volume_request *request;

    while ((request = queue_take(queue)))
        if (request->edges != EDGES_ASKED) /* its answer comes with the edges */
            machine_answer(volume, request);
}

void machine_fail(struct volume *volume, const struct s3pve_error *cause) {
    if (volume->failure.code)
        return;
    volume->failure = *cause;
    answer_all(volume, &volume->waiting);
    answer_all(volume, &volume->unanswered);
    answer_all(volume, &volume->flushes);
    answer_all(volume, &volume->queue);
}

void volume_fail(struct volume *volume, const struct s3pve_error *cause) {
    machine_fail(volume, cause);
}

void machine_fail_memory(struct volume *volume) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    error_set(&err, S3PVE_E_NOMEM, "no memory for the volume");
    machine_fail(volume, &err);
}

static bool has_edges(const struct volume_request *request) {
    return request->type != VOLUME_READ && request->type != VOLUME_FLUSH &&
           (request->offset % BLOCK || (request->offset + request->len) % BLOCK);
}

void machine_read(struct volume *volume, struct volume_request *request) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int rc = lookup(volume, request);

    if (rc > 0) {
        volume->ops->read(volume->ctx, request, request->pieces, request->n_pieces);
    } else if (rc == 0) {
        queue_add(&volume->waiting, request);
    } else {
        error_set(&err, S3PVE_E_NOMEM, "no memory for a read");
        machine_answer_with(volume, request, &err);
    }
}

/* ------------------------------------------------------------------- moving */

static int64_t sooner(const struct volume *volume, int64_t at_ms, int64_t other_ms) {
    return other_ms > volume->now_ms && other_ms < at_ms ? other_ms : at_ms;
}

/* The next moment at which time alone changes something. */
static void wake(struct volume *volume) {
    const struct batch *open = volume->last && !volume->last->sealed ? volume->last : NULL;
    int64_t at_ms = INT64_MAX;

    if (open && !batch_is_empty(open))
        at_ms = sooner(volume, at_ms, open->since_ms + (int64_t)volume->params.seal_age_ms);
    if (volume->tip > volume->taken_seq)
        at_ms = sooner(volume, at_ms, volume->dirty_since_ms + CHECKPOINT_AGE_MS);
    at_ms = sooner(volume, at_ms, volume->take_again_ms);
    if (volume->aging)
        at_ms = sooner(volume, at_ms, volume->aging_since_ms + (int64_t)volume->params.grace_ms);
    if (at_ms < INT64_MAX)
        volume->ops->wake_at(volume->ctx, at_ms);
}

void machine_move(struct volume *volume) {
    static void (*const parts[])(struct volume *) = {
        apply_move, journal_release, journal_flush, journal_move, seal_move, take_move, sweep_move};

    if (volume->held)
        return;
    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]) && !volume->failure.code; i++)
        parts[i](volume);
    if (volume->failure.code)
        return;
    leaves_trim(&volume->leaves, volume->map, volume->params.map_memory);
    wake(volume);
}

void volume_hold(struct volume *volume) {
    volume->held = true;
}

void volume_go(struct volume *volume) {
    volume->held = false;
    machine_move(volume);
}

void volume_submit(struct volume *volume, struct volume_request *request) {
    request->n_looked = request->n_taken = request->n_pieces = 0;
    request->pieces = NULL;
    if (volume->failure.code) {
        machine_answer(volume, request);
        return;
    }
    request->edges = has_edges(request) ? EDGES_MISSING : EDGES_NONE;
    switch (request->type) {
    case VOLUME_READ: machine_read(volume, request); return;
    case VOLUME_FLUSH: /* covers what was answered before it */
        request->jseq = volume->jseq_written;
        queue_add(&volume->flushes, request);
        break;
    case VOLUME_WRITE:
    case VOLUME_ZERO: queue_add(&volume->queue, request); break;
    }
    machine_move(volume);
}

void volume_tick(struct volume *volume, int64_t now_ms) {
    assert(now_ms >= volume->now_ms);
    if (!volume->now_ms)
        volume->dirty_since_ms = now_ms; /* since it was opened, as far as we know */
    volume->now_ms = now_ms;
    machine_move(volume); /* the lease may be valid again, something old enough */
}

void volume_resized(struct volume *volume, uint64_t size) {
    assert(size >= volume->params.size);
    volume->params.size = size;
}

void volume_read_done(
    struct volume *volume, struct volume_request *request, const struct s3pve_error *err
) {
    machine_answer_with(volume, request, err);
    machine_move(volume);
}

void volume_edges_done(
    struct volume *volume, struct volume_request *request, const struct s3pve_error *err
) {
    lookup_unpin(volume, request);
    request->edges = EDGES_KNOWN;
    if (volume->failure.code) {
        machine_answer(volume, request);
        return;
    }
    assert(request == volume->queue.head);
    if (err) /* the bytes around it are not to be had: this write alone fails */
        machine_answer_with(volume, queue_take(&volume->queue), err);
    machine_move(volume);
}
