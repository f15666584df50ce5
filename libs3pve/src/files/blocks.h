/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * blocks.h - random reads: blocks of CACHE_BLOCK bytes, fetched once for all who want them
 *
 *     memory (the last few, and small objects)  ->  the node's disk  ->  the store
 */
#ifndef FILES_BLOCKS_H
#define FILES_BLOCKS_H

#include <sys/types.h>

#include "files/cache.h"
#include "s3pve.h"

struct s3pve_files;
struct blocks;

/* @folder NULL: memory only.  NULL without memory. */
struct blocks *blocks_new(struct s3pve_files *files, const char *folder, uint64_t size);
struct blocks *blocks_free(struct blocks *blocks);

/* Read from one version.  Return: bytes, fewer than @len only at its end; -ESTALE when the store
 * has another version or none; or another -errno. */
ssize_t blocks_read(
    struct blocks *blocks, const struct version *version, void *buf, size_t len, uint64_t offset
);

/* One whole block, if it is on this node: nothing is fetched. */
bool blocks_peek(struct blocks *blocks, const struct version *version, uint64_t no, void *buf);
bool blocks_has(struct blocks *blocks, const struct version *version, uint64_t no);
/* The same, be it in memory. */
bool blocks_knows(struct blocks *blocks, const struct version *version, uint64_t no);
/* One whole block that came another way, for later. */
void blocks_keep(
    struct blocks *blocks, const struct version *version, uint64_t no, const void *data
);

/* The oldest blocks on the node's disk go, so many bytes of them.  Return: bytes that went. */
uint64_t blocks_yield(struct blocks *blocks, uint64_t bytes);

void blocks_set_size(struct blocks *blocks, uint64_t size);
void blocks_stats(struct blocks *blocks, struct s3pve_files_stats *stats);

#endif
