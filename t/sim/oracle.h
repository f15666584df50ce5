/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * oracle.h - every write in the order of the journal, and what that allows a disk to be
 *
 * A disk is right if there is a k such that it is what the first k writes make, and k is no smaller
 * than what was promised.
 */
#ifndef SIM_ORACLE_H
#define SIM_ORACLE_H

#include "volume/segment.h"
#include "world.h"

#define ORACLE_BLOCKS 128u

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
void oracle_write(struct oracle *oracle, uint64_t jseq, uint64_t block, uint64_t hash);

/* How many writes there were up to the record. */
size_t oracle_count(const struct oracle *oracle, uint64_t jseq);

/* Is @hash what @block may be, if the writes up to @least are seen for certain? */
bool oracle_may_be(const struct oracle *oracle, uint64_t block, uint64_t hash, size_t least);

/* The disk as it is now is @hashes.  What it does not have is forgotten. */
void oracle_check(struct oracle *oracle, const uint64_t *hashes, size_t least);

#endif
