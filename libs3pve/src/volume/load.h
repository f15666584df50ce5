/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* load.h - the map at an opening: the checkpoint, and segments applied to it */
#ifndef VOLUME_LOAD_H
#define VOLUME_LOAD_H

#include "volume/open.h"

/* The root page of its checkpoint, which there must be, and the row of that page's own object.  0,
 * or -1 with @err set and nothing owned. */
int load_root_page(
    const struct volume_store *store,
    void *ctx,
    const struct root *root,
    struct root_page *page,
    uint32_t *ret_own_row,
    struct s3pve_error *err
);

/* The map as the root's checkpoint has it; its pages come when they are wanted.  0, or -1. */
int load_checkpoint(
    struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    const struct root *root,
    struct s3pve_error *err
);

/* All of @segment, with the pages it takes.  0, or -1 with @err set. */
int load_apply(
    struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    const struct segment *segment,
    struct s3pve_error *err
);

/* MAP objects that no checkpoint has, as the one they were for was not published: dead rows.  0, or
 * -1 with @err set. */
int load_strays(
    struct volume *volume, const struct volume_store *store, void *ctx, struct s3pve_error *err
);

#endif
