/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * apply.c - stored segments, in order of seq, move the map (I4)
 *
 * One after the other, and leaf by leaf, so that none but the leaf at hand has to be in memory.
 * Between two of them is where a checkpoint is taken (I6).
 */
#include <assert.h>
#include <string.h>

#include "volume/machine.h"

struct displacing {
    struct table *table;
    uint64_t seq;
    uint32_t n;
};

static void displace(void *ctx, uint64_t block, uint32_t n, place_t place) {
    struct displacing *displacing = ctx;

    displacing->n += n;
    if (place_kind(place) == PLACE_DATA)
        table_displace(displacing->table, map_row(place), n, displacing->seq);
}

/* What of the overlay is still of this batch; what newer ones wrote stays. */
static int uncover(struct volume *volume, const struct batch *batch, uint64_t block, uint32_t n) {
    uint64_t end = block + n;

    for (; block < end; block += n) {
        place_t place = map_find(volume->overlay, block, (uint32_t)(end - block), &n);

        if (place_kind(place) == PLACE_NONE || overlay_seq(place) != (uint32_t)batch->seq)
            continue;
        if (map_set(volume->overlay, block, n, PLACE_NONE) < 0)
            return -1;
    }
    return 0;
}

/* @n blocks of an extent, within one leaf. */
static int apply_part(struct volume *volume, const struct extent *extent, uint32_t n) {
    static const enum place_kind kinds[] = {
        [EXTENT_DATA] = PLACE_DATA,
        [EXTENT_ZERO] = PLACE_ZERO,
        [EXTENT_UNMAP] = PLACE_NONE,
    };
    const struct applying *applying = &volume->applying;
    struct displacing displacing = {&volume->table, applying->segment->id.seq, 0};
    uint64_t block = extent->block + applying->done;
    place_t place = map_place(applying->row, extent->data + applying->done, kinds[extent->kind]);

    map_each(volume->map, block, block + n, displace, &displacing);
    if (displacing.n || place_kind(place) != PLACE_NONE)
        if (leaves_touch(&volume->leaves, block) < 0 || map_set(volume->map, block, n, place) < 0)
            return -1;
    return applying->batch ? uncover(volume, applying->batch, block, n) : 0;
}

static uint32_t within_leaf(const struct extent *extent, uint32_t done) {
    uint32_t left = MAP_LEAF - (uint32_t)((extent->block + done) % MAP_LEAF);

    return extent->n - done < left ? extent->n - done : left;
}

int apply_begin(struct volume *volume, const struct segment *segment, struct batch *batch) {
    int64_t row = table_add_segment(&volume->table, segment);

    assert(segment->id.seq == volume->tip + 1 && !volume->applying.segment); /* (I4) */
    if (row < 0)
        return -1;
    volume->applying = (struct applying){.segment = segment, .batch = batch, .row = (uint32_t)row};
    return 0;
}

static void applied(struct volume *volume) {
    struct applying *applying = &volume->applying;

    if (volume->tip == volume->taken_seq)
        volume->dirty_since_ms = volume->now_ms;
    volume->tip = applying->segment->id.seq;
    volume->jseq_applied = applying->segment->jseq_last;
    volume->blocks_since += applying->segment->n_data;
    if (applying->batch) {
        memcpy(volume->tip_hash, applying->batch->hash, HASH_LEN);
        applying->batch->applied = true;
    }
    applying->segment = NULL;
}

int apply_some(struct volume *volume, struct page_id *ret_missing) {
    struct applying *applying = &volume->applying;

    while (applying->extent < applying->segment->n_extents) {
        const struct extent *extent = &applying->segment->extents[applying->extent];
        uint32_t n = within_leaf(extent, applying->done);

        if (!leaves_have(&volume->leaves, extent->block + applying->done, ret_missing))
            return 0;
        if (apply_part(volume, extent, n) < 0)
            return -1;
        applying->done += n;
        if (applying->done == extent->n) {
            applying->extent++;
            applying->done = 0;
        }
    }
    applied(volume);
    return 1;
}

bool apply_wants(struct volume *volume, struct page_id *ret_missing) {
    struct applying *applying = &volume->applying;

    while (applying->ahead_extent < applying->segment->n_extents) {
        const struct extent *extent = &applying->segment->extents[applying->ahead_extent];
        uint64_t block = extent->block + applying->ahead_done;

        if (!leaves_have(&volume->leaves, block, ret_missing)) {
            if (!leaves_find(&volume->leaves, ret_missing)->asked)
                return true;
            if (ret_missing->kind == PAGE_NODE) /* which leaves, it will say */
                return false;
        }
        applying->ahead_done += within_leaf(extent, applying->ahead_done);
        if (applying->ahead_done == extent->n) {
            applying->ahead_extent++;
            applying->ahead_done = 0;
        }
    }
    return false;
}

static void wait_for(struct volume *volume, const struct page_id *missing) {
    struct page_id ahead;

    want_page(volume, missing);
    while (volume->leaves.n_asked < PAGES_IN_FLIGHT && apply_wants(volume, &ahead))
        want_page(volume, &ahead);
}

/* A checkpoint has to come first, or the map would take any amount of memory. */
static bool is_full(const struct volume *volume) {
    return volume->tip > volume->published &&
           leaves_held_bytes(&volume->leaves, volume->map) > volume->params.map_memory;
}

/* Return: whether there is more to do at once. */
static bool move_on(struct volume *volume) {
    struct batch *batch = batch_of(volume, (uint32_t)volume->tip + 1);
    struct page_id missing;
    int rc;

    if (!volume->applying.segment) {
        take_move(volume);
        if (volume->tip == volume->stored || volume->failure.code || is_full(volume))
            return false;
    }
    rc = volume->applying.segment ? 0 : apply_begin(volume, &batch->segment, batch);
    if (rc == 0)
        rc = apply_some(volume, &missing);
    if (rc == 0)
        wait_for(volume, &missing);
    if (rc < 0)
        machine_fail_memory(volume);
    return rc > 0;
}

void apply_move(struct volume *volume) {
    while (!volume->failure.code && move_on(volume))
        ;
}
