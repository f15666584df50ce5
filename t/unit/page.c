/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A page comes back as it went; what cannot be one is refused. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "golden.h"
#include "tap.h"
#include "volume/page.h"

static const struct page_run runs[] = {
    {.start = 0, .n = 3, .place = (place_t)7 << 32 | 8 << 16 | PLACE_DATA},
    {.start = 3, .n = 1, .place = PLACE_ZERO},
    {.start = 1023, .n = 1, .place = (place_t)0xffffffff << 32 | PLACE_DATA},
};
static const struct page_ref refs[] = {
    {.index = 0, .row = 1, .offset = 0, .len = 40, .sum = 0x12345678},
    {.index = 1023, .row = 2, .offset = 40, .len = 16, .sum = 0x9abcdef0},
};

static void test_leaf(void) {
    _cleanup_(buf_clear) struct buf out = {0};
    struct page_run back[MAP_LEAF];

    is_int(leaf_page_encode(runs, 3, &out), 0, "a leaf page");
    is_int((long long)out.len, 4 + 3 * 12, "is as long as its runs");
    ok(golden_is("t/data/fuzz/page/leaf", out.data, out.len), "the bytes in the file");
    is_int(leaf_page_decode(back, out.data, out.len), 3, "taken apart");
    ok(memcmp(back, runs, sizeof(runs)) == 0, "every run is the same");
    is_int(leaf_page_decode(back, out.data, out.len - 1), -1, "one cut short is none");
    is_int(leaf_page_decode(back, out.data, 3), -1, "nor one without its number of runs");
}

static void refused(struct page_run run, const char *what) {
    struct page_run both[] = {{.start = 5, .n = 2, .place = PLACE_ZERO}, run};
    _cleanup_(buf_clear) struct buf out = {0};
    struct page_run back[MAP_LEAF];

    leaf_page_encode(both, 2, &out);
    is_int(leaf_page_decode(back, out.data, out.len), -1, "%s", what);
}

static void test_lies(void) {
    refused((struct page_run){.start = 6, .n = 1, .place = PLACE_ZERO}, "runs that overlap");
    refused((struct page_run){.start = 9, .n = 0, .place = PLACE_ZERO}, "an empty run");
    refused((struct page_run){.start = 1020, .n = 5, .place = PLACE_ZERO}, "beyond the leaf");
    refused((struct page_run){.start = 9, .n = 1, .place = PLACE_NONE}, "without a place");
    refused((struct page_run){.start = 9, .n = 1, .place = PLACE_UNMAP}, "a discard");
    refused((struct page_run){.start = 9, .n = 1, .place = 4 | PLACE_DATA}, "in a frame's middle");
    refused(
        (struct page_run){.start = 9, .n = 1, .place = 1 << 16 | PLACE_DATA}, "in a block's middle"
    );
}

static void test_full(void) {
    _cleanup_(buf_clear) struct buf leaf = {0}, node = {0};
    struct page_run many[MAP_LEAF], runs_back[MAP_LEAF];
    struct page_ref children[MAP_LEAF], refs_back[MAP_LEAF];

    for (uint32_t i = 0; i < MAP_LEAF; i++) {
        many[i] = (struct page_run){(uint16_t)i, 1, (place_t)i << 32 | PLACE_DATA};
        children[i] = (struct page_ref){i, i, i, PAGE_BYTES_MAX, i};
    }
    leaf_page_encode(many, MAP_LEAF, &leaf);
    node_page_encode(children, MAP_LEAF, &node);
    ok(leaf.len <= PAGE_BYTES_MAX && node.len <= PAGE_BYTES_MAX, "the largest are within bounds");
    is_int(leaf_page_decode(runs_back, leaf.data, leaf.len), MAP_LEAF, "a full leaf");
    is_int(node_page_decode(refs_back, node.data, node.len), MAP_LEAF, "a full node");
    ok(memcmp(refs_back, children, sizeof(children)) == 0, "with every ref");
}

static void test_node(void) {
    _cleanup_(buf_clear) struct buf out = {0};
    struct page_ref back[MAP_LEAF], wrong[2];

    is_int(node_page_encode(refs, 2, &out), 0, "a node page");
    ok(golden_is("t/data/fuzz/page/node", out.data, out.len), "the bytes in the file");
    is_int(node_page_decode(back, out.data, out.len), 2, "taken apart");
    ok(memcmp(back, refs, sizeof(refs)) == 0, "every ref is the same");
    memcpy(wrong, refs, sizeof(refs));
    wrong[1].index = 0;
    out.len = 0;
    node_page_encode(wrong, 2, &out);
    is_int(node_page_decode(back, out.data, out.len), -1, "no two of one leaf");
    wrong[1].index = MAP_LEAF;
    out.len = 0;
    node_page_encode(wrong, 2, &out);
    is_int(node_page_decode(back, out.data, out.len), -1, "nor one beyond the node");
}

static struct table_row rows[] = {
    {.id = {10, 1, 0x11}, .type = OBJECT_DATA, .total = 100, .live = 7, .header_len = 4096},
    {.died_seq = 0},
    {.id = {12, 1, 0x11},
     .type = OBJECT_MAP,
     .part = 3,
     .total = 2,
     .live = 0,
     .died_seq = 13,
     .header_len = 160},
};

static struct root_page root_sample(void) {
    return (struct root_page){
        .seq = 13,
        .jseq = 99,
        .hash = "hash of the last",
        .nodes = (struct page_ref *)refs,
        .n_nodes = 2,
        .table = {.rows = rows, .n_rows = 3},
    };
}

static void test_root(void) {
    _cleanup_(buf_clear) struct buf out = {0};
    _cleanup_(root_page_clear) struct root_page back = {0};
    struct root_page page = root_sample();

    is_int(root_page_encode(&page, &out), 0, "a root page");
    ok(golden_is("t/data/fuzz/page/root", out.data, out.len), "the bytes in the file");
    if (!ok(root_page_decode(&back, out.data, out.len, NULL) == 0, "taken apart"))
        return;
    ok(back.seq == 13 && back.jseq == 99 && memcmp(back.hash, page.hash, HASH_LEN) == 0, "its end");
    ok(back.n_nodes == 2 && memcmp(back.nodes, refs, sizeof(refs)) == 0, "its nodes");
    is_int(back.table.n_rows, 3, "all rows, and those that are free");
    ok(memcmp(back.table.rows, rows, sizeof(rows)) == 0, "as they were");
}

static void root_refused(struct root_page page, const char *what) {
    _cleanup_(buf_clear) struct buf out = {0};
    struct root_page back;

    root_page_encode(&page, &out);
    is_int(root_page_decode(&back, out.data, out.len, NULL), -1, "%s", what);
}

static void test_root_lies(void) {
    struct root_page page = root_sample();
    struct table_row row = rows[0];

    page.table = (struct table){.rows = &row, .n_rows = 1};
    row.live = 101;
    root_refused(page, "more alive than there is");
    row = rows[0];
    row.type = 4;
    root_refused(page, "an object of no type");
    page.table.n_rows = 0;
    page.nodes = (struct page_ref[]){{.index = MAP_NODES_MAX, .len = 1}};
    page.n_nodes = 1;
    root_refused(page, "a node beyond the largest volume");
}

int main(void) {
    test_leaf();
    test_lies();
    test_full();
    test_node();
    test_root();
    test_root_lies();
    return done_testing();
}
