/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "core/error.h"
#include "images/audit.h"
#include "images/pages.h"
#include "volume/machine.h"

#define BAD_PAGES_TOLD 3 /* of one object */

/* ------------------------------------------------------------------ objects */

static uint64_t pages_len(const struct map_object *object) {
    uint64_t len = 0;

    for (uint32_t i = 0; i < object->n_pages; i++)
        len += object->pages[i].len;
    return len;
}

static int check_object(struct audit *audit, uint32_t i, struct s3pve_error *err) {
    _cleanup_(map_object_clear) struct map_object object = {0};
    const struct table_row *row = &audit->page.table.rows[i];
    struct s3pve_error why = S3PVE_ERROR_INIT;
    char name[OBJECT_NAME];
    uint64_t size = audit->rows[i].size, wanted;

    if (inspect_map_header(&audit->inspect, row, &object, &why) < 0)
        return audit_blame(audit, row, &why, err);
    table_name(name, row);
    wanted = row->header_len + pages_len(&object);
    if (object.n_pages != row->total)
        audit_find(
            audit,
            name,
            "it has %" PRIu32 " pages, and should have %" PRIu32,
            object.n_pages,
            row->total
        );
    if (size >= row->header_len && size != wanted)
        audit_find(audit, name, "it has %" PRIu64 " bytes instead of %" PRIu64, size, wanted);
    return 0;
}

/* -------------------------------------------------------------------- pages */

/* What pages_walk() tells. */
struct hearing {
    struct audit *audit;
    struct s3pve_error *err;
};

static const char *page_name(enum page_kind kind) {
    return kind == PAGE_NODE ? "node" : "leaf";
}

static int on_bad(
    void *ctx, const struct page_id *id, const struct page_ref *ref, const struct s3pve_error *why
) {
    const struct hearing *hearing = ctx;
    struct audit *audit = hearing->audit;
    const struct table *table = &audit->page.table;
    bool is_row = ref->row < table->n_rows && table->rows[ref->row].type == OBJECT_MAP;
    char name[ROOT_OBJECT];

    audit->bad_pages = true;
    if (is_row && audit->rows[ref->row].size == AUDIT_MISSING) /* which is known */
        return 0;
    if (is_row && audit->rows[ref->row].n_bad++ >= BAD_PAGES_TOLD)
        return 0;
    if (is_row && why->code == S3PVE_E_NOT_FOUND) {
        audit->rows[ref->row].size = AUDIT_MISSING;
        return audit_missing(audit, &table->rows[ref->row], hearing->err);
    }
    snprintf(name, sizeof(name), "%s", audit->inspect.idle.root.head_checkpoint);
    if (is_row)
        table_name(name, &table->rows[ref->row]);
    audit_find(
        audit, name, "%s %" PRIu32 " of the map: %s", page_name(id->kind), id->index, why->message
    );
    return 0;
}

static int on_node(
    void *ctx,
    const struct page_id *id,
    const struct page_ref *ref,
    const struct page_ref *leaves,
    uint32_t n
) {
    const struct hearing *hearing = ctx;

    hearing->audit->rows[ref->row].live++;
    return 0;
}

/* What of a run cannot be, or NULL. */
static const char *check_run(
    const struct audit *audit, uint64_t block, const struct page_run *run
) {
    const struct table *table = &audit->page.table;
    uint64_t blocks = (audit->inspect.idle.root.size + BLOCK - 1) / BLOCK;
    const struct table_row *row;

    if (block + run->n > blocks)
        return "is beyond the disk's end";
    if (place_kind(run->place) != PLACE_DATA)
        return NULL;
    if (map_row(run->place) >= table->n_rows)
        return "is in an object that there is not";
    row = &table->rows[map_row(run->place)];
    if (!row->id.seq || row->type == OBJECT_MAP)
        return "is in what is no segment";
    if ((uint64_t)map_data(run->place) + run->n > row->total)
        return "is beyond its segment's end";
    return NULL;
}

static int on_leaf(
    void *ctx,
    const struct page_id *id,
    const struct page_ref *ref,
    const struct page_run *runs,
    uint32_t n
) {
    struct audit *audit = ((const struct hearing *)ctx)->audit;
    char name[OBJECT_NAME];

    audit->rows[ref->row].live++;
    table_name(name, &audit->page.table.rows[ref->row]);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t block = (uint64_t)id->index * MAP_LEAF + runs[i].start;
        const char *bad = check_run(audit, block, &runs[i]);

        if (bad)
            audit_find(audit, name, "the disk's block %" PRIu64 " %s", block, bad);
        audit->bad_pages |= bad != NULL; /* so that counts mean nothing */
        if (bad || place_kind(runs[i].place) != PLACE_DATA)
            continue;
        audit->rows[map_row(runs[i].place)].live += runs[i].n;
        audit->health->data_bytes += (uint64_t)runs[i].n * BLOCK;
    }
    return 0;
}

/* ------------------------------------------------------------------- counts */

static void check_counts(struct audit *audit) {
    char name[OBJECT_NAME];

    for (uint32_t i = 0; i < audit->n_order; i++) {
        uint32_t row = audit->order[i], live = audit->page.table.rows[row].live;

        if (audit->rows[row].live == live)
            continue;
        table_name(name, &audit->page.table.rows[row]);
        audit_find(
            audit,
            name,
            "the map points to %" PRIu32 " of its %s, and says to %" PRIu32,
            audit->rows[row].live,
            audit->page.table.rows[row].type == OBJECT_MAP ? "pages" : "blocks",
            live
        );
    }
}

int audit_map(struct audit *audit, struct s3pve_error *err) {
    struct hearing hearing = {audit, err};
    struct pages_told told = {.ctx = &hearing, .node = on_node, .leaf = on_leaf, .bad = on_bad};
    const struct table *table = &audit->page.table;
    int rc = 0;

    if (!table->n_rows)
        return 0;
    for (uint32_t i = 0; i < audit->n_order && rc == 0; i++) {
        const struct table_row *row = &table->rows[audit->order[i]];

        if (row->type == OBJECT_MAP && row->live &&
            audit->rows[audit->order[i]].size != AUDIT_MISSING)
            rc = check_object(audit, audit->order[i], err);
    }
    if (rc == 0)
        rc = pages_walk(&audit->inspect, &audit->page, &told, err);
    audit->rows[audit->own_row].live++;
    if (rc == 0 && !audit->bad_pages)
        check_counts(audit);
    return rc;
}
