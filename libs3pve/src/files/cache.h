/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * cache.h - blocks kept on the node's disk
 *
 * May lose anything at any time and never fails: a block that is missing, damaged or cannot be
 * written is a miss.  What it gives back has the sum it was stored with.  Thread-safe.
 */
#ifndef FILES_CACHE_H
#define FILES_CACHE_H

#include "files/cachefile.h"

struct cache;

/* @folder is made when missing; what an earlier cache left there is taken over.  NULL when it
 * cannot be used; there is no cache then, which all of these accept. */
struct cache *cache_open(const char *folder, uint64_t size);
struct cache *cache_close(struct cache *cache); /* the files stay.  Returns NULL */

/* At most so many bytes from now on. */
void cache_set_size(struct cache *cache, uint64_t size);

/* The disk is needed for something that cannot be had again: give up the oldest @bytes.
 * Return: how many it were; 0 when there is nothing left. */
uint64_t cache_yield(struct cache *cache, uint64_t bytes);

/* Whole blocks: CACHE_BLOCK bytes, or what is left at the object's end. */
bool cache_get(struct cache *cache, const struct version *version, uint64_t no, void *buf);
bool cache_has(struct cache *cache, const struct version *version, uint64_t no);
void cache_put(struct cache *cache, const struct version *version, uint64_t no, const void *data);

/* Since this was last asked: was the folder removed by somebody, and made again? */
bool cache_was_remade(struct cache *cache);

uint64_t cache_bytes(struct cache *cache);
uint64_t cache_size(struct cache *cache);

#endif
