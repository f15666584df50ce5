/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "base/crc32c.h"
#include "core/error.h"
#include "volume/load.h"
#include "volume/machine.h"
#include "volume/mapobject.h"

/* The root page, which is the only one in its object. */
static int unwrap(
    const struct buf *bytes,
    const struct map_id *id,
    const uint8_t uuid[UUID_LEN],
    struct root_page *page,
    struct s3pve_error *err
) {
    _cleanup_(map_object_clear) struct map_object object = {0};
    const char *data;
    uint32_t len;

    if (map_object_decode(&object, bytes->data, bytes->len, id, uuid, err) < 0)
        return -1;
    len = map_object_header_len(object.n_pages);
    data = bytes->data + len;
    if (object.n_pages != 1 || object.pages[0].kind != PAGE_ROOT ||
        object.pages[0].len != bytes->len - len ||
        object.pages[0].sum != crc32c(0, data, bytes->len - len))
        return error_set(err, S3PVE_E_CORRUPT, "the checkpoint's root page is not whole");
    return root_page_decode(page, data, bytes->len - len, err);
}

/* Refs to what is there, of a map no larger than the volume; and the root's own row. */
static bool is_sound(const struct root_page *page, const struct root *root) {
    uint64_t blocks = (root->size + BLOCK - 1) / BLOCK;
    const struct page_ref *last = page->n_nodes ? &page->nodes[page->n_nodes - 1] : NULL;

    if (page->seq != root->head_seq)
        return false;
    if (last && (uint64_t)last->index * MAP_LEAF * MAP_LEAF >= blocks)
        return false;
    for (uint32_t i = 0; i < page->n_nodes; i++)
        if (page->nodes[i].row >= page->table.n_rows ||
            page->table.rows[page->nodes[i].row].type != OBJECT_MAP)
            return false;
    return true;
}

static bool is_row_of(const struct table_row *row, const struct map_id *id) {
    return row->type == OBJECT_MAP && row->id.seq == id->at.seq && row->id.epoch == id->at.epoch &&
           row->id.nonce == id->at.nonce && row->part == id->part;
}

/* The row of the root page's own object, or n_rows. */
static uint32_t own_row(const struct table *table, const struct map_id *id) {
    uint32_t i = 0;

    while (i < table->n_rows && !is_row_of(&table->rows[i], id))
        i++;
    return i;
}

int load_root_page(
    const struct volume_store *store,
    void *ctx,
    const struct root *root,
    struct root_page *page,
    uint32_t *ret_own_row,
    struct s3pve_error *err
) {
    _cleanup_(buf_clear) struct buf bytes = {0};
    struct map_id id;

    if (!map_name_parse(root->head_checkpoint, &id))
        return error_set(err, S3PVE_E_CORRUPT, "the root names a checkpoint that cannot be");
    if (store->object_get(ctx, root->head_checkpoint, &bytes, err) < 0)
        return error_wrap(err, "checkpoint");
    if (unwrap(&bytes, &id, root->uuid, page, err) < 0)
        return -1;
    *ret_own_row = own_row(&page->table, &id);
    if (is_sound(page, root) && *ret_own_row < page->table.n_rows)
        return 0;
    root_page_clear(page);
    return error_set(err, S3PVE_E_CORRUPT, "the checkpoint's root page cannot be");
}

int load_checkpoint(
    struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    const struct root *root,
    struct s3pve_error *err
) {
    _cleanup_(root_page_clear) struct root_page page = {0};
    struct page_ref own = {.len = 1};

    if (!root->head_checkpoint[0])
        return 0;
    if (load_root_page(store, ctx, root, &page, &own.row, err) < 0)
        return -1;
    if (leaves_load(&volume->leaves, page.nodes, page.n_nodes) < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for the map");
    volume->leaves.root.ref = own;
    volume->table = page.table;
    page.table = (struct table){0};
    volume->tip = volume->published = volume->taken_seq = page.seq;
    volume->jseq_applied = page.jseq;
    memcpy(volume->tip_hash, page.hash, HASH_LEN);
    return 0;
}

/* ------------------------------------------------------------------- strays */

struct strays {
    struct volume *volume;
    uint32_t *rows; /* owned; of the MAP objects that the checkpoint has */
    uint32_t n_rows;
};

static int note_stray(void *ctx, const char *name) {
    struct strays *strays = ctx;
    struct table *table = &strays->volume->table;
    struct map_id id;

    if (!map_name_parse(name, &id))
        return 0;
    for (uint32_t i = 0; i < strays->n_rows; i++)
        if (is_row_of(&table->rows[strays->rows[i]], &id))
            return 0;
    return table_add_map(table, &id) < 0 ? -1 : 0;
}

int load_strays(
    struct volume *volume, const struct volume_store *store, void *ctx, struct s3pve_error *err
) {
    _free_ uint32_t *rows = calloc(volume->table.n_rows + 1u, sizeof(*rows));
    struct strays strays = {.volume = volume, .rows = rows};

    if (!rows)
        return error_set(err, S3PVE_E_NOMEM, "no memory for names");
    for (uint32_t i = 0; i < volume->table.n_rows; i++)
        if (volume->table.rows[i].type == OBJECT_MAP)
            rows[strays.n_rows++] = i;
    return store->objects_list(ctx, "map/", note_stray, &strays, err);
}

/* -------------------------------------------------------------------- apply */

struct fetching {
    struct volume *volume;
    struct volume_page *pages; /* owned; PAGES_AT_OPENING of them */
};

static int bring(void *ctx, uint32_t i, const struct buf *bytes, struct s3pve_error *err) {
    const struct fetching *fetching = ctx;
    struct volume *volume = fetching->volume;
    const struct page_id *id = &fetching->pages[i].id;

    leaves_find(&volume->leaves, id)->asked = false;
    return leaves_bring(&volume->leaves, volume->map, &volume->table, id, bytes, err);
}

/* What the segment wants, from @missing on, as much at once as may be. */
static int fetch(
    struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    struct page_id missing,
    struct s3pve_error *err
) {
    _free_ struct volume_page *pages = calloc(PAGES_AT_OPENING, sizeof(*pages));
    struct fetching fetching = {volume, pages};
    uint32_t n = 0;

    if (!pages)
        return error_set(err, S3PVE_E_NOMEM, "no memory for pages of the map");
    do {
        leaves_find(&volume->leaves, &missing)->asked = true;
        want_place(volume, &missing, &pages[n++]);
    } while (n < PAGES_AT_OPENING && apply_wants(volume, &missing));
    return store->pages_get(ctx, pages, n, bring, &fetching, err);
}

int load_apply(
    struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    const struct segment *segment,
    struct s3pve_error *err
) {
    struct page_id missing;
    int rc = apply_begin(volume, segment, NULL);

    while (rc == 0) {
        rc = apply_some(volume, &missing);
        if (rc == 0 && fetch(volume, store, ctx, missing, err) < 0)
            return -1;
    }
    if (rc < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for the map");
    leaves_trim(&volume->leaves, volume->map, volume->params.map_memory);
    return 0;
}
