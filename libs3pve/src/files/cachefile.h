/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * cachefile.h - blocks of one version of one object in a sparse file; the bytes on disk
 *
 *     0       header: magic, sum, block size, object size, seed, key, ETag
 *     4096    index: 8 bytes a block, little-endian: sum in the low half, 1 above it when present
 *     ...     data, from the next multiple of 4096: block n at n * block size
 *
 * A block's sum starts from the file's random seed and its number, so that what an earlier file
 * left on the disk, or a block in another's place, does not pass.  Data is written before its
 * index entry; nothing is synced: after a crash a block that is not whole fails its sum, and a miss
 * is all that comes of it.
 */
#ifndef FILES_CACHEFILE_H
#define FILES_CACHEFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

/* One version of one object.  Borrowed strings. */
struct version {
    const char *key, *etag;
    uint64_t size;
};

/* As written in the file's header. */
struct cachefile_header {
    char key[LIMIT_KEY + 1];
    char etag[129];
    uint64_t size;
    uint64_t seed;
};

#define CACHEFILE_NAME 40

/* The file name for a version: 32 hex digits and a suffix. */
void cachefile_name(const struct version *version, char ret_name[CACHEFILE_NAME]);

uint64_t cachefile_n_blocks(uint64_t size);
size_t cachefile_block_len(uint64_t size, uint64_t no);
uint32_t cachefile_sum(uint64_t seed, uint64_t no, const void *data, size_t len);

/* Return: 0, or -errno. */
int cachefile_create(int folder, const char *name, const struct version *version, uint64_t seed);
int cachefile_put(
    int folder, const char *name, uint64_t size, uint64_t no, const void *data, uint32_t sum
);
/* Reads without judging: the caller compares the sum.  Return: true when all bytes were there. */
bool cachefile_get(int folder, const char *name, uint64_t size, uint64_t no, void *buf);
/* Forget a block and give its space back; -EOPNOTSUPP where the file system cannot. */
int cachefile_drop(int folder, const char *name, uint64_t size, uint64_t no);

/* Read a file's header and index at start: @fn is called for each block it says it has.
 * Return: 0, or -1 when it is no cache file of ours. */
int cachefile_scan(
    int folder,
    const char *name,
    struct cachefile_header *ret_header,
    void (*fn)(void *ctx, const struct cachefile_header *header, uint64_t no, uint32_t sum),
    void *ctx
);

#endif
