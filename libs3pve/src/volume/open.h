/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * open.h - from a root in the bucket to a machine that takes requests, and back
 *
 * These are protocols, one request after the other, so they read from top to bottom: they block in
 * the calls of struct volume_store.  The simulator lets the rest of its world go on in there.
 */
#ifndef VOLUME_OPEN_H
#define VOLUME_OPEN_H

#include "volume/root.h"
#include "volume/volume.h"

#define ETAG_ROOM 256

/* The bucket below a volume's folder, and its journal on this node.  All return 0, or -1 with @err
 * set; NOT_FOUND and CONFLICT are answers, everything else has been tried often enough. */
struct volume_store {
    int (*root_get)(void *ctx, struct buf *text, char etag[ETAG_ROOM], struct s3pve_error *err);
    /* Replace the version @etag, "": if there is none.  CONFLICT: it is another one now.  Other
     * errors say nothing about whether it was replaced. */
    int (*root_put
    )(void *ctx,
      const char *text,
      const char *etag,
      char new_etag[ETAG_ROOM],
      struct s3pve_error *err);
    /* Names of segments beyond @after, in order. */
    int (*log_list
    )(void *ctx,
      uint64_t after,
      int (*each)(void *each_ctx, const struct segment_id *id),
      void *each_ctx,
      struct s3pve_error *err);
    /* The first bytes of a segment, as many as its header has. */
    int (*header_get
    )(void *ctx, const struct segment_id *id, struct buf *header, struct s3pve_error *err);
    /* Pages of the map, any number of them at once and in any order. */
    int (*pages_get
    )(void *ctx,
      const struct volume_page *pages,
      uint32_t n,
      int (*each)(void *each_ctx, uint32_t i, const struct buf *bytes, struct s3pve_error *err),
      void *each_ctx,
      struct s3pve_error *err);

    /* Objects below the data directory, by name.  A name is never used twice for other bytes. */
    int (*object_get)(void *ctx, const char *name, struct buf *bytes, struct s3pve_error *err);
    int (*object_put
    )(void *ctx, const char *name, const struct buf *bytes, struct s3pve_error *err);
    /* Names of those that begin with @prefix, in order, until @each says other than 0; negative: it
     * has no memory. */
    int (*objects_list
    )(void *ctx,
      const char *prefix,
      int (*each)(void *each_ctx, const char *name),
      void *each_ctx,
      struct s3pve_error *err);
    int (*objects_delete
    )(void *ctx, const char (*names)[OBJECT_NAME], uint32_t n, struct s3pve_error *err);
    /* The version @etag; where the server knows no such condition: what is there. */
    int (*root_delete)(void *ctx, const char *etag, struct s3pve_error *err);

    /* Does the process that owns it live?  May take as long as a lease; if that one lets go of it
     * meanwhile, it lives. */
    int (*owner_lives
    )(void *ctx, const char *node, const char *incarnation, bool *ret_lives, struct s3pve_error *err
    );

    /* Both superblocks; a journal that is not there reads as zeroes, ring_len says how long it is
     * or would be. */
    int (*superblocks_read
    )(void *ctx, uint8_t blocks[2 * BLOCK], uint64_t *ret_ring_len, struct s3pve_error *err);
    int (*superblock_write
    )(void *ctx, const struct superblock *superblock, struct s3pve_error *err); /* and sync */
    int (*ring_read)(void *ctx, uint64_t place, void *data, size_t len, struct s3pve_error *err);
    int (*ring_write
    )(void *ctx, uint64_t place, const void *data, size_t len, struct s3pve_error *err
    ); /* and sync */
    /* The journal holds what the bucket does not, and is of a lost epoch: keep it under another
     * name, begin an empty one. */
    int (*journal_set_aside
    )(void *ctx, uint64_t jseq_first, uint64_t jseq_last, struct s3pve_error *err);

    uint32_t (*random)(void *ctx);
};

/* Who opens. */
struct volume_node {
    char name[ROOT_NODE], incarnation[ROOT_INCARNATION];
};

/*
 * volume_open() - claim, recover, commit
 * @root: receives the root as it was committed; the caller clears it
 *
 * Return: 0, and requests may be submitted; or -1 with @err set: CONFLICT (another node has it, or
 * was faster; the message names it), NOT_FOUND, CORRUPT, UNSUPPORTED, IO.
 */
int volume_open(
    struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    const struct volume_node *node,
    struct root *root,
    char etag[ETAG_ROOM],
    struct s3pve_error *err
);

/*
 * The rest are protocols of the owner with its root, one at a time, begun by reading it: CONFLICT,
 * if it is another's now.  Other errors do not say that nothing was done; to do it again is fine.
 */

/* Store the objects of @checkpoint, and name it in the root.  Does not touch the machine. */
int volume_publish(
    const struct volume_store *store,
    void *ctx,
    const struct checkpoint *checkpoint,
    struct s3pve_error *err
);

/* Nothing but the next rev: what anybody else was about to do to the root fails. */
int volume_reclaim(
    const struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    struct s3pve_error *err
);

/* The root says @size from now on: volume_resized() then.  INVALID: it would be smaller. */
int volume_grow(
    const struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    uint64_t size,
    struct s3pve_error *err
);

/*
 * A drained volume becomes `closed`, and anybody's.  After an error it may be, so it takes no more
 * requests: close it again, or free the machine and open it.
 */
int volume_close(
    const struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    struct s3pve_error *err
);

/* ------------------------------------------------------ volumes that nobody has open */

/* @root: uuid, size, segment_blocks, and in json what others want to keep there.  CONFLICT: there
 * is one of this name. */
int volume_create(
    const struct volume_store *store, void *ctx, struct root *root, struct s3pve_error *err
);

/* From now on nobody opens it, and who had it is fenced.  @root: receives what it was, and the
 * caller clears it.  CONFLICT: a node has it open. */
int volume_mark_deleted(
    const struct volume_store *store,
    void *ctx,
    const struct volume_node *node,
    struct root *root,
    struct s3pve_error *err
);
int volume_delete_objects(const struct volume_store *store, void *ctx, struct s3pve_error *err);
/* The root of one that is marked, or renamed; CONFLICT: by now it is another volume's. */
int volume_delete_root(
    const struct volume_store *store, void *ctx, const struct root *marked, struct s3pve_error *err
);

/* All of it.  What was begun goes on when it is called again.  CONFLICT: a node has it open. */
int volume_delete(
    const struct volume_store *store,
    void *ctx,
    const struct volume_node *node,
    struct s3pve_error *err
);

#endif
