/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Leaves go while they are clean, those first that nobody used, and come back as they were. */
#include <string.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "tap.h"
#include "volume/leaves.h"

#define LEAVES 40u
#define STEP ((place_t)8 << 16)

static struct table_row rows[] = {
    {.id = {1, 1, 1}, .type = OBJECT_DATA, .total = 100, .live = 100},
    {.id = {2, 1, 1}, .type = OBJECT_MAP, .total = LEAVES, .live = LEAVES},
};
static struct table table = {.rows = rows, .n_rows = 2, .room = 2};
static struct leaves leaves;
static struct map *map;

static place_t place_of(uint32_t leaf) {
    return (place_t)leaf << 19 | PLACE_DATA; /* row 0, block `leaf` of its data */
}

static void page_of(uint32_t leaf, struct buf *out) {
    struct page_run run = {.start = 7, .n = 2, .place = place_of(leaf)};

    leaf_page_encode(&run, 1, out);
}

/* As a checkpoint with one node would be loaded: the node here, its leaves elsewhere. */
static void load(void) {
    _cleanup_(buf_clear) struct buf node = {0};
    struct page_ref refs[LEAVES], top = {.index = 0, .row = 1};

    for (uint32_t i = 0; i < LEAVES; i++) {
        _cleanup_(buf_clear) struct buf page = {0};

        page_of(i, &page);
        refs[i] = (struct page_ref){i, 1, 0, (uint32_t)page.len, crc32c(0, page.data, page.len)};
    }
    node_page_encode(refs, LEAVES, &node);
    top.len = (uint32_t)node.len;
    top.sum = crc32c(0, node.data, node.len);
    leaves = (struct leaves){0};
    map = map_new(STEP);
    if (leaves_load(&leaves, &top, 1) < 0 ||
        leaves_bring(&leaves, map, &table, &(struct page_id){PAGE_NODE, 0}, &node, NULL) < 0)
        abort();
}

static void clear(void) {
    leaves_clear(&leaves);
    map = map_free(map);
}

static bool has(uint32_t leaf) {
    struct page_id missing;

    return leaves_have(&leaves, (uint64_t)leaf * MAP_LEAF + 7, &missing);
}

static int bring(uint32_t leaf) {
    _cleanup_(buf_clear) struct buf page = {0};

    page_of(leaf, &page);
    return leaves_bring(&leaves, map, &table, &(struct page_id){PAGE_LEAF, leaf}, &page, NULL);
}

static void test_order(void) {
    struct page_ref top = {.index = 3, .row = 1, .len = 20};
    struct page_id missing;

    leaves = (struct leaves){0};
    leaves_load(&leaves, &top, 1);
    ok(leaves_have(&leaves, 0, &missing), "of what was never written nothing is missing");
    ok(leaves_have(&leaves, (uint64_t)9 << 40, &missing), "nor beyond the map's end");
    ok(!leaves_have(&leaves, (uint64_t)3 << 20, &missing), "what a stored node has is");
    ok(missing.kind == PAGE_NODE && missing.index == 3, "the node first");
    leaves_clear(&leaves);
    load();
    ok(!leaves_have(&leaves, 5 * MAP_LEAF, &missing), "then the leaf");
    ok(missing.kind == PAGE_LEAF && missing.index == 5, "by its number in the map");
    clear();
}

static void test_bring(void) {
    _cleanup_(buf_clear) struct buf page = {0}, other = {0};
    struct page_id id = {PAGE_LEAF, 5};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint32_t n;

    load();
    page_of(5, &page);
    page.data[4] ^= 1;
    is_int(leaves_bring(&leaves, map, &table, &id, &page, &err), -1, "a flipped bit");
    is_int(err.code, S3PVE_E_CORRUPT, "... is no page");
    page_of(6, &other);
    is_int(leaves_bring(&leaves, map, &table, &id, &other, NULL), -1, "nor is another leaf's");
    ok(!has(5), "it is still missing");
    is_int(bring(5), 0, "the right one is");
    ok(has(5), "and is here then");
    is_int((long long)map_find(map, 5 * MAP_LEAF + 7, 1, &n), (long long)place_of(5), "as it was");
    clear();
    load();
    rows[0].total = 5;
    is_int(bring(5), -1, "a place beyond the segment's end is not believed");
    rows[0].total = 100;
    clear();
}

static void test_trim(void) {
    unsigned here = 0;
    uint32_t n;

    load();
    for (uint32_t i = 0; i < LEAVES; i++)
        bring(i);
    is_int(leaves.n_clean, LEAVES, "what was brought is clean");
    leaves_touch(&leaves, 3 * MAP_LEAF);
    is_int(leaves.n_clean, LEAVES - 1, "what is touched is not");
    leaves_trim(&leaves, map, map_memory(map) - 1);
    is_int(leaves.n_here, LEAVES - 1, "as many go as have to");
    leaves_trim(&leaves, map, 0);
    is_int(leaves.n_here, 1, "all that can");
    ok(has(3), "but for the one that was touched");
    is_int((long long)map_find(map, 5 * MAP_LEAF + 7, 1, &n), PLACE_NONE, "the map has them not");
    for (uint32_t i = 0; i < LEAVES; i++)
        here += i != 3 && bring(i) == 0;
    is_int(here, LEAVES - 1, "all can come back");
    clear();
}

static void test_used(void) {
    load();
    for (uint32_t i = 0; i < LEAVES; i++)
        bring(i);
    leaves_trim(&leaves, map, map_memory(map) - 1); /* nobody is spared for having come */
    for (uint32_t i = 0; i < LEAVES; i += 2)
        (void)has(i);
    while (leaves.n_here > LEAVES / 2)
        leaves_trim(&leaves, map, map_memory(map) - 1);
    for (uint32_t i = 2; i < LEAVES; i += 2)
        if (!has(i)) {
            is_int((int)i, -1, "a used leaf stays");
            clear();
            return;
        }
    ok(true, "those that are used stay");
    clear();
}

int main(void) {
    test_order();
    test_bring();
    test_trim();
    test_used();
    return done_testing();
}
