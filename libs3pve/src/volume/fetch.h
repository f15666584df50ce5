/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * fetch.h - the bytes that pieces of a read name: from the ring, the read cache, or the bucket
 *
 *     NOW     nothing that waits: in memory or not at all
 *     LOCAL   the node's disk
 *     REMOTE  the bucket, for as long as it takes (D6)
 *
 * A step goes as far as its level gets and says which one goes on.  What comes from the bucket has
 * the sums of its segment's header, or is an error (D7).  Lines that follow each other are asked
 * for at once, and a line that somebody is fetching is waited for.
 */
#ifndef VOLUME_FETCH_H
#define VOLUME_FETCH_H

#include "volume/readcache.h"
#include "volume/store.h"

enum fetch_level { FETCH_NOW, FETCH_LOCAL, FETCH_REMOTE, FETCH_DONE };

/* What is being fetched, by all volumes. */
struct flights {
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t landed;
    struct flight *first;
};

void flights_init(struct flights *flights);
void flights_clear(struct flights *flights);

struct fetch {
    struct store *store;
    struct readcache *cache;
    struct flights *flights;
    const uint8_t *uuid; /* of the volume */
    const struct volume_piece *pieces;
    uint32_t n_pieces;
    uint8_t *data; /* whole blocks; NULL: into the cache is enough */

    enum fetch_level level; /* of the next step; starts as FETCH_NOW */
    uint32_t at_piece, at_block;
};

/* One step.  Return: 0, and fetch->level says how to go on; or -1 with @err set (CORRUPT, IO of the
 * node's disk, CANCELLED, NOMEM). */
int fetch_step(struct fetch *fetch, struct s3pve_error *err);

/* What a segment we have just stored consists of, for who reads it next. */
void fetch_keep(
    struct readcache *cache,
    const uint8_t *uuid,
    const struct segment_id *id,
    const void *object,
    size_t len
);

#endif
