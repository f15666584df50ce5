/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * journal.c - requests become records, all that wait in the next one; a record is answered when it
 * and all before it are written (I10), flushes when what they cover is safe (I9)
 */
#include <assert.h>
#include <string.h>

#include "volume/machine.h"

/* What a record is made from: nothing of the requests changes until there is room for it. */
struct making {
    struct volume_source sources[JRECORD_ENTRIES_MAX];
    struct volume_source takes[JRECORD_ENTRIES_MAX]; /* blocks of requests, data or not */
    uint32_t n_sources, n_takes, n_data;
};

static enum extent_kind kind_at(const struct volume_request *request, uint32_t i) {
    if (request->type == VOLUME_ZERO && !request_is_edge(request, i))
        return request->unmap ? EXTENT_UNMAP : EXTENT_ZERO;
    return request->zero[i] ? EXTENT_ZERO : EXTENT_DATA;
}

/* How many blocks from @i on are of the same kind, @max at most. */
static uint32_t run_at(const struct volume_request *request, uint32_t i, uint32_t max) {
    uint32_t n = 1, end = request_blocks(request);
    enum extent_kind kind = kind_at(request, i);

    if (request->type == VOLUME_ZERO && !request_is_edge(request, i))
        return end - i - (end - i > 1 && request_is_edge(request, end - 1));
    while (n < max && i + n < end && kind_at(request, i + n) == kind)
        n++;
    return n;
}

/* As much of @request as fits.  Return: whether that was all of it. */
static bool take(struct jrecord *record, struct making *making, struct volume_request *request) {
    uint32_t i = request->n_taken, end = request_blocks(request);

    while (i < end && record->n_entries < JRECORD_ENTRIES_MAX) {
        enum extent_kind kind = kind_at(request, i);
        uint32_t room = JRECORD_DATA_MAX - making->n_data;
        uint32_t n = run_at(request, i, room ? room : 1);

        if (kind == EXTENT_DATA && !room)
            break;
        record->entries[record->n_entries++] =
            (struct jrecord_entry){.block = request_first(request) + i, .n = n, .kind = kind};
        if (kind == EXTENT_DATA) {
            memcpy(record->sums + making->n_data, request->sums + i, n * sizeof(*record->sums));
            making->sources[making->n_sources++] = (struct volume_source){request, i, n};
            making->n_data += n;
        }
        i += n;
    }
    if (i > request->n_taken)
        making->takes[making->n_takes++] =
            (struct volume_source){request, request->n_taken, i - request->n_taken};
    return i == end;
}

static void begin_record(struct volume *volume) {
    struct jrecord *record = &volume->record;

    record->type = JRECORD_WRITE;
    record->jseq = volume->jseq + 1;
    record->epoch = volume->epoch;
    record->tip = volume->stored;
    record->n_entries = 0;
    memcpy(record->uuid, volume->params.uuid, UUID_LEN);
}

static void make_record(struct volume *volume, struct making *making) {
    begin_record(volume);
    for (struct volume_request *request = volume->queue.head; request; request = request->next) {
        if (request->edges == EDGES_MISSING || request->edges == EDGES_ASKED)
            break;
        if (!take(&volume->record, making, request))
            break;
    }
    jrecord_layout(&volume->record);
}

/* Later reads see it from now on (D1). */
static int show(struct volume *volume, const struct batch *batch, uint64_t position) {
    const struct jrecord *record = &volume->record;

    for (uint32_t i = 0; i < record->n_entries; i++) {
        const struct jrecord_entry *entry = &record->entries[i];
        uint64_t ring = ring_place(&volume->ring, position) + record->header_len +
                        (uint64_t)entry->data * BLOCK;
        place_t place = overlay_place(batch->seq, ring / BLOCK, place_kind_of(entry->kind));

        if (map_set(volume->overlay, entry->block, entry->n, place) < 0)
            return -1;
    }
    return 0;
}

int journal_replay(struct volume *volume, uint64_t position) {
    struct batch *batch = seal_batch_for(volume, &volume->record);

    if (!batch || batch_add(batch, &volume->record, position) < 0)
        return -1;
    return show(volume, batch, position);
}

/* The requests, or parts of them, that are in the record. */
static void taken(struct volume *volume, const struct making *making) {
    for (uint32_t i = 0; i < making->n_takes; i++) {
        struct volume_request *request = making->takes[i].request;

        assert(request == volume->queue.head);
        request->n_taken += making->takes[i].n;
        request->jseq = volume->jseq;
        if (request->n_taken == request_blocks(request))
            queue_add(&volume->unanswered, queue_take(&volume->queue));
    }
}

static void write_pad(struct volume *volume, uint64_t pad) {
    struct jrecord *record = &volume->record;
    uint8_t header[BLOCK];
    struct jrecord fill = {.type = JRECORD_PAD, .jseq = record->jseq, .epoch = record->epoch};

    memcpy(fill.uuid, record->uuid, UUID_LEN);
    fill.header_len = BLOCK;
    fill.n_data = (uint32_t)(pad / BLOCK - 1);
    jrecord_encode(&fill, volume->seed, header);
    volume->ops->journal_write(
        volume->ctx,
        ring_place(&volume->ring, volume->ring.head),
        record->jseq,
        header,
        BLOCK,
        NULL,
        0
    );
    volume->writing[record->jseq % JRECORDS_IN_FLIGHT]++; /* replay would end at it */
}

/* Return: whether a record is on its way. */
static bool write_record(struct volume *volume) {
    static _Thread_local struct making making;
    static _Thread_local uint8_t header[JRECORD_HEADER_MAX];
    struct jrecord *record = &volume->record;
    struct batch *batch;
    uint64_t pad, position;

    making.n_sources = making.n_takes = making.n_data = 0;
    make_record(volume, &making);
    if (!record->n_entries || !ring_has_room(&volume->ring, jrecord_len(record), &pad))
        return false;
    batch = seal_batch_for(volume, record);
    if (!batch)
        return false;
    if (pad)
        write_pad(volume, pad);
    position = ring_take(&volume->ring, jrecord_len(record));
    volume->jseq++;
    if (batch_add(batch, record, position) < 0 || show(volume, batch, position) < 0) {
        machine_fail_memory(volume);
        return false;
    }
    taken(volume, &making);
    volume->writing[record->jseq % JRECORDS_IN_FLIGHT]++;
    jrecord_encode(record, volume->seed, header);
    volume->ops->journal_write(
        volume->ctx,
        ring_place(&volume->ring, position),
        record->jseq,
        header,
        record->header_len,
        making.sources,
        making.n_sources
    );
    return true;
}

/* While a page of the map is fetched for it, they stay missing. */
static void ask_edges(struct volume *volume, struct volume_request *request) {
    int rc = lookup(volume, request);

    if (rc < 0)
        machine_fail_memory(volume);
    if (rc <= 0)
        return;
    request->edges = EDGES_ASKED;
    volume->ops->edges(volume->ctx, request, request->pieces, request->n_pieces);
}

uint64_t journal_tail_jseq(const struct volume *volume) {
    const struct batch *batch = volume->first;

    return batch && !batch_is_empty(batch) ? batch->jseq_first : volume->jseq + 1;
}

/* A superblock with the tail as it is, so that what is before it may be overwritten (I5). */
static void keep(struct volume *volume) {
    struct superblock superblock = {
        .generation = volume->generation + 1,
        .ring_len = volume->ring.len,
        .tail = ring_place(&volume->ring, volume->ring.tail),
        .tail_jseq = journal_tail_jseq(volume),
        .epoch = volume->epoch,
        .nonce = volume->nonce,
        .seed = volume->seed,
    };

    if (volume->superblock_busy)
        return;
    memcpy(superblock.uuid, volume->params.uuid, UUID_LEN);
    volume->superblock_busy = true;
    volume->generation++;
    volume->keeping = volume->ring.tail;
    volume->ops->superblock_write(volume->ctx, &superblock);
}

void journal_move(struct volume *volume) {
    while (!volume->failure.code && volume->queue.head) {
        struct volume_request *request = volume->queue.head;

        if (request->edges == EDGES_MISSING)
            ask_edges(volume, request);
        if (request->edges == EDGES_MISSING || request->edges == EDGES_ASKED ||
            volume->jseq - volume->jseq_written >= JRECORDS_IN_FLIGHT)
            break;
        if (!write_record(volume))
            break;
    }
    if (!volume->failure.code && (ring_wants_keeping(&volume->ring) ||
                                  (volume->queue.head && volume->ring.tail > volume->ring.kept)))
        keep(volume);
}

void journal_release(struct volume *volume) {
    struct batch *batch;

    while ((batch = volume->first) && batch->applied && !batch->pins) {
        ring_release(&volume->ring, batch->ring_end);
        volume->by_seq[batch->seq % volume->by_seq_room] = NULL;
        volume->first = batch->next;
        if (!volume->first)
            volume->last = NULL;
        batch_free(batch);
    }
}

/* ------------------------------------------------------- what comes back */

static bool is_safe(const struct volume *volume, uint64_t jseq) {
    if (!volume->params.bucket)
        return volume->jseq_synced >= jseq;
    return volume->jseq_stored >= jseq && volume->ops->lease_valid(volume->ctx);
}

void journal_flush(struct volume *volume) {
    while (volume->flushes.head && !volume->failure.code &&
           is_safe(volume, volume->flushes.head->jseq))
        machine_answer(volume, queue_take(&volume->flushes));
    if (!volume->flushes.head || volume->params.bucket || volume->jseq_syncing ||
        volume->failure.code)
        return;
    volume->jseq_syncing = volume->jseq_written;
    volume->ops->journal_sync(volume->ctx);
}

static void answer_written(struct volume *volume) {
    while (volume->unanswered.head && volume->unanswered.head->jseq <= volume->jseq_written) {
        struct volume_request *request = queue_take(&volume->unanswered);

        if (request->fua)
            queue_add(&volume->flushes, request);
        else
            machine_answer(volume, request);
    }
}

void volume_journal_written(struct volume *volume, uint64_t jseq, const struct s3pve_error *err) {
    if (volume->failure.code)
        return;
    if (err) {
        machine_fail(volume, err);
        return;
    }
    volume->writing[jseq % JRECORDS_IN_FLIGHT]--;
    while (volume->jseq_written < volume->jseq &&
           volume->writing[(volume->jseq_written + 1) % JRECORDS_IN_FLIGHT] == 0)
        volume->jseq_written++;
    answer_written(volume);
    machine_move(volume);
}

void volume_journal_synced(struct volume *volume, const struct s3pve_error *err) {
    if (volume->failure.code)
        return;
    if (err) { /* what it did write nobody knows, and a second one would not tell */
        machine_fail(volume, err);
        return;
    }
    volume->jseq_synced = volume->jseq_syncing;
    volume->jseq_syncing = 0;
    machine_move(volume);
}

void volume_superblock_written(struct volume *volume, const struct s3pve_error *err) {
    volume->superblock_busy = false;
    if (volume->failure.code)
        return;
    if (err) {
        machine_fail(volume, err);
        return;
    }
    ring_keep(&volume->ring, volume->keeping);
    machine_move(volume);
}
