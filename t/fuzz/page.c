/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Whatever the bucket holds as a page: what is believed is within bounds, and is written as read.
 */
#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"
#include "volume/page.h"

static void same(const struct buf *again, const uint8_t *data, size_t size) {
    must(again->len == size && memcmp(again->data, data, size) == 0);
}

static void leaf(const uint8_t *data, size_t size) {
    _cleanup_(buf_clear) struct buf again = {0};
    struct page_run runs[MAP_LEAF];
    int n = leaf_page_decode(runs, data, size);
    uint32_t end = 0;

    for (int i = 0; i < n; i++) {
        must(runs[i].start >= end && runs[i].n > 0);
        end = (uint32_t)runs[i].start + runs[i].n;
    }
    must(end <= MAP_LEAF);
    if (n < 0)
        return;
    must(leaf_page_encode(runs, (uint32_t)n, &again) == 0);
    same(&again, data, size);
}

static void node(const uint8_t *data, size_t size) {
    _cleanup_(buf_clear) struct buf again = {0};
    struct page_ref refs[MAP_LEAF];
    int n = node_page_decode(refs, data, size);

    for (int i = 0; i < n; i++)
        must(refs[i].index < MAP_LEAF && refs[i].len && (!i || refs[i].index > refs[i - 1].index));
    if (n < 0)
        return;
    must(node_page_encode(refs, (uint32_t)n, &again) == 0);
    same(&again, data, size);
}

static void root(const uint8_t *data, size_t size) {
    _cleanup_(root_page_clear) struct root_page page = {0};
    _cleanup_(buf_clear) struct buf again = {0};

    if (root_page_decode(&page, data, size, NULL) < 0)
        return;
    for (uint32_t i = 0; i < page.table.n_rows; i++)
        must(page.table.rows[i].live <= page.table.rows[i].total);
    must(root_page_encode(&page, &again) == 0);
    same(&again, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    leaf(data, size);
    node(data, size);
    root(data, size);
    return 0;
}
