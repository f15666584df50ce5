/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* swap.h - how the root changes: read, compare and swap (I8) */
#ifndef VOLUME_SWAP_H
#define VOLUME_SWAP_H

#include "volume/open.h"

/* As it is now.  0, or -1 with @err set and nothing owned. */
int root_read(
    const struct volume_store *store,
    void *ctx,
    struct root *root,
    char etag[ETAG_ROOM],
    struct s3pve_error *err
);

/*
 * Swap the version @etag for @root, whose rev it counts up.  What became of a lost answer is read
 * back.  Return: 0 with the new @etag, or -1 with @err set; CONFLICT: somebody else was first.
 */
int root_swap(
    const struct volume_store *store,
    void *ctx,
    struct root *root,
    char etag[ETAG_ROOM],
    struct s3pve_error *err
);

/*
 * Not open on a node that lives; or on @node, where a lock on the journal decides.  May take as
 * long as a lease: if the owner lets go meanwhile, @root and @etag are what he left. Return: 0, or
 * -1 with @err set: CONFLICT names the node; NOT_FOUND.
 */
int root_check_owner(
    const struct volume_store *store,
    void *ctx,
    struct root *root,
    char etag[ETAG_ROOM],
    const struct volume_node *node,
    struct s3pve_error *err
);

/* 0: swap it; 1: it is as it should be; -1 with @err set. */
typedef int (*root_change_fn)(struct root *root, const void *arg, struct s3pve_error *err);

/* The owner @epoch, @nonce changes its root.  0, or -1 with @err set; CONFLICT: it is another's. */
struct root_change {
    uint32_t epoch, nonce;
    root_change_fn change;
    const void *arg;
};

int root_change(
    const struct volume_store *store,
    void *ctx,
    const struct root_change *change,
    struct s3pve_error *err
);

#endif
