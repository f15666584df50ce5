/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * machine.h - what the parts of the machine share: its state, and how they move each other
 *
 *     volume.c    requests in, answers out
 *     journal.c   requests --> records, and what is answered when they are written
 *     seal.c      batches --> segments, and the map when they are stored
 *     lookup.c    reads
 */
#ifndef VOLUME_MACHINE_H
#define VOLUME_MACHINE_H

#include "volume/map.h"
#include "volume/table.h"
#include "volume/volume.h"

/* Requests in the order they came. */
struct queue {
    struct volume_request *head, **tail;
};

struct volume {
    struct volume_params params;
    const struct volume_ops *ops;
    void *ctx;
    struct s3pve_error failure; /* .code S3PVE_OK while all is well; then all there is to answer */
    int64_t now_ms;
    uint32_t epoch, nonce;

    /* journal.c */
    struct queue queue;      /* writes that wait for a record, the first maybe in part in one */
    struct queue unanswered; /* writes whose records are not all written */
    struct queue flushes;    /* and writes with FUA, by jseq */
    struct jrecord record;   /* being made */
    struct ring ring;
    uint32_t seed;
    uint64_t jseq;                        /* the last record there is */
    uint64_t jseq_written;                /* up to it all are written */
    uint64_t jseq_synced;                 /* and are on the disk */
    uint64_t jseq_syncing;                /* what the sync under way covers; 0: none is */
    unsigned writing[JRECORDS_IN_FLIGHT]; /* of the records above it, by jseq: writes under way */
    uint64_t generation;                  /* of the superblock */
    uint64_t keeping;                     /* the tail in the one being written; 0: none is */
    bool superblock_busy;

    /* seal.c */
    struct batch *first, *last; /* in order of seq; the last one is open */
    unsigned n_puts;
    uint64_t tip, jseq_applied; /* of the bucket, and of the map */
    uint8_t tip_hash[HASH_LEN]; /* of the header that was sealed last */
    struct map *overlay, *map;
    struct table table;
};

/* The place of a block in the overlay: its batch, and where in the ring. */
static inline place_t overlay_place(uint64_t seq, uint64_t ring_block, enum place_kind kind) {
    return seq << 32 | (kind == PLACE_DATA ? ring_block << 2 : 0) | kind;
}

static inline uint32_t overlay_seq(place_t place) {
    return (uint32_t)(place >> 32);
}

static inline uint64_t overlay_ring_block(place_t place) {
    return place >> 2 & ((1u << 30) - 1);
}

#define OVERLAY_STEP (1u << 2)

/* And in the map: its row, and where in the segment's data. */
static inline place_t map_place(uint32_t row, uint32_t data, enum place_kind kind) {
    return kind == PLACE_DATA ? (place_t)row << 32 | (place_t)(data * (BLOCK / 512)) << 16 | kind
                              : (place_t)kind;
}

static inline uint32_t map_row(place_t place) {
    return (uint32_t)(place >> 32);
}

static inline uint32_t map_data(place_t place) {
    return (uint32_t)(place >> 16 & 0xffff) / (BLOCK / 512);
}

#define MAP_STEP ((place_t)(BLOCK / 512) << 16)

void queue_add(struct queue *queue, struct volume_request *request);
struct volume_request *queue_take(struct queue *queue);

/* --- volume.c */

/* The end: nothing is acknowledged any more. */
void machine_fail(struct volume *volume, const struct s3pve_error *cause);
void machine_fail_memory(struct volume *volume);
void machine_answer(struct volume *volume, struct volume_request *request);

/* --- journal.c */

void journal_move(struct volume *volume); /* waiting writes into records, as far as there is room */
void journal_flush(struct volume *volume);   /* answer flushes, and sync for those that wait */
void journal_release(struct volume *volume); /* what the bucket has */

/* The record in volume->record, which is at @position, as if it had just been written. */
int journal_replay(struct volume *volume, uint64_t position);

/* The record at the ring's tail, or the next one. */
uint64_t journal_tail_jseq(const struct volume *volume);

/* --- seal.c */

/* The map takes what @segment, the one after tip, says.  0, or -1 without memory. */
int seal_apply(struct volume *volume, const struct segment *segment);

/* The batch the next record goes into, with room for it; NULL: fail()ed. */
struct batch *seal_batch_for(struct volume *volume, const struct jrecord *record);
void seal_move(struct volume *volume); /* what is full, old or waited for becomes segments */
struct batch *batch_of(struct volume *volume, uint32_t seq); /* by its lowest bits */

/* --- lookup.c */

/* Pieces of @n blocks from @block on, added to the request's, and pinned.  0, or -1: no memory. */
int lookup(struct volume *volume, struct volume_request *request, uint64_t block, uint32_t n);
void lookup_unpin(struct volume *volume, struct volume_request *request);

#endif
