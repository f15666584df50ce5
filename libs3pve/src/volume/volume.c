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
    map_free(volume->overlay);
    map_free(volume->map);
    table_clear(&volume->table);
    free(volume);
    return NULL;
}

void machine_answer(struct volume *volume, struct volume_request *request) {
    volume->ops->answer(volume->ctx, request, volume->failure.code ? &volume->failure : NULL);
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
    answer_all(volume, &volume->unanswered);
    answer_all(volume, &volume->flushes);
    answer_all(volume, &volume->queue);
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

static void read(struct volume *volume, struct volume_request *request) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (lookup(volume, request, request_first(request), request_blocks(request)) == 0) {
        volume->ops->read(volume->ctx, request, request->pieces, request->n_pieces);
        return;
    }
    lookup_unpin(volume, request);
    error_set(&err, S3PVE_E_NOMEM, "no memory for a read");
    volume->ops->answer(volume->ctx, request, &err);
}

void volume_submit(struct volume *volume, struct volume_request *request) {
    if (volume->failure.code) {
        machine_answer(volume, request);
        return;
    }
    request->n_taken = 0;
    request->edges = has_edges(request) ? EDGES_MISSING : EDGES_NONE;
    switch (request->type) {
    case VOLUME_READ: read(volume, request); return;
    case VOLUME_FLUSH: /* covers what was answered before it */
        request->jseq = volume->jseq_written;
        queue_add(&volume->flushes, request);
        journal_flush(volume);
        break;
    case VOLUME_WRITE:
    case VOLUME_ZERO:
        queue_add(&volume->queue, request);
        journal_move(volume);
        break;
    }
    seal_move(volume);
}

void volume_tick(struct volume *volume, int64_t now_ms) {
    assert(now_ms >= volume->now_ms);
    volume->now_ms = now_ms;
    if (volume->failure.code)
        return;
    journal_flush(volume); /* the lease may be valid again */
    seal_move(volume);
}

void volume_read_done(
    struct volume *volume, struct volume_request *request, const struct s3pve_error *err
) {
    lookup_unpin(volume, request);
    volume->ops->answer(volume->ctx, request, err);
    if (!volume->failure.code)
        journal_move(volume);
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
    if (err) { /* the bytes around it are not to be had: this write alone fails */
        volume->ops->answer(volume->ctx, queue_take(&volume->queue), err);
    }
    journal_move(volume);
    seal_move(volume);
}
