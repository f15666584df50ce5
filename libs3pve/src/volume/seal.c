/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * seal.c - batches become segments; stored ones, in order of seq, move the map (I4)
 *
 * The list of batches, oldest first:
 *
 *     applied, read from | stored | sealed: on their way | full: waiting for a turn | open
 */
#include <assert.h>
#include <string.h>

#include "volume/machine.h"

static struct batch *begin_batch(struct volume *volume) {
    uint64_t seq = volume->last ? volume->last->seq + 1 : volume->tip + 1;
    struct batch *batch = batch_new(seq);

    if (!batch)
        return NULL;
    batch->since_ms = volume->now_ms;
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

struct batch *batch_of(struct volume *volume, uint32_t seq) {
    struct batch *batch = volume->first;

    while (batch && (uint32_t)batch->seq != seq)
        batch = batch->next;
    return batch;
}

/* --------------------------------------------------------------------- seal */

static void fill_segment(struct volume *volume, struct batch *batch) {
    struct segment *segment = &batch->segment;

    segment->id = (struct segment_id){batch->seq, volume->epoch, volume->nonce};
    segment->type = SEGMENT_DATA;
    segment->prev_seq = batch->seq - 1;
    segment->size_blocks = (volume->params.size + BLOCK - 1) / BLOCK;
    memcpy(segment->uuid, volume->params.uuid, UUID_LEN);
    memcpy(segment->prev_hash, volume->tip_hash, HASH_LEN);
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
    segment_hash(header.data, header.len, volume->tip_hash);
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
    if (batch != volume->last || age >= (int64_t)volume->params.seal_age_ms)
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
    if (volume->last && !volume->last->sealed && !batch_is_empty(volume->last))
        volume->ops->wake_at(
            volume->ctx, volume->last->since_ms + (int64_t)volume->params.seal_age_ms
        );
}

/* -------------------------------------------------------------------- apply */

struct applying {
    struct table *table;
    uint64_t seq;
};

static void displace(void *ctx, uint64_t block, uint32_t n, place_t place) {
    const struct applying *applying = ctx;

    if (place_kind(place) == PLACE_DATA)
        table_displace(applying->table, map_row(place), n, applying->seq);
}

static place_t place_of(uint32_t row, const struct extent *extent) {
    static const enum place_kind kinds[] = {
        [EXTENT_DATA] = PLACE_DATA,
        [EXTENT_ZERO] = PLACE_ZERO,
        [EXTENT_UNMAP] = PLACE_NONE,
    };

    return map_place(row, extent->data, kinds[extent->kind]);
}

int seal_apply(struct volume *volume, const struct segment *segment) {
    struct applying applying = {&volume->table, segment->id.seq};
    int64_t row = table_add(&volume->table, segment);

    assert(segment->id.seq == volume->tip + 1); /* (I4) */
    if (row < 0)
        return -1;
    for (uint32_t i = 0; i < segment->n_extents; i++) {
        const struct extent *extent = &segment->extents[i];

        map_each(volume->map, extent->block, extent->block + extent->n, displace, &applying);
        if (map_set(volume->map, extent->block, extent->n, place_of((uint32_t)row, extent)) < 0)
            return -1;
    }
    volume->tip = segment->id.seq;
    return 0;
}

/* What of the overlay is still of this batch; what newer ones wrote stays. */
static int uncover(struct volume *volume, const struct batch *batch, const struct extent *extent) {
    uint64_t block = extent->block, end = block + extent->n;
    uint32_t n;

    for (; block < end; block += n) {
        place_t place = map_find(volume->overlay, block, (uint32_t)(end - block), &n);

        if (place_kind(place) == PLACE_NONE || overlay_seq(place) != (uint32_t)batch->seq)
            continue;
        if (map_set(volume->overlay, block, n, PLACE_NONE) < 0)
            return -1;
    }
    return 0;
}

static int apply(struct volume *volume, struct batch *batch) {
    if (seal_apply(volume, &batch->segment) < 0)
        return -1;
    for (uint32_t i = 0; i < batch->segment.n_extents; i++)
        if (uncover(volume, batch, &batch->segment.extents[i]) < 0)
            return -1;
    batch->applied = true;
    volume->jseq_applied = batch->jseq_last;
    return 0;
}

void volume_segment_stored(struct volume *volume, uint64_t seq) {
    struct batch *batch = batch_of(volume, (uint32_t)seq);

    assert(batch && batch->sealed && !batch->stored);
    batch->stored = true;
    volume->n_puts--;
    for (batch = volume->first; batch && !volume->failure.code; batch = batch->next) {
        if (batch->applied)
            continue;
        if (!batch->stored)
            break;
        if (apply(volume, batch) < 0)
            machine_fail_memory(volume);
    }
    if (volume->failure.code)
        return;
    journal_release(volume);
    journal_flush(volume);
    journal_move(volume);
    seal_move(volume);
}
