/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * seal.c - batches become segments
 *
 * The list of batches, oldest first:
 *
 *     applied, read from | stored | sealed: on their way | full: waiting for a turn | open
 */
#include <assert.h>
#include <string.h>

#include "volume/machine.h"

/* A place for one more: their seqs follow each other, so each has its own. */
static int make_room(struct volume *volume) {
    uint64_t n = volume->last ? volume->last->seq - volume->first->seq + 2 : 1;
    uint32_t room = volume->by_seq_room ? volume->by_seq_room : 8;
    struct batch **by_seq;

    while (room < n)
        room *= 2;
    if (room == volume->by_seq_room)
        return 0;
    by_seq = calloc(room, sizeof(*by_seq));
    if (!by_seq)
        return -1;
    for (struct batch *batch = volume->first; batch; batch = batch->next)
        by_seq[batch->seq % room] = batch;
    free(volume->by_seq);
    volume->by_seq = by_seq;
    volume->by_seq_room = room;
    return 0;
}

static struct batch *begin_batch(struct volume *volume) {
    uint64_t seq = volume->last ? volume->last->seq + 1 : volume->tip + 1;
    struct batch *batch = make_room(volume) < 0 ? NULL : batch_new(seq);

    if (!batch)
        return NULL;
    batch->since_ms = volume->now_ms;
    volume->by_seq[seq % volume->by_seq_room] = batch;
    if (volume->last)
        volume->last->next = batch;
    else
        volume->first = batch;
    return volume->last = batch;
}

struct batch *seal_batch_for(struct volume *volume, const struct jrecord *record) {
    struct batch *batch = volume->last;

    if (!batch || batch->sealed || !batch_has_room(batch, record, volume->params.segment_blocks))
        batch = begin_batch(volume);
    if (!batch)
        machine_fail_memory(volume);
    else if (batch_is_empty(batch))
        batch->since_ms = volume->now_ms;
    return batch;
}

struct batch *batch_of(const struct volume *volume, uint32_t seq) {
    struct batch *batch;

    if (!volume->first)
        return NULL;
    batch = volume->by_seq[seq % volume->by_seq_room];
    return batch && (uint32_t)batch->seq == seq ? batch : NULL;
}

/* --------------------------------------------------------------------- seal */

static void fill_segment(struct volume *volume, struct batch *batch) {
    struct segment *segment = &batch->segment;

    segment->id = (struct segment_id){batch->seq, volume->epoch, volume->nonce};
    segment->type = SEGMENT_DATA;
    segment->prev_seq = batch->seq - 1;
    segment->size_blocks = (volume->params.size + BLOCK - 1) / BLOCK;
    memcpy(segment->uuid, volume->params.uuid, UUID_LEN);
    memcpy(segment->prev_hash, volume->sealed_hash, HASH_LEN);
}

static void seal(struct volume *volume, struct batch *batch) {
    _cleanup_(buf_clear) struct buf header = {0};
    _free_ struct batch_piece *pieces = NULL;
    uint32_t n;

    if (batch_effect(batch, &pieces, &n) < 0) {
        machine_fail_memory(volume);
        return;
    }
    fill_segment(volume, batch);
    if (segment_encode(&batch->segment, &header) < 0) {
        machine_fail_memory(volume);
        return;
    }
    segment_hash(header.data, header.len, batch->hash);
    memcpy(volume->sealed_hash, batch->hash, HASH_LEN);
    batch->sealed = true;
    volume->n_puts++;
    volume->ops->segment_put(volume->ctx, &batch->segment.id, header.data, header.len, pieces, n);
}

/* Does somebody wait for what is in it? */
static bool is_wanted(const struct volume *volume, const struct batch *batch) {
    const struct volume_request *flush = volume->flushes.head;
    int64_t age = volume->now_ms - batch->since_ms;

    if (batch_is_empty(batch))
        return false;
    if (batch != volume->last || volume->draining || age >= (int64_t)volume->params.seal_age_ms)
        return true;
    if (volume->params.bucket && flush && flush->jseq >= batch->jseq_first)
        return true;
    return ring_used(&volume->ring) > volume->ring.len / 2;
}

/* A segment may hold records only whose data the runtime can read back: those that are written. */
void seal_move(struct volume *volume) {
    for (struct batch *batch = volume->first; batch && !volume->failure.code; batch = batch->next) {
        if (batch->sealed)
            continue;
        if (volume->n_puts >= volume->params.puts || !is_wanted(volume, batch) ||
            batch->jseq_last > volume->jseq_written)
            break;
        seal(volume, batch);
    }
}

void volume_segment_stored(struct volume *volume, uint64_t seq) {
    struct batch *batch = batch_of(volume, (uint32_t)seq);

    assert(batch && batch->sealed && !batch->stored);
    batch->stored = true;
    volume->n_puts--;
    while ((batch = batch_of(volume, (uint32_t)volume->stored + 1)) && batch->stored) {
        volume->stored = batch->seq;
        volume->jseq_stored = batch->jseq_last;
    }
    machine_move(volume);
}

/* -------------------------------------------------------------------- drain */

void volume_drain(struct volume *volume, bool drain) {
    volume->draining = drain;
    machine_move(volume);
}

bool volume_is_drained(const struct volume *volume) {
    return !volume->queue.head && !volume->unanswered.head && !volume->flushes.head &&
           !volume->waiting.head && volume->jseq_applied == volume->jseq && !volume->checkpoint &&
           !volume->superblock_busy && volume->published == volume->tip;
}
