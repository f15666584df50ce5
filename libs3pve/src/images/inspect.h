/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * inspect.h - a volume as the bucket has it, read and neither opened nor changed
 *
 *     inspect.c      its root, its objects, the headers of segments
 *     pages.c        the map's pages, one after the other
 *     dump.c         all of it in words
 *     audit*.c       does it fit together?
 *     rawcopy.c      the disk, as bytes
 *
 * What it takes is the bucket alone.  Whoever has the volume open goes on, and what his checkpoints
 * no longer need is deleted ten minutes later: what is missing then was not needed any more.
 */
#ifndef IMAGES_INSPECT_H
#define IMAGES_INSPECT_H

#include "images/crew.h"
#include "images/idle.h"
#include "volume/mapobject.h"

#define INSPECT_KEY (LIMIT_KEY + 64)

struct inspect {
    struct idle idle; /* first, as its store is there: both are what calls of .ops are given */
    struct volume_store ops; /* for reading: pages side by side, and no page for ever */
    struct crew crew;
};

/* The root of the volume @name; each request after it has its own time.  Return: 0, or -1
 * (INVALID, NOT_FOUND, CORRUPT, UNSUPPORTED, IO ...); inspect_end() is to be called anyhow. */
int inspect_begin(
    struct inspect *inspect,
    struct s3pve_client *client,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
);
void inspect_end(struct inspect *inspect);

/* The key of an object below the data directory; NULL: the root's. */
void inspect_key(const struct inspect *inspect, const char *name, char key[INSPECT_KEY]);

/* All @len bytes from @offset on; CORRUPT: the object ends before. */
int inspect_get(
    struct inspect *inspect,
    const char *name,
    uint64_t offset,
    void *data,
    size_t len,
    struct s3pve_error *err
);

/* @header_len: its length, as the table has it.  @ret_hash: HASH_LEN bytes, or NULL.  Thread-safe,
 * as inspect_get(). */
int inspect_header(
    struct inspect *inspect,
    const struct segment_id *id,
    uint32_t header_len,
    struct segment *ret_segment,
    uint8_t *ret_hash,
    struct s3pve_error *err
);

/* The header of a MAP object, of which the table knows the length. */
int inspect_map_header(
    struct inspect *inspect,
    const struct table_row *row,
    struct map_object *ret_object,
    struct s3pve_error *err
);

/* The next header of the log, in order of what was listed. */
int inspect_next_header(
    struct inspect *inspect,
    const struct segment_id *id,
    struct segment *ret_segment,
    uint8_t ret_hash[HASH_LEN],
    struct s3pve_error *err
);

/* Each object below the data directory, in order of its name, until @each says other than 0;
 * negative: it has no memory.  Return: 0, what @each said, or -1. */
int inspect_list(
    struct inspect *inspect,
    const char *prefix,
    int (*each)(void *ctx, const char *name, uint64_t size),
    void *ctx,
    struct s3pve_error *err
);

/* Something is wrong with what was read; what is not about that is the end of looking. */
bool inspect_is_damage(const struct s3pve_error *err);

#endif
