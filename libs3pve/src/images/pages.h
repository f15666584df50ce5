/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * pages.h - the map as a checkpoint has it, page by page, in order
 *
 * The pages of a node's leaves are in memory at once, 16 MiB at most, and fetched in as few
 * requests as where they lie allows.
 */
#ifndef IMAGES_PAGES_H
#define IMAGES_PAGES_H

#include "images/inspect.h"
#include "volume/leaves.h"

/* What there is to be told.  Other than 0 ends it. */
struct pages_told {
    void *ctx;
    int (*node
    )(void *ctx,
      const struct page_id *id,
      const struct page_ref *ref,
      const struct page_ref *leaves,
      uint32_t n);
    int (*leaf
    )(void *ctx,
      const struct page_id *id,
      const struct page_ref *ref,
      const struct page_run *runs,
      uint32_t n);
    /* It cannot be read, or is not what was stored; with what it points to it is left out. */
    int (*bad
    )(void *ctx, const struct page_id *id, const struct page_ref *ref, const struct s3pve_error *why
    );
};

/* Return: 0, what was said, or -1 with @err set when it was not the page's fault. */
int pages_walk(
    struct inspect *inspect,
    const struct root_page *root,
    const struct pages_told *told,
    struct s3pve_error *err
);

/* The runs of one leaf page.  How many, or -1 with @err set.  Thread-safe. */
int pages_get_leaf(
    struct inspect *inspect,
    const struct volume_page *page,
    struct page_run runs[MAP_LEAF],
    struct s3pve_error *err
);

#endif
