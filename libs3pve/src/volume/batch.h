/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * batch.h - records that follow each other, on their way to become one segment
 *
 * Their net effect is what the segment says: of writes to the same block the newest, in order of
 * block (I2).
 */
#ifndef VOLUME_BATCH_H
#define VOLUME_BATCH_H

#include "volume/jrecord.h"
#include "volume/map.h"

/* One entry of a record, and where its data is. */
struct batch_write {
    uint64_t block;
    uint32_t n;
    enum extent_kind kind;
    uint32_t data; /* DATA: its first block among those of the batch */
    uint64_t ring; /* DATA: position of its first block */
};

/* Data blocks of a segment that lie one after the other in the ring. */
struct batch_piece {
    uint64_t ring; /* position */
    uint32_t n;    /* blocks */
};

struct batch {
    struct batch *next;
    uint64_t seq;                   /* of its segment */
    uint64_t jseq_first, jseq_last; /* of its records; first > last: none yet */
    uint64_t ring_first, ring_end;  /* positions, padding included */
    int64_t since_ms;               /* when its first record came */
    struct batch_write *writes;     /* owned; in order of jseq */
    uint32_t n_writes, writes_room;
    uint32_t *sums;             /* owned; of its data blocks, as they came */
    uint32_t n_data, sums_room; /* those written twice count twice */
    unsigned pins;              /* readers of its records in the ring */
    struct segment segment;     /* owned; what it comes to, once it is sealed */
    uint8_t hash[HASH_LEN];     /* of its header */
    bool sealed, stored, applied;
};

/* In the overlay, where a discard hides what is below. */
static inline enum place_kind place_kind_of(enum extent_kind kind) {
    static const enum place_kind kinds[] = {
        [EXTENT_DATA] = PLACE_DATA,
        [EXTENT_ZERO] = PLACE_ZERO,
        [EXTENT_UNMAP] = PLACE_UNMAP,
    };

    return kinds[kind];
}

struct batch *batch_new(uint64_t seq);
struct batch *batch_free(struct batch *batch);

static inline bool batch_is_empty(const struct batch *batch) {
    return batch->n_writes == 0;
}

/* Does @record go into it, if it is to have no more than @n_blocks of data?  An empty one takes
 * any. */
bool batch_has_room(const struct batch *batch, const struct jrecord *record, uint32_t n_blocks);

/* A record that begins at @position of the ring.  Return: 0, or -1 without memory, unchanged. */
int batch_add(struct batch *batch, const struct jrecord *record, uint64_t position);

/*
 * The net effect into batch->segment: extents, laid out, and sums.  In *ret_pieces, which the
 * caller frees, the pieces their data is made of, in order.  Return: 0, or -1 without memory.
 */
int batch_effect(struct batch *batch, struct batch_piece **ret_pieces, uint32_t *ret_n);

#endif
