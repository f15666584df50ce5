/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* forward.h - the log that a checkpoint does not cover, applied to its map, up to the cut */
#ifndef VOLUME_FORWARD_H
#define VOLUME_FORWARD_H

#include "volume/open.h"

struct forward {
    struct volume *volume; /* borrowed, as these; its map is the checkpoint's */
    const struct volume_store *store;
    void *ctx;
    const struct root *root;
    struct segment_id *ids; /* owned; what the listing had, in order */
    size_t n, room, at;
};

void forward_clear(struct forward *log);

/* What the bucket has of it, the root's or not.  0, or -1 with @err set. */
int forward_list(struct forward *log, struct s3pve_error *err);
/* Or one after the other, in order.  0, or -1 without memory. */
int forward_add(struct forward *log, const struct segment_id *id);

/* The object that is segment @seq by the root's word, or NULL: there is none (I3).  Asked in order
 * of seq. */
const struct segment_id *forward_find(struct forward *log, uint64_t seq);

/* Is its owner one who got the volume by the root's word?  True of whom a checkpoint let the root
 * forget. */
bool forward_knows(const struct root *root, const struct segment_id *id);
/* One of another, or NULL: there should be none. */
const struct segment_id *forward_stranger(const struct forward *log);

/* Does it go on from segment @tip, whose last record is @jseq and whose header has that @hash? */
bool forward_follows(
    const struct segment *segment, uint64_t tip, uint64_t jseq, const uint8_t hash[HASH_LEN]
);

/* An epoch that is over must have had @seq, the first that is missing.  0, or -1 with @err set. */
int forward_check_cut(const struct root *root, uint64_t seq, struct s3pve_error *err);

/* All of it: the tip is the cut then.  0, or -1 with @err set. */
int forward_roll(struct forward *log, struct s3pve_error *err);

#endif
