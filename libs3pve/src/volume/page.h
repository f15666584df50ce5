/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * page.h - the map as it is stored: pages, and the MAP objects they are in
 *
 * s3pve-format(5) has the bytes.  A leaf page has the places of 1024 blocks, a node page says where
 * 1024 leaf pages are, the root page where the node pages are, and what objects there are at all.
 */
#ifndef VOLUME_PAGE_H
#define VOLUME_PAGE_H

#include "volume/map.h"
#include "volume/table.h"

enum page_kind { PAGE_LEAF = 1, PAGE_NODE = 2, PAGE_ROOT = 3 };

/* Where a page is: its object's row in the table, and where from its first page on. */
struct page_ref {
    uint32_t index; /* which leaf of its node, or which node */
    uint32_t row, offset;
    uint32_t len; /* 0: nowhere */
    uint32_t sum;
};

/* What one leaf has: blocks with places that follow each other. */
struct page_run {
    uint16_t start, n;
    place_t place;
};

struct root_page {
    uint64_t seq, jseq;     /* the last segment it covers, and the last record in that */
    uint8_t hash[HASH_LEN]; /* of that segment's header */
    struct page_ref *nodes; /* owned; in order of index */
    uint32_t n_nodes;
    struct table table; /* owned */
};

void root_page_clear(struct root_page *page);

/* Appended.  0, or -1 without memory. */
int leaf_page_encode(const struct page_run *runs, uint32_t n, struct buf *out);
int node_page_encode(const struct page_ref *refs, uint32_t n, struct buf *out);
int root_page_encode(const struct root_page *page, struct buf *out);

/* Into MAP_LEAF of them.  How many, or -1: it cannot be. */
int leaf_page_decode(struct page_run runs[MAP_LEAF], const void *data, size_t len);
int node_page_decode(struct page_ref refs[MAP_LEAF], const void *data, size_t len);
/* 0; or -1 with @err set (CORRUPT, NOMEM) and nothing owned. */
int root_page_decode(struct root_page *page, const void *data, size_t len, struct s3pve_error *err);

#endif
