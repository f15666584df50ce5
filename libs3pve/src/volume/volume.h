/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * volume.h - the machine behind one open volume: no I/O, no clock, no thread
 *
 * Calls come in, what is to be done goes out through struct volume_ops, and what became of it comes
 * in again.  One thread at a time; an op only notes what it is asked and never calls back.  So the
 * daemon's runtime and the simulator drive the same objects.  DESIGN-disks.md has the terms, the
 * invariants (I1).. and the reasons.
 *
 * The machine never sees a guest's bytes: it says where they go, and where they are.
 */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include "s3pve.h"
#include "volume/batch.h"
#include "volume/leaves.h"
#include "volume/ring.h"

struct volume; /* opaque */

/* ----------------------------------------------------------------- requests */

enum volume_request_type {
    VOLUME_READ,
    VOLUME_WRITE,
    VOLUME_ZERO, /* reads as zeroes from then on */
    VOLUME_FLUSH,
};

/* A piece of what is read, and where its bytes are. */
struct volume_piece {
    enum { PIECE_ZERO, PIECE_RING, PIECE_SEGMENT } where;
    uint32_t n;     /* blocks */
    uint64_t place; /* RING: bytes from its start; SEGMENT: blocks from the start of its data */
    uint64_t pin;   /* the machine's */
    struct segment_id segment;
    uint32_t header_len; /* SEGMENT: where its data begins */
};

/*
 * What a guest asks: memory of the caller's from volume_submit() until ops->answer().  The range is
 * within the volume.  READ and FLUSH: the blocks it touches are first, first + 1, ...
 */
struct volume_request {
    enum volume_request_type type;
    uint64_t offset, len; /* bytes */
    bool fua;             /* answered when it is as safe as a flush makes it */
    bool unmap;           /* ZERO: need not keep their place */

    /* Of each block it touches: the sum of what it will be, and whether that is zeroes.  WRITE:
     * whole blocks are known when it is submitted.  Blocks at an edge, of which it covers a part,
     * are known with volume_edges_done().  ZERO needs those only. */
    uint32_t *sums;
    bool *zero;

    /* The machine's. */
    struct volume_request *next;
    struct volume_piece *pieces;
    uint32_t n_pieces;
    uint32_t n_looked, n_taken; /* blocks that are looked up, or in records */
    uint64_t jseq;              /* the last of these records */
    enum { EDGES_NONE, EDGES_MISSING, EDGES_ASKED, EDGES_KNOWN } edges;
};

static inline uint64_t request_first(const struct volume_request *request) {
    return request->offset / BLOCK;
}

static inline uint32_t request_blocks(const struct volume_request *request) {
    return (uint32_t
    )((request->offset + request->len + BLOCK - 1) / BLOCK - request_first(request));
}

/* Blocks of a request that go into the journal: those from @first of the blocks it touches. */
struct volume_source {
    struct volume_request *request;
    uint32_t first, n;
};

/* ---------------------------------------------------------------- checkpoints */

/* A page of the map that is wanted in memory. */
struct volume_page {
    struct page_id id;
    char object[OBJECT_NAME]; /* below the data directory */
    uint64_t offset;          /* bytes from its start */
    uint32_t len, sum;        /* CRC-32C, so that a cache can be asked first; checked again */
};

/* The objects of a checkpoint, in the order they are stored; the last one is what the root names.
 */
struct checkpoint {
    uint64_t seq; /* the map after this segment */
    uint32_t epoch, nonce;
    struct checkpoint_object {
        char name[OBJECT_NAME];
        struct buf bytes;
    } * objects;
    uint32_t n_objects;
};

/* -------------------------------------------------------------- what is to be done */

struct volume_ops {
    /* @request is done, once; @err NULL is success. */
    void (*answer)(void *ctx, struct volume_request *request, const struct s3pve_error *err);

    /* Bring what these pieces say, which stays where it is until volume_read_done(). */
    void (*read
    )(void *ctx, struct volume_request *request, const struct volume_piece *pieces, uint32_t n);

    /* Bring the block at its start and the one at its end, as far as it covers a part of them (one
     * piece each, or one that is both), and join them with what it brings: volume_edges_done(). */
    void (*edges
    )(void *ctx, struct volume_request *request, const struct volume_piece *pieces, uint32_t n);

    /* Write @header, and the blocks of @sources behind it: volume_journal_written(). */
    void (*journal_write
    )(void *ctx,
      uint64_t place,
      uint64_t jseq,
      const void *header,
      size_t len,
      const struct volume_source *sources,
      uint32_t n);
    void (*journal_sync)(void *ctx); /* all that is written: volume_journal_synced() */
    void (*superblock_write)(void *ctx, const struct superblock *superblock); /* and sync */

    /* Store @header and these blocks of the ring behind it: volume_segment_stored(). */
    void (*segment_put
    )(void *ctx,
      const struct segment_id *id,
      const void *header,
      size_t len,
      const struct batch_piece *pieces,
      uint32_t n);

    /* Fetch a page: volume_page_got(). */
    void (*page_get)(void *ctx, const struct volume_page *page);

    /* Store it and name it in the root, see volume_publish(), which does both: then
     * volume_checkpoint_done(), until which it stays as it is.  One at a time. */
    void (*checkpoint_put)(void *ctx, const struct checkpoint *checkpoint);

    /* Delete objects that nothing names any more: volume_objects_deleted().  LIMIT_DELETE_BATCH of
     * them at most; one lot at a time. */
    void (*objects_delete)(void *ctx, const char (*names)[OBJECT_NAME], uint32_t n);

    bool (*lease_valid)(void *ctx);
    void (*wake_at)(void *ctx, int64_t now_ms); /* volume_tick() then; the last one counts */
};

/* ------------------------------------------------------------------- the volume */

struct volume_params {
    uint8_t uuid[UUID_LEN];
    uint64_t size;           /* bytes; these two are the root's, from volume_open() on */
    bool bucket;             /* durability: a flush means the bucket, else the node's disk */
    uint32_t segment_blocks; /* a batch with more data is sealed */
    unsigned seal_age_ms;    /* and one so old */
    unsigned puts;           /* segments on their way at once */
    size_t map_memory;       /* bytes of the map's leaves, beyond which clean ones go */
    unsigned grace_ms;       /* between a checkpoint and the deletion of what it does not need */
};

struct volume *volume_new(
    const struct volume_params *params, const struct volume_ops *ops, void *ctx
);
struct volume *volume_free(struct volume *volume);

void volume_submit(struct volume *volume, struct volume_request *request);
void volume_tick(struct volume *volume, int64_t now_ms);

/* Between these two, what comes is only noted; so that writes that come together go into one
 * record, and nothing is looked at twice. */
void volume_hold(struct volume *volume);
void volume_go(struct volume *volume);

void volume_read_done(
    struct volume *volume, struct volume_request *request, const struct s3pve_error *err
);
void volume_edges_done(
    struct volume *volume, struct volume_request *request, const struct s3pve_error *err
);
void volume_journal_written(struct volume *volume, uint64_t jseq, const struct s3pve_error *err);
void volume_journal_synced(struct volume *volume, const struct s3pve_error *err);
void volume_superblock_written(struct volume *volume, const struct s3pve_error *err);
void volume_segment_stored(struct volume *volume, uint64_t seq);

/* @bytes: of the page, unless @err.  Errors that may pass are for the caller to try again. */
void volume_page_got(
    struct volume *volume,
    const struct page_id *id,
    const struct buf *bytes,
    const struct s3pve_error *err
);
/* @err: it is not known to be published; CONFLICT is the end, else the next one has it all. */
void volume_checkpoint_done(struct volume *volume, const struct s3pve_error *err);
void volume_objects_deleted(struct volume *volume, const struct s3pve_error *err);

/* A checkpoint as soon as may be, before there is need for one. */
void volume_checkpoint(struct volume *volume);

/* Bring all there is into the bucket, and a checkpoint of it.  It is drained when the last request
 * is answered and that is done.  @drain false: go on as before. */
void volume_drain(struct volume *volume, bool drain);
bool volume_is_drained(const struct volume *volume);

/* The root says that it is larger now. */
void volume_resized(struct volume *volume, uint64_t size);

/* The end: all that waits is answered with @cause, and whatever comes. */
void volume_fail(struct volume *volume, const struct s3pve_error *cause);

#endif
