/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * rawcopy.h - the disk as bytes, leaf by leaf of its map
 *
 *     root -> checkpoint -> log applied -> for each 4 MiB: its places -> ranges of segments -> fd
 *
 *     rawcopy.c       the way, and what is written
 *     rawcopy_leaf.c  the bytes of one leaf, by a thread of the crew
 */
#ifndef IMAGES_RAWCOPY_H
#define IMAGES_RAWCOPY_H

#include "images/inspect.h"
#include "images/pages.h"

#define COPY_LEAF ((size_t)MAP_LEAF * BLOCK)

/* The sums of segments that leaves are in.  Segments have rows; 8 MiB in all, at most. */
struct copy_sums {
    pthread_mutex_t lock; /* guards everything below */
    struct copy_sums_slot {
        uint32_t row, n;
        uint32_t *sums; /* owned; NULL: the slot is free */
    } slots[COPY_SUMS];
    uint32_t next; /* to be given to another segment */
};

struct copy_source {
    struct inspect *inspect;
    const struct table *table; /* which does not change any more */
    bool salvage;              /* what cannot be read is zeroes, and told */
    struct copy_sums sums;
};

/* One leaf on its way. */
struct copy_leaf {
    struct crew_job job;
    struct copy_source *source;
    uint64_t index;
    bool begun;
    bool has_page; /* its places are to be read first, from .page */
    struct volume_page page;
    struct page_run runs[MAP_LEAF]; /* in order of block */
    uint32_t n_runs;
    uint8_t *data, *range; /* owned; COPY_LEAF each: what was fetched; zeroes where there is none */
    bool lost[MAP_LEAF];   /* blocks that could not be read */
    bool any_lost;
    struct s3pve_error why; /* of the first of them; or else, unless .code is S3PVE_OK, the end */
};

/* copy_leaf_fetch(leaf): what a thread does with it. */
void copy_leaf_fetch(void *arg);

void copy_sums_clear(struct copy_sums *sums);

#endif
