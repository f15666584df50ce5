/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * map.h - which place each block of a volume has
 *
 * A tree of three levels: root - nodes of 1024 leaves - leaves of 1024 blocks.  A leaf is a sorted
 * array of runs, in which place grows with block, and becomes an array of 1024 places when that is
 * smaller.  A block that has no place is not there: it reads as zeroes (in the map), or shows what
 * is below (in the overlay).
 *
 * The overlay and the map proper differ in what a place means, and in what it grows by.
 */
#ifndef VOLUME_MAP_H
#define VOLUME_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAP_LEAF 1024u /* blocks of a leaf, and leaves of a node */

enum place_kind {
    PLACE_NONE, /* the block has no place */
    PLACE_DATA,
    PLACE_ZERO,  /* allocated zeroes */
    PLACE_UNMAP, /* a discard that is not applied yet; in the overlay only */
};

/*
 * A place in 64 bits; kind in the lowest two.
 *   map:      row of the object table:32 | offset in its data, 512-byte units:16 | 14 bits for
 *             compressed frames, 0
 *   overlay:  low bits of the batch's seq:32 | position in the ring, blocks:30
 */
typedef uint64_t place_t;

static inline enum place_kind place_kind(place_t place) {
    return (enum place_kind)(place & 3);
}

struct map; /* opaque */

/* @step is what a DATA place grows by from one block to the next. */
struct map *map_new(uint64_t step);
struct map *map_free(struct map *map); /* accepts and returns NULL */

/*
 * Give the @n blocks from @block on the places @place, @place + step, ...; PLACE_NONE takes theirs
 * away.  Who counts what is displaced asks map_each() first.
 *
 * Return: 0, or -1 without memory; then some of the blocks, from the first on, have the new places.
 */
int map_set(struct map *map, uint64_t block, uint32_t n, place_t place);

/* The place of @block and in *ret_n how many blocks from there on, at most @n, share its run;
 * PLACE_NONE is a run too.  Never goes beyond the leaf. */
place_t map_find(const struct map *map, uint64_t block, uint32_t n, uint32_t *ret_n);

typedef void (*map_run_fn)(void *ctx, uint64_t block, uint32_t n, place_t place);

/* Every run in order of block, from @block to before @end; runs end at leaves.  @fn must not change
 * the map. */
void map_each(const struct map *map, uint64_t block, uint64_t end, map_run_fn fn, void *ctx);

/* Bytes the leaves and nodes take. */
size_t map_memory(const struct map *map);

#endif
