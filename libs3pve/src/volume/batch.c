/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <assert.h>
#include <string.h>

#include "volume/batch.h"
#include "volume/map.h"

#define ROOM_MIN 64

DEFINE_CLEANUP(struct map *, map_free)

struct batch *batch_new(uint64_t seq) {
    struct batch *batch = calloc(1, sizeof(*batch));

    if (batch)
        batch->seq = seq;
    return batch;
}

struct batch *batch_free(struct batch *batch) {
    if (batch) {
        segment_clear(&batch->segment);
        free(batch->writes);
        free(batch->sums);
    }
    free(batch);
    return NULL;
}

bool batch_has_room(const struct batch *batch, const struct jrecord *record, uint32_t n_blocks) {
    return batch_is_empty(batch) || (batch->n_data + record->n_data <= n_blocks &&
                                     batch->n_writes + record->n_entries <= BATCH_WRITES_MAX);
}

/* At least @n items at *items, of which there is *room. */
static int make_room(void *items, uint32_t *room, uint32_t n, size_t size) {
    uint32_t larger = *room ? *room : ROOM_MIN;
    void *moved;

    while (larger < n)
        larger *= 2;
    if (larger == *room)
        return 0;
    moved = reallocarray(*(void **)items, larger, size);
    if (!moved)
        return -1;
    *(void **)items = moved;
    *room = larger;
    return 0;
}

static int make_room_for(struct batch *batch, const struct jrecord *record) {
    uint32_t n_writes = batch->n_writes + record->n_entries,
             n_data = batch->n_data + record->n_data;

    if (make_room(&batch->writes, &batch->writes_room, n_writes, sizeof(*batch->writes)) < 0)
        return -1;
    return make_room(&batch->sums, &batch->sums_room, n_data, sizeof(*batch->sums));
}

int batch_add(struct batch *batch, const struct jrecord *record, uint64_t position) {
    bool first = batch_is_empty(batch);

    assert(first || record->jseq == batch->jseq_last + 1); /* (I2) */
    if (make_room_for(batch, record) < 0)
        return -1;
    if (first) {
        batch->jseq_first = record->jseq;
        batch->ring_first = position;
    }
    batch->jseq_last = record->jseq;
    batch->ring_end = position + jrecord_len(record);
    memcpy(batch->sums + batch->n_data, record->sums, record->n_data * sizeof(*record->sums));
    for (uint32_t i = 0; i < record->n_entries; i++) {
        const struct jrecord_entry *entry = &record->entries[i];

        batch->writes[batch->n_writes++] = (struct batch_write){
            .block = entry->block,
            .n = entry->n,
            .kind = entry->kind,
            .data = batch->n_data + entry->data,
            .ring = position + record->header_len + (uint64_t)entry->data * BLOCK,
        };
    }
    batch->n_data += record->n_data;
    return 0;
}

/* ------------------------------------------------------------------- effect */

struct effect {
    const struct batch *batch;
    struct segment *segment;
    struct batch_piece *pieces;
    uint32_t n_pieces;
};

/* A place is the number of a block among those of the batch; kind needs the two lowest bits. */
static place_t place_of(const struct batch_write *write) {
    return (write->kind == EXTENT_DATA ? (place_t)write->data << 2 : 0) |
           place_kind_of(write->kind);
}

static enum extent_kind kind_of(place_t place) {
    static const enum extent_kind kinds[] = {
        [PLACE_DATA] = EXTENT_DATA,
        [PLACE_ZERO] = EXTENT_ZERO,
        [PLACE_UNMAP] = EXTENT_UNMAP,
    };

    return kinds[place_kind(place)];
}

/* The write that brought data block @data: the last one that begins at it or before. */
static const struct batch_write *write_of(const struct batch *batch, uint32_t data) {
    uint32_t low = 0, high = batch->n_writes;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (batch->writes[middle].data <= data)
            low = middle;
        else
            high = middle;
    }
    return &batch->writes[low];
}

static void add_piece(struct effect *effect, uint64_t ring, uint32_t n) {
    struct batch_piece *last = effect->n_pieces ? &effect->pieces[effect->n_pieces - 1] : NULL;

    if (last && last->ring + (uint64_t)last->n * BLOCK == ring)
        last->n += n;
    else
        effect->pieces[effect->n_pieces++] = (struct batch_piece){ring, n};
}

static void add_data(struct effect *effect, uint32_t data, uint32_t n) {
    struct segment *segment = effect->segment;

    memcpy(segment->sums + segment->n_data, effect->batch->sums + data, n * sizeof(*segment->sums));
    segment->n_data += n;
    while (n > 0) {
        const struct batch_write *write = write_of(effect->batch, data);
        uint32_t within = data - write->data;
        uint32_t now = write->n - within < n ? write->n - within : n;

        add_piece(effect, write->ring + (uint64_t)within * BLOCK, now);
        data += now;
        n -= now;
    }
}

static void add_run(void *ctx, uint64_t block, uint32_t n, place_t place) {
    struct effect *effect = ctx;
    struct segment *segment = effect->segment;
    struct extent *last = segment->n_extents ? &segment->extents[segment->n_extents - 1] : NULL;
    enum extent_kind kind = kind_of(place);

    if (kind == EXTENT_DATA)
        add_data(effect, (uint32_t)(place >> 2), n);
    if (last && last->kind == kind && last->block + last->n == block)
        last->n += n;
    else
        segment->extents[segment->n_extents++] =
            (struct extent){.block = block, .n = n, .kind = kind};
}

static void count_run(void *ctx, uint64_t block, uint32_t n, place_t place) {
    ++*(uint32_t *)ctx;
}

static struct map *map_of(const struct batch *batch) {
    _cleanup_(map_freep) struct map *map = map_new(1 << 2);

    for (uint32_t i = 0; map && i < batch->n_writes; i++) {
        const struct batch_write *write = &batch->writes[i];

        if (map_set(map, write->block, write->n, place_of(write)) < 0)
            return NULL;
    }
    return steal_ptr(&map);
}

int batch_effect(struct batch *batch, struct batch_piece **ret_pieces, uint32_t *ret_n) {
    _cleanup_(map_freep) struct map *map = map_of(batch);
    struct effect effect = {.batch = batch, .segment = &batch->segment};
    struct segment *segment = &batch->segment;
    uint32_t n_runs = 0;

    if (!map)
        return -1;
    map_each(map, 0, UINT64_MAX, count_run, &n_runs);
    segment->extents = calloc(n_runs + 1, sizeof(*segment->extents));
    segment->sums = calloc(batch->n_data + 1, sizeof(*segment->sums));
    effect.pieces = calloc(n_runs + batch->n_writes + 1, sizeof(*effect.pieces));
    if (!segment->extents || !segment->sums || !effect.pieces) {
        free(effect.pieces);
        return -1;
    }
    map_each(map, 0, UINT64_MAX, add_run, &effect);
    segment->jseq_first = batch->jseq_first;
    segment->jseq_last = batch->jseq_last;
    *ret_pieces = effect.pieces;
    *ret_n = effect.n_pieces;
    return segment_layout(segment);
}
