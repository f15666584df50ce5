/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * tidy.c - MAP objects of which less than half lives are emptied: their pages are taken again
 *
 * Each page that died pays for at most one that is moved.  What is not here is fetched first, a few
 * with each checkpoint.  Nothing is taken before there is a new segment, so an idle volume rests.
 */
#include "volume/machine.h"

void tidy_page(struct volume *volume, const struct page_id *id) {
    struct page *page = leaves_find(&volume->leaves, id);
    const struct table_row *row = &volume->table.rows[page->ref.row];

    if (!page->ref.len || row->live >= row->total / 2)
        return;
    if (!page->here && volume->leaves.n_asked < PAGES_IN_FLIGHT)
        want_page(volume, id);
    else if (page->here && id->kind == PAGE_NODE)
        page->dirty = true;
    else if (page->here) /* there is a page: it takes no memory */
        (void)leaves_touch(&volume->leaves, (uint64_t)id->index * MAP_LEAF);
}

void tidy(struct volume *volume) {
    for (uint32_t i = 0; i < volume->leaves.n_nodes; i++) {
        tidy_page(volume, &(struct page_id){PAGE_NODE, i});
        for (uint32_t k = 0; volume->leaves.nodes[i].leaves && k < MAP_LEAF; k++)
            tidy_page(volume, &(struct page_id){PAGE_LEAF, i * MAP_LEAF + k});
    }
}
