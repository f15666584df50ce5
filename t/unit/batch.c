/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What a batch comes to is what its writes, one after the other, do to an array of blocks. */
#include <string.h>

#include "tap.h"
#include "volume/batch.h"

#define BLOCKS 3000u
#define NONE UINT64_MAX /* not touched */
#define ZERO (UINT64_MAX - 1)
#define UNMAP (UINT64_MAX - 2)

static uint64_t model[BLOCKS]; /* position in the ring, or one of these */
static struct jrecord record;
static uint64_t seed = 1;

static uint32_t chance(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static void record_begin(uint64_t jseq) {
    record = (struct jrecord){.type = JRECORD_WRITE, .jseq = jseq};
}

static void record_write(uint64_t block, uint32_t n, enum extent_kind kind) {
    record.entries[record.n_entries++] =
        (struct jrecord_entry){.block = block, .n = n, .kind = kind};
}

static void add(struct batch *batch, uint64_t position) {
    jrecord_layout(&record);
    for (uint32_t i = 0; i < record.n_data; i++)
        record.sums[i] = (uint32_t)((position + record.header_len) / BLOCK + i);
    if (batch_add(batch, &record, position) < 0)
        abort();
    for (uint32_t i = 0; i < record.n_entries; i++) {
        const struct jrecord_entry *entry = &record.entries[i];

        for (uint32_t k = 0; k < entry->n; k++)
            model[entry->block + k] = entry->kind == EXTENT_ZERO    ? ZERO
                                      : entry->kind == EXTENT_UNMAP ? UNMAP
                                                                    : position + record.header_len +
                                                                          (entry->data + k) * BLOCK;
    }
}

/* The first block that is not as in the model, or -1. */
static long long differs(
    const struct segment *segment, const struct batch_piece *pieces, uint32_t n
) {
    uint64_t seen[BLOCKS];
    uint32_t piece = 0, within = 0;

    for (uint32_t block = 0; block < BLOCKS; block++)
        seen[block] = NONE;
    for (uint32_t i = 0; i < segment->n_extents; i++) {
        const struct extent *extent = &segment->extents[i];

        for (uint32_t k = 0; k < extent->n; k++) {
            seen[extent->block + k] = extent->kind == EXTENT_ZERO ? ZERO : UNMAP;
            if (extent->kind != EXTENT_DATA)
                continue;
            if (piece == n)
                return (long long)extent->block;
            seen[extent->block + k] = pieces[piece].ring + within * (uint64_t)BLOCK;
            if (++within == pieces[piece].n)
                piece++, within = 0;
        }
    }
    for (uint32_t block = 0; block < BLOCKS; block++)
        if (seen[block] != model[block])
            return block;
    return piece == n ? -1 : (long long)BLOCKS;
}

static bool in_order(const struct segment *segment) {
    for (uint32_t i = 1; i < segment->n_extents; i++) {
        const struct extent *last = &segment->extents[i - 1], *extent = &segment->extents[i];

        if (last->block + last->n > extent->block)
            return false;
        if (last->block + last->n == extent->block && last->kind == extent->kind)
            return false; /* could be one */
    }
    return true;
}

/* A sum here is the position of the block it is of. */
static bool sums_are_right(
    const struct segment *segment, const struct batch_piece *pieces, uint32_t n_pieces
) {
    uint32_t data = 0;

    for (uint32_t i = 0; i < n_pieces; i++)
        for (uint32_t k = 0; k < pieces[i].n; k++)
            if (segment->sums[data++] != (uint32_t)(pieces[i].ring / BLOCK + k))
                return false;
    return data == segment->n_data;
}

static void check(struct batch *batch, const char *what) {
    const struct segment *segment = &batch->segment;
    _free_ struct batch_piece *pieces = NULL;
    uint32_t n = 0;

    is_int(batch_effect(batch, &pieces, &n), 0, "%s: has an effect", what);
    ok(in_order(segment), "%s: extents are in order, and as few as can be", what);
    is_int(differs(segment, pieces, n), -1, "%s: the newest of each block", what);
    ok(sums_are_right(segment, pieces, n), "%s: with its sum", what);
    is_int(
        (long long)segment->jseq_first, (long long)batch->jseq_first, "%s: from the first", what
    );
    is_int(
        (long long)segment->jseq_last, (long long)batch->jseq_last, "%s: to the last record", what
    );
}

static struct batch *fresh(void) {
    for (uint32_t block = 0; block < BLOCKS; block++)
        model[block] = NONE;
    return batch_new(1);
}

static void test_overlap(void) {
    struct batch *batch = fresh();

    record_begin(10);
    record_write(100, 10, EXTENT_DATA);
    record_write(104, 2, EXTENT_DATA);
    record_write(110, 5, EXTENT_DATA);
    add(batch, 0);
    record_begin(11);
    record_write(98, 4, EXTENT_UNMAP);
    record_write(108, 1, EXTENT_ZERO);
    add(batch, 1 << 20);
    check(batch, "head, middle and tail overwritten");
    is_int(batch->n_data, 17, "what was written twice is counted twice");
    batch_free(batch);
}

static void test_random(void) {
    struct batch *batch = fresh();
    uint64_t position = 0;

    for (uint64_t jseq = 1; jseq < 60; jseq++) {
        record_begin(jseq);
        for (uint32_t i = 1 + chance(20); i > 0; i--) {
            uint32_t n = 1 + chance(chance(4) ? 6 : 900);

            if (record.n_entries && n > 6)
                n = 1; /* a record's data is bounded */
            record_write(chance(BLOCKS - n), n, (enum extent_kind)(chance(4) % 3));
        }
        add(batch, position);
        position += jrecord_len(&record);
    }
    check(batch, "many records");
    batch_free(batch);
}

static void test_room(void) {
    struct batch *batch = fresh();

    record_begin(1);
    record_write(0, 100, EXTENT_DATA);
    jrecord_layout(&record);
    ok(batch_has_room(batch, &record, 64), "an empty batch takes any record");
    add(batch, 0);
    record_begin(2);
    record_write(0, 28, EXTENT_DATA);
    jrecord_layout(&record);
    ok(batch_has_room(batch, &record, 128), "another one that fits");
    ok(!batch_has_room(batch, &record, 127), "but not one that does not");
    record_begin(2);
    record_write(0, 1000, EXTENT_ZERO);
    jrecord_layout(&record);
    ok(batch_has_room(batch, &record, 100), "zeroes need no room");
    batch->n_writes = BATCH_WRITES_MAX;
    ok(!batch_has_room(batch, &record, 200), "but the writes are counted");
    batch_free(batch);
}

int main(void) {
    test_overlap();
    test_random();
    test_room();
    return done_testing();
}
