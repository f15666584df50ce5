/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * leaves.h - which leaves of the map are in memory, and where the bucket has them
 *
 *     elsewhere --asked, brought--> clean --touched--> dirty --taken--> taken --published--> clean
 *         ^                           |                  ^                |
 *         +----------trimmed----------+                  +--touched, or not published
 *
 * The leaves themselves are those of struct map, which knows nothing of this: one that is elsewhere
 * is empty there, so it must not be looked at.  Of a node, what is here or not are the refs to its
 * leaves.
 */
#ifndef VOLUME_LEAVES_H
#define VOLUME_LEAVES_H

#include "volume/page.h"

struct page {
    struct page_ref ref; /* where the checkpoint has it, or will; len 0: it is empty there */
    bool here;
    bool dirty; /* not as the checkpoint has it */
    bool taken; /* into one that is not published yet */
    bool asked; /* being fetched */
    bool used;  /* since the hand came by */
};

struct page_node {
    struct page page;
    struct page *leaves; /* owned; MAP_LEAF of them, or NULL: none is stored or here */
};

struct leaves {
    struct page_node *nodes; /* owned */
    uint32_t n_nodes;
    struct page root;                  /* only its ref */
    uint32_t n_here, n_clean, n_dirty; /* leaves */
    uint32_t n_asked;
    uint32_t hand_node, hand_leaf; /* where trimming goes on */
};

struct page_id {
    enum page_kind kind;
    uint32_t index; /* of a leaf: in the whole map */
};

void leaves_clear(struct leaves *leaves);

/* Nodes as a root page has them.  0, or -1 without memory. */
int leaves_load(struct leaves *leaves, const struct page_ref *nodes, uint32_t n);

/* Is what says where @block is in memory?  If not, *ret_missing is the page to fetch first. */
bool leaves_have(struct leaves *leaves, uint64_t block, struct page_id *ret_missing);

struct page *leaves_find(const struct leaves *leaves, const struct page_id *id);

/* The leaf of @block, which is here or empty, changes.  0, or -1 without memory. */
int leaves_touch(struct leaves *leaves, uint64_t block);

/* What was fetched, which is believed if sum and all rows are right.  0, or -1 with @err set. */
int leaves_bring(
    struct leaves *leaves,
    struct map *map,
    const struct table *table,
    const struct page_id *id,
    const struct buf *bytes,
    struct s3pve_error *err
);

/* Clean leaves go, those first that were not used lately, until the map takes @max bytes. */
void leaves_trim(struct leaves *leaves, struct map *map, size_t max);

/* What the leaves take that have to be stored, and all that cannot go; about. */
uint64_t leaves_dirty_bytes(const struct leaves *leaves, const struct map *map);
uint64_t leaves_held_bytes(const struct leaves *leaves, const struct map *map);

#endif
