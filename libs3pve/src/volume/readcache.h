/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * readcache.h - lines of segments, kept on this node for all volumes of a storage
 *
 * A line is READ_LINE blocks of a segment's object, header included, which never change; so nothing
 * is ever invalidated.  All lines are in one file; which are where, and the sum of each block, in
 * memory (100 bytes a line), and in a second file for who comes later.  May lose anything at any
 * time and never fails: what is missing or does not have its sum is a miss.  Who has not been read
 * since the hand came by the last time goes (CLOCK).  Thread-safe; the lock is not held while the
 * disk works.
 */
#ifndef VOLUME_READCACHE_H
#define VOLUME_READCACHE_H

#include "volume/segment.h"

struct readcache;

struct readcache_key {
    uint64_t volume; /* the first bytes of its UUID */
    struct segment_id segment;
    uint32_t line;
};

/* The file @path and PATH.index, with what is in them; NULL: in memory.  @size: bytes.  NULL when
 * it cannot be had. */
struct readcache *readcache_open(const char *path, uint64_t size);
struct readcache *readcache_close(struct readcache *cache); /* NULL is fine; returns it */

enum readcache_found { READCACHE_MISS, READCACHE_HIT, READCACHE_WOULD_WAIT };

/* @n blocks from @first of the line on.  !@may_wait: not for the disk. */
enum readcache_found readcache_get(
    struct readcache *cache,
    const struct readcache_key *key,
    uint32_t first,
    uint32_t n,
    void *data,
    bool may_wait
);
bool readcache_has(struct readcache *cache, const struct readcache_key *key, uint32_t n_blocks);

/* The first @n blocks of a line; the rest, if any, stays unknown. */
void readcache_put(
    struct readcache *cache, const struct readcache_key *key, const void *data, uint32_t n
);

struct readcache_stats {
    uint64_t size, bytes, hits, misses; /* the last two: lines */
};
void readcache_stats(struct readcache *cache, struct readcache_stats *ret);

#endif
