/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * take.c - a checkpoint: the pages that changed, taken in one step between two segments (I6)
 *
 * What points to what, and how many of an object's pages live, is from then on as if it had been
 * published.  If it is not, its pages are dirty again and the next one has them all; its objects
 * are then dead by the same count as any other's.  That what they displaced is not deleted too
 * early follows from died_seq, for a checkpoint is only taken at a seq that no published one has.
 */
#include <assert.h>
#include <string.h>

#include "base/crc32c.h"
#include "volume/machine.h"
#include "volume/mapobject.h"

/* The MAP object that pages go into, and the checkpoint that objects go into. */
struct taking {
    struct volume *volume;
    struct checkpoint *checkpoint;
    struct map_object object; /* pages are owned; n_pages 0: none is begun */
    struct buf bytes;         /* of its pages */
    uint32_t row;
};

struct checkpoint *checkpoint_free(struct checkpoint *checkpoint) {
    if (!checkpoint)
        return NULL;
    for (uint32_t i = 0; i < checkpoint->n_objects; i++)
        buf_clear(&checkpoint->objects[i].bytes);
    free(checkpoint->objects);
    free(checkpoint);
    return NULL;
}

/* -------------------------------------------------------------------- objects */

static int begin_object(struct taking *taking) {
    struct volume *volume = taking->volume;
    struct map_object *object = &taking->object;
    int64_t row;

    if (volume->taken_parts > UINT16_MAX)
        return -1;
    object->id.at = (struct segment_id){volume->tip, volume->epoch, volume->nonce};
    object->id.part = (uint16_t)volume->taken_parts++; /* (I3) */
    memcpy(object->uuid, volume->params.uuid, UUID_LEN);
    row = table_add_map(&volume->table, &object->id);
    taking->row = (uint32_t)row;
    return row < 0 ? -1 : 0;
}

static int end_object(struct taking *taking) {
    struct checkpoint *checkpoint = taking->checkpoint;
    struct checkpoint_object *objects =
        reallocarray(checkpoint->objects, checkpoint->n_objects + 1, sizeof(*objects));
    struct checkpoint_object *object;

    if (!objects)
        return -1;
    checkpoint->objects = objects;
    object = &objects[checkpoint->n_objects++];
    object->bytes = (struct buf){0};
    map_name(object->name, &taking->object.id);
    if (map_object_encode(&taking->object, &object->bytes) < 0 ||
        buf_add(&object->bytes, taking->bytes.data, taking->bytes.len) < 0)
        return -1;
    taking->volume->table.rows[taking->row].header_len =
        map_object_header_len(taking->object.n_pages);
    taking->object.n_pages = 0;
    taking->bytes.len = 0;
    return 0;
}

/* It is stored elsewhere now, or is empty. */
static void move_page(struct taking *taking, struct page *page, const struct page_ref *ref) {
    struct table *table = &taking->volume->table;

    if (page->ref.len)
        table_displace(table, page->ref.row, 1, taking->volume->tip);
    if (ref->len) {
        table->rows[ref->row].live++;
        table->rows[ref->row].total++;
    }
    page->ref = *ref;
    page->dirty = false;
    page->taken = true;
}

/* @bytes become part of the object, and @page is there; @index is its number there. */
static int add_page(
    struct taking *taking, const struct page_id *id, struct page *page, const struct buf *bytes
) {
    struct map_object *object = &taking->object;
    struct page_ref ref = {.index = id->kind == PAGE_LEAF ? id->index % MAP_LEAF : id->index};

    if (object->n_pages == MAP_PAGES_MAX || taking->bytes.len >= MAP_OBJECT_BYTES)
        if (end_object(taking) < 0)
            return -1;
    if (!object->n_pages && begin_object(taking) < 0)
        return -1;
    ref.row = taking->row;
    ref.offset = (uint32_t)taking->bytes.len;
    ref.len = (uint32_t)bytes->len;
    ref.sum = crc32c(0, bytes->data, bytes->len);
    if (buf_add(&taking->bytes, bytes->data, bytes->len) < 0)
        return -1;
    object->pages[object->n_pages++] = (struct page_entry){id->kind, id->index, ref.len, ref.sum};
    move_page(taking, page, &ref);
    return 0;
}

/* ---------------------------------------------------------------------- pages */

struct runs {
    struct page_run runs[MAP_LEAF];
    uint32_t n;
};

static void add_run(void *ctx, uint64_t block, uint32_t n, place_t place) {
    struct runs *runs = ctx;

    runs->runs[runs->n++] = (struct page_run){(uint16_t)(block % MAP_LEAF), (uint16_t)n, place};
}

static int take_leaf(struct taking *taking, uint32_t leaf, struct page *page) {
    static const struct page_ref nowhere;
    _cleanup_(buf_clear) struct buf bytes = {0};
    struct page_id id = {PAGE_LEAF, leaf};
    uint64_t block = (uint64_t)leaf * MAP_LEAF;
    struct runs runs = {.n = 0};

    map_each(taking->volume->map, block, block + MAP_LEAF, add_run, &runs);
    if (!runs.n)
        move_page(taking, page, &nowhere);
    else if (leaf_page_encode(runs.runs, runs.n, &bytes) < 0 || add_page(taking, &id, page, &bytes) < 0)
        return -1;
    taking->volume->leaves.n_dirty--;
    return 0;
}

static int take_node(struct taking *taking, uint32_t index) {
    static const struct page_ref nowhere;
    struct page_node *node = &taking->volume->leaves.nodes[index];
    _cleanup_(buf_clear) struct buf bytes = {0};
    struct page_id id = {PAGE_NODE, index};
    struct page_ref refs[MAP_LEAF];
    uint32_t n = 0;

    for (uint32_t i = 0; i < MAP_LEAF; i++) {
        struct page *leaf = &node->leaves[i];

        if (leaf->dirty && take_leaf(taking, index * MAP_LEAF + i, leaf) < 0)
            return -1;
        if (leaf->ref.len)
            refs[n++] = leaf->ref;
    }
    if (!n) {
        move_page(taking, &node->page, &nowhere);
        return 0;
    }
    if (node_page_encode(refs, n, &bytes) < 0)
        return -1;
    return add_page(taking, &id, &node->page, &bytes);
}

static int collect_nodes(const struct leaves *leaves, struct root_page *page) {
    page->nodes = calloc(leaves->n_nodes + 1u, sizeof(*page->nodes));
    if (!page->nodes)
        return -1;
    for (uint32_t i = 0; i < leaves->n_nodes; i++)
        if (leaves->nodes[i].page.ref.len)
            page->nodes[page->n_nodes++] = leaves->nodes[i].page.ref;
    return 0;
}

/* An object of its own, the last; its row, and what of the others lives, is in the page itself. */
static int take_root(struct taking *taking) {
    struct volume *volume = taking->volume;
    struct root_page page = {.seq = volume->tip, .jseq = volume->jseq_applied};
    struct page_ref ref = {.len = 1};
    _cleanup_(buf_clear) struct buf bytes = {0};
    _free_ struct page_ref *nodes = NULL;

    if (begin_object(taking) < 0 || collect_nodes(&volume->leaves, &page) < 0)
        return -1;
    nodes = page.nodes;
    ref.row = taking->row;
    move_page(taking, &volume->leaves.root, &ref);
    volume->table.rows[ref.row].header_len = map_object_header_len(1);
    memcpy(page.hash, volume->tip_hash, HASH_LEN);
    page.table = volume->table; /* lent */
    if (root_page_encode(&page, &bytes) < 0 || buf_add(&taking->bytes, bytes.data, bytes.len) < 0)
        return -1;
    taking->object.pages[taking->object.n_pages++] =
        (struct page_entry){PAGE_ROOT, 0, (uint32_t)bytes.len, crc32c(0, bytes.data, bytes.len)};
    return end_object(taking);
}

/* ----------------------------------------------------------------- checkpoint */

static int take_pages(struct taking *taking) {
    struct volume *volume = taking->volume;

    for (uint32_t i = 0; i < volume->leaves.n_nodes; i++)
        if (volume->leaves.nodes[i].page.dirty && take_node(taking, i) < 0)
            return -1;
    if (taking->object.n_pages && end_object(taking) < 0)
        return -1;
    return take_root(taking);
}

/* 0, or -1 without memory; what was taken by then is as good as not published. */
static int take(struct volume *volume, struct checkpoint *checkpoint) {
    struct taking taking = {.volume = volume, .checkpoint = checkpoint};
    int rc = -1;

    assert(!volume->applying.segment && volume->tip > volume->published); /* (I6) */
    if (volume->taken_seq != volume->tip)
        volume->taken_parts = 0;
    volume->taken_seq = volume->tip;
    volume->blocks_since = 0;
    volume->checkpoint_wanted = false;
    taking.object.pages = calloc(MAP_PAGES_MAX, sizeof(*taking.object.pages));
    if (taking.object.pages)
        rc = take_pages(&taking);
    map_object_clear(&taking.object);
    buf_clear(&taking.bytes);
    return rc;
}

static bool is_time(const struct volume *volume) {
    uint64_t pages = leaves_dirty_bytes(&volume->leaves, volume->map);
    uint64_t log = volume->blocks_since * BLOCK;

    if (volume->checkpoint_wanted || (volume->draining && volume->jseq_applied == volume->jseq))
        return true;
    if (volume->now_ms < volume->take_again_ms)
        return false;
    return volume->tip - volume->published >= CHECKPOINT_SEGMENTS ||
           (log >= (uint64_t)CHECKPOINT_BLOCKS * BLOCK && log >= CHECKPOINT_PAGES * pages) ||
           (pages > volume->params.map_memory / 2) ||
           volume->now_ms - volume->dirty_since_ms >= CHECKPOINT_AGE_MS;
}

/* What was taken is as stored now, or has to be taken again. */
static void settle_page(struct leaves *leaves, struct page *page, bool published) {
    if (!page->taken)
        return;
    page->taken = false;
    if (!published) {
        leaves->n_dirty += !page->dirty;
        page->dirty = true;
    } else if (!page->dirty) {
        page->here = page->ref.len > 0;
        leaves->n_clean += page->here;
        leaves->n_here -= !page->here;
    }
}

static void settle(struct leaves *leaves, bool published) {
    for (uint32_t i = 0; i < leaves->n_nodes; i++) {
        struct page_node *node = &leaves->nodes[i];

        if (!node->leaves || (!node->page.taken && !node->page.dirty))
            continue;
        for (uint32_t k = 0; k < MAP_LEAF; k++)
            settle_page(leaves, &node->leaves[k], published);
        node->page.dirty |= node->page.taken && !published;
        node->page.taken = false;
    }
}

static void end(struct volume *volume, bool published) {
    settle(&volume->leaves, published);
    volume->checkpoint = checkpoint_free(volume->checkpoint);
    volume->take_again_ms = published ? 0 : volume->now_ms + CHECKPOINT_AGAIN_MS;
}

void volume_checkpoint_done(struct volume *volume, const struct s3pve_error *err) {
    if (!err)
        volume->published = volume->checkpoint->seq;
    end(volume, !err);
    if (!err)
        tidy(volume);
    if (err && err->code == S3PVE_E_CONFLICT)
        machine_fail(volume, err);
    machine_move(volume);
}

void take_move(struct volume *volume) {
    if (volume->checkpoint || volume->applying.segment || volume->tip == volume->published ||
        !is_time(volume))
        return;
    volume->checkpoint = calloc(1, sizeof(*volume->checkpoint));
    if (!volume->checkpoint)
        return;
    volume->checkpoint->seq = volume->tip;
    volume->checkpoint->epoch = volume->epoch;
    volume->checkpoint->nonce = volume->nonce;
    if (take(volume, volume->checkpoint) == 0)
        volume->ops->checkpoint_put(volume->ctx, volume->checkpoint);
    else
        end(volume, false);
}

void volume_checkpoint(struct volume *volume) {
    volume->checkpoint_wanted = true;
    machine_move(volume);
}
