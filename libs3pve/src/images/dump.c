/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* dump.c - what a volume in the bucket consists of, one JSON object each */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "images/inspect.h"
#include "images/pages.h"
#include "volume/forward.h"
#include "volume/load.h"
#include "volume/machine.h"

struct dump {
    struct inspect inspect; /* first */
    bool all;
    int (*each)(void *ctx, const char *json);
    void *ctx;
    struct root_page page; /* owned */
    struct s3pve_error *err;
};

#define NUMBER(x) ((json_int_t)(x))

/* Takes @object over.  Return: 0, what each() said, or -1. */
static int tell(struct dump *dump, json_t *object) {
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    int rc = -1;

    json_decref(object);
    if (!text)
        return error_set(dump->err, S3PVE_E_NOMEM, "no memory for what is told");
    rc = dump->each(dump->ctx, text);
    free(text);
    return rc;
}

/* What cannot be read is told; what is not the object's fault is the end. */
static int tell_error(struct dump *dump, const char *name, const struct s3pve_error *why) {
    char key[INSPECT_KEY];

    if (!inspect_is_damage(why)) {
        if (dump->err)
            *dump->err = *why;
        return -1;
    }
    inspect_key(&dump->inspect, name, key);
    return tell(
        dump, json_pack("{s:s, s:s, s:s}", "what", "error", "key", key, "message", why->message)
    );
}

static json_t *nonce(uint32_t value) {
    return json_sprintf("%08" PRIx32, value);
}

static json_t *hex(const uint8_t *bytes, size_t len) {
    char text[2 * UUID_LEN + 1] = "";

    for (size_t i = 0; i < len && i < UUID_LEN; i++)
        sprintf(text + 2 * i, "%02x", bytes[i]);
    return json_string(text);
}

/* --------------------------------------------------------------------- root */

/* As it is stored, but for its epochs. */
static int tell_root(struct dump *dump) {
    json_t *root = json_deep_copy(dump->inspect.idle.root.json);
    char key[INSPECT_KEY];

    inspect_key(&dump->inspect, NULL, key);
    json_object_set_new(root, "what", json_string("root"));
    json_object_set_new(root, "key", json_string(key));
    json_object_del(root, "epochs");
    return tell(dump, root);
}

static int tell_epoch(struct dump *dump, const struct root_epoch *epoch) {
    json_t *object = json_pack(
        "{s:s, s:I, s:o, s:I}",
        "what",
        "epoch",
        "epoch",
        NUMBER(epoch->epoch),
        "nonce",
        nonce(epoch->nonce),
        "first",
        NUMBER(epoch->first)
    );

    if (object && epoch->last)
        json_object_set_new(object, "last", json_integer(NUMBER(epoch->last)));
    return tell(dump, object);
}

static int tell_roots(struct dump *dump) {
    const struct root *root = &dump->inspect.idle.root;
    int rc = tell_root(dump);

    for (uint32_t i = 0; i < root->n_epochs && rc == 0; i++)
        rc = tell_epoch(dump, &root->epochs[i]);
    return rc;
}

/* --------------------------------------------------------------- checkpoint */

static int tell_row(struct dump *dump, uint32_t number, const struct table_row *row) {
    static const char *const types[] = {
        [OBJECT_DATA] = "data", [OBJECT_GC] = "gc", [OBJECT_MAP] = "map"};
    char name[OBJECT_NAME];
    json_t *object;

    table_name(name, row);
    object = json_pack(
        "{s:s, s:I, s:s, s:s, s:I, s:I, s:I}",
        "what",
        "object",
        "row",
        NUMBER(number),
        "name",
        name,
        "type",
        types[row->type],
        "total",
        NUMBER(row->total),
        "live",
        NUMBER(row->live),
        "header",
        NUMBER(row->header_len)
    );
    if (object && !row->live)
        json_object_set_new(object, "died", json_integer(NUMBER(row->died_seq)));
    return tell(dump, object);
}

static int tell_checkpoint(struct dump *dump) {
    const struct root_page *page = &dump->page;
    int rc = tell(
        dump,
        json_pack(
            "{s:s, s:s, s:I, s:I, s:o, s:I, s:I}",
            "what",
            "checkpoint",
            "name",
            dump->inspect.idle.root.head_checkpoint,
            "seq",
            NUMBER(page->seq),
            "jseq",
            NUMBER(page->jseq),
            "hash",
            hex(page->hash, HASH_LEN),
            "nodes",
            NUMBER(page->n_nodes),
            "rows",
            NUMBER(page->table.n_rows)
        )
    );

    for (uint32_t i = 0; i < page->table.n_rows && rc == 0; i++)
        if (page->table.rows[i].id.seq)
            rc = tell_row(dump, i, &page->table.rows[i]);
    return rc;
}

static int read_checkpoint(struct dump *dump) {
    struct idle *idle = &dump->inspect.idle;
    const char *name = idle->root.head_checkpoint;
    struct s3pve_error why = S3PVE_ERROR_INIT;
    uint32_t own_row;

    if (!name[0])
        return 0;
    if (load_root_page(&dump->inspect.ops, &idle->store, &idle->root, &dump->page, &own_row, &why) <
        0)
        return tell_error(dump, name, &why);
    return tell_checkpoint(dump);
}

/* ----------------------------------------------------------------- segments */

static int tell_extent(struct dump *dump, const struct extent *extent) {
    static const char *const kinds[] = {
        [EXTENT_DATA] = "data", [EXTENT_ZERO] = "zero", [EXTENT_UNMAP] = "discard"};
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:s}",
        "what",
        "extent",
        "block",
        NUMBER(extent->block),
        "blocks",
        NUMBER(extent->n),
        "kind",
        kinds[extent->kind]
    );

    if (object && extent->kind == EXTENT_DATA)
        json_object_set_new(object, "data", json_integer(NUMBER(extent->data)));
    return tell(dump, object);
}

static int tell_segment(struct dump *dump, const struct segment *segment, bool in_log) {
    char name[SEGMENT_NAME];
    int rc;

    segment_name(name, &segment->id);
    rc = tell(
        dump,
        json_pack(
            "{s:s, s:s, s:b, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I}",
            "what",
            "segment",
            "name",
            name,
            "log",
            in_log,
            "jseq_first",
            NUMBER(segment->jseq_first),
            "jseq_last",
            NUMBER(segment->jseq_last),
            "prev",
            NUMBER(segment->prev_seq),
            "prev_hash",
            hex(segment->prev_hash, HASH_LEN),
            "size_blocks",
            NUMBER(segment->size_blocks),
            "header",
            NUMBER(segment->header_len),
            "extents",
            NUMBER(segment->n_extents),
            "data",
            NUMBER(segment->n_data),
            "type",
            NUMBER(segment->type)
        )
    );
    for (uint32_t i = 0; dump->all && i < segment->n_extents && rc == 0; i++)
        rc = tell_extent(dump, &segment->extents[i]);
    return rc;
}

/* The next one whose header was asked for. */
static int tell_next(struct dump *dump, const struct segment_id *id, bool in_log) {
    _cleanup_(segment_clear) struct segment segment = {0};
    struct s3pve_error why = S3PVE_ERROR_INIT;
    uint8_t hash[HASH_LEN];
    char name[SEGMENT_NAME];

    segment_name(name, id);
    if (inspect_next_header(&dump->inspect, id, &segment, hash, &why) == 0)
        return tell_segment(dump, &segment, in_log);
    return tell_error(dump, name, &why);
}

static bool is_mapped(const struct table_row *row) {
    return row->live && row->type != OBJECT_MAP;
}

/* Those that the checkpoint's map points to. */
static int tell_mapped(struct dump *dump) {
    const struct table *table = &dump->page.table;
    int rc = 0;

    for (uint32_t i = 0; i < table->n_rows; i++)
        if (is_mapped(&table->rows[i]) &&
            headers_note(dump->inspect.idle.store.headers, &table->rows[i].id) < 0)
            return error_set(dump->err, S3PVE_E_NOMEM, "no memory for names");
    for (uint32_t i = 0; i < table->n_rows && rc == 0; i++)
        if (is_mapped(&table->rows[i]))
            rc = tell_next(dump, &table->rows[i].id, false);
    return rc;
}

static int tell_log(struct dump *dump) {
    struct idle *idle = &dump->inspect.idle;
    _cleanup_(forward_clear
    ) struct forward log = {.store = &dump->inspect.ops, .ctx = &idle->store, .root = &idle->root};
    const struct segment_id *id;
    uint64_t seq = idle->root.head_seq;
    int rc = forward_list(&log, dump->err);

    while (rc == 0 && (id = forward_find(&log, ++seq)))
        rc = tell_next(dump, id, true);
    return rc;
}

/* ---------------------------------------------------------------------- map */

static int tell_page(
    struct dump *dump,
    const struct page_id *id,
    const struct page_ref *ref,
    const char *of_what,
    uint32_t n
) {
    return tell(
        dump,
        json_pack(
            "{s:s, s:I, s:I, s:I, s:I, s:I}",
            "what",
            id->kind == PAGE_NODE ? "node" : "leaf",
            "index",
            NUMBER(id->index),
            "row",
            NUMBER(ref->row),
            "offset",
            NUMBER(ref->offset),
            "len",
            NUMBER(ref->len),
            of_what,
            NUMBER(n)
        )
    );
}

static int on_node(
    void *ctx,
    const struct page_id *id,
    const struct page_ref *ref,
    const struct page_ref *leaves,
    uint32_t n
) {
    return tell_page(ctx, id, ref, "leaves", n);
}

static int tell_run(struct dump *dump, uint64_t block, const struct page_run *run) {
    bool is_data = place_kind(run->place) == PLACE_DATA;
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:s}",
        "what",
        "run",
        "block",
        NUMBER(block),
        "blocks",
        NUMBER(run->n),
        "kind",
        is_data ? "data" : "zero"
    );

    if (object && is_data) {
        json_object_set_new(object, "row", json_integer(NUMBER(map_row(run->place))));
        json_object_set_new(object, "data", json_integer(NUMBER(map_data(run->place))));
    }
    return tell(dump, object);
}

static int on_leaf(
    void *ctx,
    const struct page_id *id,
    const struct page_ref *ref,
    const struct page_run *runs,
    uint32_t n
) {
    int rc = tell_page(ctx, id, ref, "runs", n);

    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = tell_run(ctx, (uint64_t)id->index * MAP_LEAF + runs[i].start, &runs[i]);
    return rc;
}

static int on_bad(
    void *ctx, const struct page_id *id, const struct page_ref *ref, const struct s3pve_error *why
) {
    struct dump *dump = ctx;
    const struct table *table = &dump->page.table;
    struct s3pve_error told = *why;
    char name[ROOT_OBJECT];

    snprintf(name, sizeof(name), "%s", dump->inspect.idle.root.head_checkpoint);
    if (ref->row < table->n_rows && table->rows[ref->row].id.seq)
        table_name(name, &table->rows[ref->row]);
    error_wrap(
        &told, "%s %" PRIu32 " of the map", id->kind == PAGE_NODE ? "node" : "leaf", id->index
    );
    return tell_error(dump, name, &told);
}

/* --------------------------------------------------------------------- all */

static int tell_all(struct dump *dump) {
    struct pages_told told = {.ctx = dump, .node = on_node, .leaf = on_leaf, .bad = on_bad};
    int rc = tell_roots(dump);

    if (rc == 0)
        rc = read_checkpoint(dump);
    if (rc == 0)
        rc = tell_mapped(dump);
    if (rc == 0)
        rc = tell_log(dump);
    if (rc == 0 && dump->all)
        rc = pages_walk(&dump->inspect, &dump->page, &told, dump->err);
    return rc;
}

_public_ int s3pve_volume_dump(
    struct s3pve_client *client,
    const char *name,
    bool all,
    int (*each)(void *ctx, const char *json),
    void *ctx,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_error why = S3PVE_ERROR_INIT;
    struct dump dump = {.all = all, .each = each, .ctx = ctx, .err = &why};
    int rc = inspect_begin(&dump.inspect, client, name, call, &why);

    if (rc == 0)
        rc = tell_all(&dump);
    root_page_clear(&dump.page);
    inspect_end(&dump.inspect);
    if (why.code && err)
        *err = why;
    return why.code ? error_wrap(err, "%s", name) : rc;
}
