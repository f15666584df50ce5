/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * machine.h - what the parts of the machine share: its state, and how they move each other
 *
 *     volume.c    requests in, answers out
 *     lookup.c    reads
 *     journal.c   requests --> records, and what is answered when they are written
 *     seal.c      batches --> segments
 *     apply.c     stored segments --> the map
 *     want.c      pages of the map, when they are not here
 *     take.c      the map --> a checkpoint
 *     tidy.c      MAP objects that are mostly dead
 *     sweep.c     objects that a checkpoint no longer needs
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

/* A segment on its way into the map. */
struct applying {
    const struct segment *segment;     /* NULL: none is */
    struct batch *batch;               /* whose it is, while we are open */
    uint32_t row;                      /* its number in the table */
    uint32_t extent, done;             /* where we are: blocks of an extent */
    uint32_t ahead_extent, ahead_done; /* up to where its pages were asked for */
};

struct volume {
    struct volume_params params;
    const struct volume_ops *ops;
    void *ctx;
    struct s3pve_error failure; /* .code S3PVE_OK while all is well; then all there is to answer */
    int64_t now_ms;
    uint32_t epoch, nonce;
    bool held; /* nothing moves */

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
    struct batch **by_seq;      /* owned; the same, each at seq modulo */
    uint32_t by_seq_room;       /* a power of two */
    unsigned n_puts;
    uint8_t sealed_hash[HASH_LEN]; /* of the header that was sealed last */
    bool draining;
    uint64_t stored, jseq_stored; /* the last segment up to which the bucket has all; its record */

    /* apply.c */
    uint64_t tip, jseq_applied; /* the same of the map, which may wait for a page */
    uint8_t tip_hash[HASH_LEN]; /* of the header of segment tip */
    struct map *overlay, *map;
    struct table table;
    struct applying applying;

    /* want.c */
    struct leaves leaves;
    struct queue waiting; /* reads that want a page */

    /* take.c */
    struct checkpoint *checkpoint; /* owned; on its way, or NULL */
    bool checkpoint_wanted;
    int64_t take_again_ms; /* after one that failed, not before */
    uint64_t published;    /* the seq of the last one that is in the root */
    uint64_t taken_seq;    /* of the one that was taken last, and how many parts it had */
    uint32_t taken_parts;
    uint64_t blocks_since;  /* data since it */
    int64_t dirty_since_ms; /* when the first segment after it was applied */

    /* sweep.c */
    uint64_t aging; /* a published checkpoint whose grace is not over, or 0 */
    int64_t aging_since_ms;
    uint64_t swept;     /* the last one whose grace is */
    uint32_t sweep_row; /* rows before it were looked at since; n_rows: all */
    bool deleting;      /* some are being deleted */
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

void machine_move(struct volume *volume); /* whatever can go on, does */
void machine_read(struct volume *volume, struct volume_request *request);

/* The end: nothing is acknowledged any more. */
void machine_fail(struct volume *volume, const struct s3pve_error *cause);
void machine_fail_memory(struct volume *volume);
void machine_answer(struct volume *volume, struct volume_request *request);
void machine_answer_with(
    struct volume *volume, struct volume_request *request, const struct s3pve_error *err
);

/* --- journal.c */

void journal_move(struct volume *volume); /* waiting writes into records, as far as there is room */
void journal_flush(struct volume *volume);   /* answer flushes, and sync for those that wait */
void journal_release(struct volume *volume); /* what the bucket has */

/* The record in volume->record, which is at @position, as if it had just been written. */
int journal_replay(struct volume *volume, uint64_t position);

/* The record at the ring's tail, or the next one. */
uint64_t journal_tail_jseq(const struct volume *volume);

/* --- seal.c */

/* The batch the next record goes into, with room for it; NULL: fail()ed. */
struct batch *seal_batch_for(struct volume *volume, const struct jrecord *record);
void seal_move(struct volume *volume); /* what is full, old or waited for becomes segments */
struct batch *batch_of(const struct volume *volume, uint32_t seq); /* by its lowest bits */

/* --- apply.c */

/* @segment, the one after tip, begins to be applied; @batch, whose it is, or NULL.  0, or -1
 * without memory. */
int apply_begin(struct volume *volume, const struct segment *segment, struct batch *batch);

/* 1: the map has all of it; 0: a page is wanted first, *ret_missing; -1: no memory. */
int apply_some(struct volume *volume, struct page_id *ret_missing);

/* The next page it will want and that nobody fetches yet. */
bool apply_wants(struct volume *volume, struct page_id *ret_missing);

void apply_move(struct volume *volume); /* whatever is stored, in order */

/* --- want.c */

/* Whether the places of @block are here; else its page is being fetched. */
bool want_block(struct volume *volume, uint64_t block);
void want_page(struct volume *volume, const struct page_id *id);
void want_place(const struct volume *volume, const struct page_id *id, struct volume_page *ret);

/* --- take.c */

void take_move(struct volume *volume); /* a checkpoint if it is time */
struct checkpoint *checkpoint_free(struct checkpoint *checkpoint);

/* --- tidy.c */

void tidy(struct volume *volume);                                /* after a checkpoint */
void tidy_page(struct volume *volume, const struct page_id *id); /* which was fetched */

/* --- sweep.c */

void sweep_move(struct volume *volume);

/* --- lookup.c */

/*
 * The pieces of all blocks of a read, or of those at a write's edges, added to the request's, and
 * pinned.  1; 0: a page is fetched first, then again; -1: no memory.
 */
int lookup(struct volume *volume, struct volume_request *request);
void lookup_unpin(struct volume *volume, struct volume_request *request);

/* Does it cover only a part of its @i'th block? */
bool request_is_edge(const struct volume_request *request, uint32_t i);

#endif
