/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "core/error.h"
#include "volume/pack.h"
#include "volume/page.h"

#define RUN_SIZE 12u
#define REF_SIZE 20u
#define ROW_SIZE 48u
#define ROOT_FIXED 40u

/* Of a place, what is not used yet: blocks within compressed frames. */
#define PLACE_RESERVED 0xfffcu

void root_page_clear(struct root_page *page) {
    free(page->nodes);
    table_clear(&page->table);
    *page = (struct root_page){0};
}

/* ------------------------------------------------------------------- leaves */

int leaf_page_encode(const struct page_run *runs, uint32_t n, struct buf *out) {
    uint8_t page[4 + MAP_LEAF * RUN_SIZE], *at = page;

    pack_u32(&at, n);
    for (uint32_t i = 0; i < n; i++) {
        pack_u16(&at, runs[i].start);
        pack_u16(&at, runs[i].n);
        pack_u64(&at, runs[i].place);
    }
    return buf_add(out, page, (size_t)(at - page));
}

static bool place_can_be(place_t place) {
    switch (place_kind(place)) {
    case PLACE_DATA: return !(place & PLACE_RESERVED) && (place >> 16) % (BLOCK / 512) == 0;
    case PLACE_ZERO: return place == PLACE_ZERO;
    default: return false;
    }
}

/* How many items of @size a page of @len bytes holds, by its own word; -1: it lies. */
static int count(const uint8_t **at, size_t len, size_t size) {
    uint32_t n;

    if (len < 4)
        return -1;
    n = unpack_u32(at);
    return n <= MAP_LEAF && len == 4 + n * size ? (int)n : -1;
}

int leaf_page_decode(struct page_run runs[MAP_LEAF], const void *data, size_t len) {
    const uint8_t *at = data;
    int n = count(&at, len, RUN_SIZE);
    uint32_t end = 0;

    for (int i = 0; i < n; i++) {
        runs[i].start = unpack_u16(&at);
        runs[i].n = unpack_u16(&at);
        runs[i].place = unpack_u64(&at);
        if (runs[i].start < end || !runs[i].n || !place_can_be(runs[i].place))
            return -1;
        end = (uint32_t)runs[i].start + runs[i].n;
        if (end > MAP_LEAF)
            return -1;
    }
    return n;
}

/* -------------------------------------------------------------------- nodes */

static void pack_ref(uint8_t **at, const struct page_ref *ref) {
    pack_u32(at, ref->index);
    pack_u32(at, ref->row);
    pack_u32(at, ref->offset);
    pack_u32(at, ref->len);
    pack_u32(at, ref->sum);
}

/* Refs in order of index, all of them below @end, and to something. */
static bool unpack_refs(const uint8_t **at, struct page_ref *refs, uint32_t n, uint64_t end) {
    for (uint32_t i = 0; i < n; i++) {
        refs[i].index = unpack_u32(at);
        refs[i].row = unpack_u32(at);
        refs[i].offset = unpack_u32(at);
        refs[i].len = unpack_u32(at);
        refs[i].sum = unpack_u32(at);
        if (refs[i].index >= end || (i && refs[i].index <= refs[i - 1].index))
            return false;
        if (!refs[i].len || refs[i].len > PAGE_BYTES_MAX)
            return false;
    }
    return true;
}

int node_page_encode(const struct page_ref *refs, uint32_t n, struct buf *out) {
    uint8_t page[4 + MAP_LEAF * REF_SIZE], *at = page;

    pack_u32(&at, n);
    for (uint32_t i = 0; i < n; i++)
        pack_ref(&at, &refs[i]);
    return buf_add(out, page, (size_t)(at - page));
}

int node_page_decode(struct page_ref refs[MAP_LEAF], const void *data, size_t len) {
    const uint8_t *at = data;
    int n = count(&at, len, REF_SIZE);

    return n < 0 || !unpack_refs(&at, refs, (uint32_t)n, MAP_LEAF) ? -1 : n;
}

/* --------------------------------------------------------------------- root */

static void pack_row(uint8_t **at, const struct table_row *row) {
    pack_u64(at, row->id.seq);
    pack_u32(at, row->id.epoch);
    pack_u32(at, row->id.nonce);
    pack_u16(at, (uint16_t)row->type);
    pack_u16(at, row->part);
    pack_u32(at, row->total);
    pack_u32(at, row->live);
    pack_u32(at, row->header_len);
    pack_u64(at, row->died_seq);
    pack_u64(at, 0); /* which volume's, reserved */
}

static bool unpack_row(const uint8_t **at, struct table_row *row) {
    *row = (struct table_row){.id.seq = unpack_u64(at)};
    row->id.epoch = unpack_u32(at);
    row->id.nonce = unpack_u32(at);
    row->type = unpack_u16(at);
    row->part = unpack_u16(at);
    row->total = unpack_u32(at);
    row->live = unpack_u32(at);
    row->header_len = unpack_u32(at);
    row->died_seq = unpack_u64(at);
    if (unpack_u64(at) != 0 || row->live > row->total)
        return false;
    return !row->id.seq || (row->type >= OBJECT_DATA && row->type <= OBJECT_MAP);
}

int root_page_encode(const struct root_page *page, struct buf *out) {
    const struct table *table = &page->table;
    size_t len = ROOT_FIXED + (size_t)page->n_nodes * REF_SIZE + (size_t)table->n_rows * ROW_SIZE;
    _free_ uint8_t *bytes = malloc(len);
    uint8_t *at = bytes;

    if (!bytes)
        return -1;
    pack_u64(&at, page->seq);
    pack_u64(&at, page->jseq);
    pack_bytes(&at, page->hash, HASH_LEN);
    pack_u32(&at, page->n_nodes);
    pack_u32(&at, table->n_rows);
    for (uint32_t i = 0; i < page->n_nodes; i++)
        pack_ref(&at, &page->nodes[i]);
    for (uint32_t i = 0; i < table->n_rows; i++)
        pack_row(&at, &table->rows[i]);
    return buf_add(out, bytes, len);
}

static bool unpack_table(const uint8_t **at, struct table *table, uint32_t n_rows) {
    for (; table->n_rows < n_rows; table->n_rows++)
        if (!unpack_row(at, &table->rows[table->n_rows]))
            return false;
    return true;
}

static int corrupt_root(struct root_page *page, struct s3pve_error *err) {
    root_page_clear(page);
    return error_set(err, S3PVE_E_CORRUPT, "the checkpoint's root page cannot be");
}

int root_page_decode(
    struct root_page *page, const void *data, size_t len, struct s3pve_error *err
) {
    const uint8_t *at = data;
    uint32_t n_rows;

    *page = (struct root_page){0};
    if (len < ROOT_FIXED)
        return corrupt_root(page, err);
    page->seq = unpack_u64(&at);
    page->jseq = unpack_u64(&at);
    unpack_bytes(&at, page->hash, HASH_LEN);
    page->n_nodes = unpack_u32(&at);
    n_rows = unpack_u32(&at);
    if (len != ROOT_FIXED + (uint64_t)page->n_nodes * REF_SIZE + (uint64_t)n_rows * ROW_SIZE)
        return corrupt_root(page, err);
    page->nodes = calloc(page->n_nodes + 1u, sizeof(*page->nodes));
    page->table.rows = calloc(n_rows + 1u, sizeof(*page->table.rows));
    page->table.room = n_rows + 1;
    if (!page->nodes || !page->table.rows) {
        root_page_clear(page);
        return error_set(err, S3PVE_E_NOMEM, "no memory for a checkpoint");
    }
    if (!unpack_refs(&at, page->nodes, page->n_nodes, MAP_NODES_MAX) ||
        !unpack_table(&at, &page->table, n_rows))
        return corrupt_root(page, err);
    return 0;
}
