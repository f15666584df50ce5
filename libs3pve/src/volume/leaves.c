/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <assert.h>
#include <string.h>

#include "base/crc32c.h"
#include "core/error.h"
#include "volume/leaves.h"

void leaves_clear(struct leaves *leaves) {
    for (uint32_t i = 0; i < leaves->n_nodes; i++)
        free(leaves->nodes[i].leaves);
    free(leaves->nodes);
    *leaves = (struct leaves){0};
}

static int grow(struct leaves *leaves, uint32_t n_nodes) {
    struct page_node *nodes;

    if (n_nodes <= leaves->n_nodes)
        return 0;
    nodes = reallocarray(leaves->nodes, n_nodes, sizeof(*nodes));
    if (!nodes)
        return -1;
    memset(nodes + leaves->n_nodes, 0, (n_nodes - leaves->n_nodes) * sizeof(*nodes));
    leaves->nodes = nodes;
    leaves->n_nodes = n_nodes;
    return 0;
}

int leaves_load(struct leaves *leaves, const struct page_ref *nodes, uint32_t n) {
    if (n && grow(leaves, nodes[n - 1].index + 1) < 0)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        leaves->nodes[nodes[i].index].page.ref = nodes[i];
    return 0;
}

static bool is_elsewhere(const struct page *page) {
    return page->ref.len && !page->here;
}

static bool is_clean(const struct page *page) {
    return page->here && !page->dirty && !page->taken;
}

bool leaves_have(struct leaves *leaves, uint64_t block, struct page_id *ret_missing) {
    uint64_t leaf = block / MAP_LEAF, node = leaf / MAP_LEAF;
    struct page *page;

    if (node >= leaves->n_nodes)
        return true;
    if (is_elsewhere(&leaves->nodes[node].page)) {
        *ret_missing = (struct page_id){PAGE_NODE, (uint32_t)node};
        return false;
    }
    if (!leaves->nodes[node].leaves)
        return true;
    page = &leaves->nodes[node].leaves[leaf % MAP_LEAF];
    page->used = true;
    *ret_missing = (struct page_id){PAGE_LEAF, (uint32_t)leaf};
    return !is_elsewhere(page);
}

struct page *leaves_find(const struct leaves *leaves, const struct page_id *id) {
    if (id->kind == PAGE_NODE)
        return &leaves->nodes[id->index].page;
    return &leaves->nodes[id->index / MAP_LEAF].leaves[id->index % MAP_LEAF];
}

static int make_leaves(struct page_node *node) {
    if (!node->leaves)
        node->leaves = calloc(MAP_LEAF, sizeof(*node->leaves));
    return node->leaves ? 0 : -1;
}

int leaves_touch(struct leaves *leaves, uint64_t block) {
    uint64_t leaf = block / MAP_LEAF, index = leaf / MAP_LEAF;
    struct page_node *node;
    struct page *page;

    if (grow(leaves, (uint32_t)index + 1) < 0 || make_leaves(&leaves->nodes[index]) < 0)
        return -1;
    node = &leaves->nodes[index];
    page = &node->leaves[leaf % MAP_LEAF];
    assert(!is_elsewhere(&node->page) && !is_elsewhere(page));
    leaves->n_clean -= is_clean(page);
    leaves->n_here += !page->here;
    leaves->n_dirty += !page->dirty;
    page->here = page->dirty = page->used = true;
    node->page.here = node->page.dirty = true;
    return 0;
}

/* -------------------------------------------------------------------- bring */

static bool run_can_be(const struct table *table, const struct page_run *run) {
    uint32_t row = (uint32_t)(run->place >> 32);
    uint32_t data = (uint32_t)(run->place >> 16 & 0xffff) / (BLOCK / 512);

    if (place_kind(run->place) != PLACE_DATA)
        return true;
    return row < table->n_rows && table->rows[row].id.seq && table->rows[row].type != OBJECT_MAP &&
           data + run->n <= table->rows[row].total;
}

/* 1, 0: it cannot be, -1: no memory. */
static int bring_leaf(
    struct map *map, const struct table *table, uint32_t index, const struct buf *bytes
) {
    struct page_run runs[MAP_LEAF];
    int n = leaf_page_decode(runs, bytes->data, bytes->len);

    for (int i = 0; i < n; i++)
        if (!run_can_be(table, &runs[i]))
            return 0;
    for (int i = 0; i < n; i++)
        if (map_set(map, (uint64_t)index * MAP_LEAF + runs[i].start, runs[i].n, runs[i].place) < 0)
            return -1;
    return n >= 0;
}

static int bring_node(struct page_node *node, const struct table *table, const struct buf *bytes) {
    struct page_ref refs[MAP_LEAF];
    int n = node_page_decode(refs, bytes->data, bytes->len);

    for (int i = 0; i < n; i++)
        if (refs[i].row >= table->n_rows || table->rows[refs[i].row].type != OBJECT_MAP)
            return 0;
    if (make_leaves(node) < 0)
        return -1;
    for (int i = 0; i < n; i++)
        node->leaves[refs[i].index].ref = refs[i];
    return n >= 0;
}

int leaves_bring(
    struct leaves *leaves,
    struct map *map,
    const struct table *table,
    const struct page_id *id,
    const struct buf *bytes,
    struct s3pve_error *err
) {
    struct page *page = leaves_find(leaves, id);
    int rc = 0;

    assert(is_elsewhere(page));
    if (bytes->len == page->ref.len && crc32c(0, bytes->data, bytes->len) == page->ref.sum)
        rc = id->kind == PAGE_NODE ? bring_node(&leaves->nodes[id->index], table, bytes)
                                   : bring_leaf(map, table, id->index, bytes);
    if (rc < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a page of the map");
    if (rc == 0)
        return error_set(err, S3PVE_E_CORRUPT, "a page of the map is not what was stored");
    page->here = page->used = true;
    if (id->kind == PAGE_LEAF) {
        leaves->n_here++;
        leaves->n_clean++;
    }
    return 0;
}

/* --------------------------------------------------------------------- trim */

/* The leaf at the hand, which moves on; NULL: there is none in this node. */
static struct page *next_leaf(struct leaves *leaves, uint64_t *ret_leaf) {
    struct page_node *node;

    if (leaves->hand_leaf == MAP_LEAF) {
        leaves->hand_leaf = 0;
        leaves->hand_node++;
    }
    if (leaves->hand_node >= leaves->n_nodes)
        leaves->hand_node = 0;
    node = &leaves->nodes[leaves->hand_node];
    *ret_leaf = (uint64_t)leaves->hand_node * MAP_LEAF + leaves->hand_leaf;
    if (!node->leaves) {
        leaves->hand_leaf = MAP_LEAF;
        return NULL;
    }
    return &node->leaves[leaves->hand_leaf++];
}

void leaves_trim(struct leaves *leaves, struct map *map, size_t max) {
    for (uint64_t n = 2 * (uint64_t)leaves->n_nodes * (MAP_LEAF + 1);
         n > 0 && leaves->n_clean && map_memory(map) > max;
         n--) {
        uint64_t leaf;
        struct page *page = next_leaf(leaves, &leaf);

        if (!page || !is_clean(page))
            continue;
        if (page->used) {
            page->used = false;
            continue;
        }
        (void)map_set(map, leaf * MAP_LEAF, MAP_LEAF, PLACE_NONE); /* which takes no memory */
        page->here = false;
        leaves->n_here--;
        leaves->n_clean--;
    }
}

/* Of the memory of all leaves that are here, what @n of them take. */
static uint64_t share(const struct leaves *leaves, const struct map *map, uint32_t n) {
    return leaves->n_here ? map_memory(map) * (uint64_t)n / leaves->n_here : 0;
}

uint64_t leaves_dirty_bytes(const struct leaves *leaves, const struct map *map) {
    return share(leaves, map, leaves->n_dirty);
}

uint64_t leaves_held_bytes(const struct leaves *leaves, const struct map *map) {
    return share(leaves, map, leaves->n_here - leaves->n_clean);
}
