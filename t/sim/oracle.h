/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * oracle.h - every write in the order of the journal, and what that allows a disk to be
 *
 * A disk is right if there is a k such that it is what the first k writes make, and k is no smaller
 * than what was promised.
 */
#ifndef SIM_ORACLE_H
#define SIM_ORACLE_H

#include "volume/map.h"
#include "volume/segment.h"
#include "world.h"

/* The blocks of a large disk that are written to: clusters of them, at the ends of leaves and nodes
 * of the map, and within. */
#define ORACLE_CLUSTERS 8u
#define ORACLE_CLUSTER 16u
#define ORACLE_BLOCKS (ORACLE_CLUSTERS * ORACLE_CLUSTER)

extern const uint64_t oracle_clusters[ORACLE_CLUSTERS]; /* the first block of each */

/* Its number among those, or ORACLE_BLOCKS. */
uint32_t oracle_index(uint64_t block);

struct oracle_write {
    uint32_t block; /* one block of it */
    uint64_t hash;  /* of what it became; 0: zeroes */
    uint64_t jseq;
};

struct oracle {
    struct world *world;
    struct oracle_write *writes;
    size_t n_writes, room;
};

uint64_t oracle_hash(const void *block);

void oracle_init(struct oracle *oracle, struct world *world);
void oracle_clear(struct oracle *oracle);
void oracle_write(struct oracle *oracle, uint64_t jseq, uint32_t block, uint64_t hash);

/* How many writes there were up to the record. */
size_t oracle_count(const struct oracle *oracle, uint64_t jseq);

/* Is @hash what @block may be, if the writes up to @least are seen for certain? */
bool oracle_may_be(const struct oracle *oracle, uint32_t block, uint64_t hash, size_t least);

/* The disk as it is now is @hashes.  What it does not have is forgotten. */
void oracle_check(struct oracle *oracle, const uint64_t *hashes, size_t least);

#endif
