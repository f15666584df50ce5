/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "base/crc32c.h"
#include "core/error.h"
#include "images/pages.h"
#include "volume/volume.h"

#define GAP KIB(4)     /* bytes read for nothing rather than asked for apart */
#define STRETCH MIB(1) /* and read at once */

/* Pages that lie side by side in one object. */
struct stretch {
    struct inspect *inspect;
    struct crew_job job;
    char object[OBJECT_NAME];
    uint64_t offset; /* in the object */
    uint32_t len;
    uint8_t *data; /* owned; NULL: .err says why */
    struct s3pve_error err;
};

/* A leaf of the node at hand. */
struct leaf {
    const struct page_ref *ref;
    struct stretch *stretch; /* NULL: what it is in is no MAP object */
};

struct walk {
    struct inspect *inspect;
    const struct root_page *root;
    const struct pages_told *told;
    struct page_ref refs[MAP_LEAF];
    struct leaf leaves[MAP_LEAF], *by_place[MAP_LEAF];
    struct stretch stretches[MAP_LEAF];
    uint32_t n_refs, n_stretches;
};

/* --------------------------------------------------------------------- page */

static int check_sum(const struct page_ref *ref, const void *data, struct s3pve_error *err) {
    if (crc32c(0, data, ref->len) == ref->sum)
        return 0;
    return error_set(err, S3PVE_E_CORRUPT, "its sum is wrong");
}

static const struct table_row *row_of(const struct walk *walk, const struct page_ref *ref) {
    const struct table *table = &walk->root->table;
    const struct table_row *row = ref->row < table->n_rows ? &table->rows[ref->row] : NULL;

    return row && row->id.seq && row->type == OBJECT_MAP ? row : NULL;
}

static int decode_leaf(
    const struct page_ref *ref,
    const void *data,
    struct page_run runs[MAP_LEAF],
    struct s3pve_error *err
) {
    int n;

    if (check_sum(ref, data, err) < 0)
        return -1;
    n = leaf_page_decode(runs, data, ref->len);
    return n < 0 ? error_set(err, S3PVE_E_CORRUPT, "it has runs that cannot be") : n;
}

int pages_get_leaf(
    struct inspect *inspect,
    const struct volume_page *page,
    struct page_run runs[MAP_LEAF],
    struct s3pve_error *err
) {
    struct page_ref ref = {.len = page->len, .sum = page->sum};
    uint8_t data[PAGE_BYTES_MAX];
    int n = -1;

    if (inspect_get(inspect, page->object, page->offset, data, page->len, err) == 0)
        n = decode_leaf(&ref, data, runs, err);
    return n;
}

/* ------------------------------------------------------------------ leaves */

static void fetch(void *arg) {
    struct stretch *s = arg;

    s->data = malloc(s->len);
    if (!s->data) {
        error_set(&s->err, S3PVE_E_NOMEM, "no memory for pages of the map");
        return;
    }
    if (inspect_get(s->inspect, s->object, s->offset, s->data, s->len, &s->err) == 0)
        return;
    free(s->data);
    s->data = NULL;
}

static int by_place(const void *a, const void *b) {
    const struct page_ref *x = (*(struct leaf *const *)a)->ref,
                          *y = (*(struct leaf *const *)b)->ref;

    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool goes_on(const struct page_ref *last, const struct page_ref *ref, uint64_t from) {
    uint64_t last_end = (uint64_t)last->offset + last->len, end = (uint64_t)ref->offset + ref->len;

    return ref->row == last->row && ref->offset <= last_end + GAP && end - from <= STRETCH;
}

/* Where each leaf is to be read from. */
static void cut(struct walk *walk) {
    uint64_t from = 0;

    for (uint32_t i = 0; i < walk->n_refs; i++) {
        walk->leaves[i] = (struct leaf){.ref = &walk->refs[i]};
        walk->by_place[i] = &walk->leaves[i];
    }
    qsort(walk->by_place, walk->n_refs, sizeof(*walk->by_place), by_place);
    walk->n_stretches = 0;
    for (uint32_t i = 0; i < walk->n_refs; i++) {
        const struct page_ref *ref = walk->by_place[i]->ref;
        const struct table_row *row = row_of(walk, ref);
        struct stretch *s = &walk->stretches[walk->n_stretches];

        if (!row)
            continue;
        if (walk->n_stretches && goes_on(walk->by_place[i - 1]->ref, ref, from)) {
            s--;
        } else {
            *s = (struct stretch
            ){.inspect = walk->inspect, .offset = (uint64_t)row->header_len + ref->offset};
            table_name(s->object, row);
            from = ref->offset;
            walk->n_stretches++;
        }
        if ((uint64_t)ref->offset + ref->len - from > s->len)
            s->len = (uint32_t)((uint64_t)ref->offset + ref->len - from);
        walk->by_place[i]->stretch = s;
    }
}

/* A stretch whose object ends too early has pages nevertheless, and what is wrong may have been
 * broken on its way only: it is read alone. */
static int tell_alone(
    struct walk *walk,
    const struct page_id *id,
    const struct leaf *leaf,
    struct page_run runs[MAP_LEAF],
    struct s3pve_error *err
) {
    struct volume_page page = {.id = *id, .len = leaf->ref->len, .sum = leaf->ref->sum};
    const struct table_row *row = row_of(walk, leaf->ref);

    table_name(page.object, row);
    page.offset = (uint64_t)row->header_len + leaf->ref->offset;
    return pages_get_leaf(walk->inspect, &page, runs, err);
}

static int tell_leaf(
    struct walk *walk, uint32_t node, const struct leaf *leaf, struct s3pve_error *err
) {
    struct page_id id = {PAGE_LEAF, node * MAP_LEAF + leaf->ref->index};
    struct s3pve_error why = S3PVE_ERROR_INIT;
    const struct table_row *row = row_of(walk, leaf->ref);
    struct page_run runs[MAP_LEAF];
    int n = -1;

    if (!row)
        error_set(&why, S3PVE_E_CORRUPT, "it is said to be in what is no checkpoint's object");
    else if (leaf->stretch->data)
        n = decode_leaf(
            leaf->ref,
            leaf->stretch->data +
                ((uint64_t)row->header_len + leaf->ref->offset - leaf->stretch->offset),
            runs,
            &why
        );
    else
        why = leaf->stretch->err;
    if (row && n < 0 && why.code == S3PVE_E_CORRUPT)
        n = tell_alone(walk, &id, leaf, runs, &why);
    if (n >= 0)
        return walk->told->leaf(walk->told->ctx, &id, leaf->ref, runs, (uint32_t)n);
    if (inspect_is_damage(&why))
        return walk->told->bad(walk->told->ctx, &id, leaf->ref, &why);
    if (err)
        *err = why;
    return -1;
}

static int tell_leaves(struct walk *walk, uint32_t node, struct s3pve_error *err) {
    int rc = 0;

    cut(walk);
    for (uint32_t i = 0; i < walk->n_stretches; i++)
        crew_start(&walk->inspect->crew, &walk->stretches[i].job, fetch, &walk->stretches[i]);
    for (uint32_t i = 0; i < walk->n_stretches; i++)
        crew_wait(&walk->inspect->crew, &walk->stretches[i].job);
    for (uint32_t i = 0; i < walk->n_refs && rc == 0; i++)
        rc = tell_leaf(walk, node, &walk->leaves[i], err);
    for (uint32_t i = 0; i < walk->n_stretches; i++)
        free(walk->stretches[i].data);
    return rc;
}

/* -------------------------------------------------------------------- nodes */

static int read_node(
    struct walk *walk,
    const struct table_row *row,
    const struct page_ref *ref,
    struct s3pve_error *err
) {
    uint64_t at = (uint64_t)row->header_len + ref->offset;
    uint8_t data[PAGE_BYTES_MAX];
    char name[OBJECT_NAME];
    int n;

    table_name(name, row);
    if (inspect_get(walk->inspect, name, at, data, ref->len, err) < 0 ||
        check_sum(ref, data, err) < 0)
        return -1;
    n = node_page_decode(walk->refs, data, ref->len);
    return n < 0 ? error_set(err, S3PVE_E_CORRUPT, "it has refs that cannot be") : n;
}

/* How many refs it has, or -1. */
static int get_node(struct walk *walk, const struct page_ref *ref, struct s3pve_error *err) {
    const struct table_row *row = row_of(walk, ref);
    int n;

    if (!row)
        return error_set(
            err, S3PVE_E_CORRUPT, "it is said to be in what is no checkpoint's object"
        );
    n = read_node(walk, row, ref, err);
    return n < 0 && err->code == S3PVE_E_CORRUPT ? read_node(walk, row, ref, err) : n;
}

static int tell_node(struct walk *walk, const struct page_ref *ref, struct s3pve_error *err) {
    struct page_id id = {PAGE_NODE, ref->index};
    struct s3pve_error why = S3PVE_ERROR_INIT;
    int n = get_node(walk, ref, &why), rc;

    if (n < 0 && inspect_is_damage(&why))
        return walk->told->bad(walk->told->ctx, &id, ref, &why);
    if (n < 0) {
        if (err)
            *err = why;
        return -1;
    }
    walk->n_refs = (uint32_t)n;
    rc = walk->told->node(walk->told->ctx, &id, ref, walk->refs, walk->n_refs);
    return rc ? rc : tell_leaves(walk, ref->index, err);
}

int pages_walk(
    struct inspect *inspect,
    const struct root_page *root,
    const struct pages_told *told,
    struct s3pve_error *err
) {
    _free_ struct walk *walk = calloc(1, sizeof(*walk));
    int rc = 0;

    if (!walk)
        return error_set(err, S3PVE_E_NOMEM, "no memory for pages of the map");
    walk->inspect = inspect;
    walk->root = root;
    walk->told = told;
    for (uint32_t i = 0; i < root->n_nodes && rc == 0; i++)
        rc = tell_node(walk, &root->nodes[i], err);
    return rc;
}
