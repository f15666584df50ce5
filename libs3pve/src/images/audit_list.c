/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "core/error.h"
#include "images/audit.h"

/* In the order of their names. */
static int compare(const struct table_row *a, const struct table_row *b) {
    bool a_map = a->type == OBJECT_MAP, b_map = b->type == OBJECT_MAP;

    if (a_map != b_map)
        return a_map ? 1 : -1;
    if (a->id.seq != b->id.seq)
        return a->id.seq < b->id.seq ? -1 : 1;
    if (a->id.epoch != b->id.epoch)
        return a->id.epoch < b->id.epoch ? -1 : 1;
    if (a->id.nonce != b->id.nonce)
        return a->id.nonce < b->id.nonce ? -1 : 1;
    return a->part < b->part ? -1 : a->part > b->part;
}

static int by_name(const void *a, const void *b, void *rows) {
    return compare(
        (struct table_row *)rows + *(uint32_t *)a, (struct table_row *)rows + *(uint32_t *)b
    );
}

static void sort_rows(struct audit *audit) {
    const struct table *table = &audit->page.table;

    for (uint32_t i = 0; i < table->n_rows; i++) {
        audit->rows[i].size = AUDIT_MISSING;
        if (table->rows[i].id.seq)
            audit->order[audit->n_order++] = i;
    }
    qsort_r(audit->order, audit->n_order, sizeof(*audit->order), by_name, table->rows);
}

/* ------------------------------------------------------------------ objects */

/* Whoever has it open goes on, and has not told of it yet. */
static bool is_later(const struct audit *audit, const struct segment_id *id) {
    const struct root_owner *owner = &audit->inspect.idle.root.owner;

    return owner->state != ROOT_CLOSED && id->seq > audit->inspect.idle.root.head_seq &&
           id->epoch == owner->epoch && id->nonce == owner->nonce;
}

static void count(uint64_t *n, uint64_t *bytes, uint64_t size) {
    (*n)++;
    *bytes += size;
}

static void count_unnamed(struct audit *audit, const struct segment_id *id, uint64_t size) {
    struct s3pve_volume_health *health = audit->health;

    if (id && is_later(audit, id))
        count(&health->n_later, &health->later_bytes, size);
    else if (audit->has_page)
        count(&health->n_garbage, &health->garbage_bytes, size);
}

static void count_row(struct audit *audit, const struct table_row *row, uint64_t size) {
    struct s3pve_volume_health *health = audit->health;

    if (!row->live)
        count(&health->n_dead, &health->dead_bytes, size);
    else if (row->type == OBJECT_MAP)
        count(&health->n_map, &health->map_bytes, size);
    else
        count(&health->n_segments, &health->segment_bytes, size);
}

/* Beyond the checkpoint, and not of the log: an opening has noted it, or nobody. */
void audit_count_left(struct audit *audit, const struct segment_id *id, uint64_t size) {
    const struct table_row *rows = audit->page.table.rows, left = {.id = *id, .type = OBJECT_DATA};

    for (uint32_t i = 0; i < audit->page.table.n_rows; i++)
        if (rows[i].id.seq && compare(&rows[i], &left) == 0) {
            count_row(audit, &rows[i], size);
            return;
        }
    count_unnamed(audit, id, size);
}

void audit_count_log(struct audit *audit, uint64_t size) {
    count(&audit->health->n_segments, &audit->health->segment_bytes, size);
}

/* Rows and names come in the same order. */
static void on_object(struct audit *audit, const struct table_row *object, uint64_t size) {
    const struct table_row *rows = audit->page.table.rows;

    while (audit->at < audit->n_order && compare(&rows[audit->order[audit->at]], object) < 0)
        audit->at++;
    if (audit->at == audit->n_order || compare(&rows[audit->order[audit->at]], object) != 0) {
        count_unnamed(audit, &object->id, size);
        return;
    }
    audit->rows[audit->order[audit->at]].size = size;
    count_row(audit, &rows[audit->order[audit->at]], size);
}

static int on_log(struct audit *audit, const struct segment_id *id, uint64_t size) {
    if (audit->log.n == audit->sizes_room) {
        size_t room = audit->sizes_room ? audit->sizes_room * 2 : 64;
        uint64_t *sizes = reallocarray(audit->sizes, room, sizeof(*sizes));

        if (!sizes)
            return -1;
        audit->sizes = sizes;
        audit->sizes_room = room;
    }
    audit->sizes[audit->log.n] = size;
    if (headers_note(audit->inspect.idle.store.headers, id) < 0)
        return -1;
    return forward_add(&audit->log, id);
}

static int on_name(void *ctx, const char *name, uint64_t size) {
    struct audit *audit = ctx;
    struct table_row object = {.type = OBJECT_MAP};
    struct map_id map;

    if (segment_name_parse(name, &object.id)) {
        object.type = OBJECT_DATA;
        if (object.id.seq > audit->inspect.idle.root.head_seq)
            return on_log(audit, &object.id, size);
        on_object(audit, &object, size);
    } else if (map_name_parse(name, &map)) {
        object.id = map.at;
        object.part = map.part;
        on_object(audit, &object, size);
    } else {
        count_unnamed(audit, NULL, size);
    }
    return 0;
}

/* What lives must be there, and as long as it is said to be. */
static int check_row(struct audit *audit, uint32_t i, struct s3pve_error *err) {
    const struct table_row *row = &audit->page.table.rows[i];
    uint64_t size = audit->rows[i].size, wanted;
    char name[OBJECT_NAME];

    if (!row->live)
        return 0;
    if (size == AUDIT_MISSING)
        return audit_missing(audit, row, err);
    wanted = row->header_len + (row->type == OBJECT_MAP ? 0 : (uint64_t)row->total * BLOCK);
    table_name(name, row);
    if (row->type == OBJECT_MAP ? size < wanted : size != wanted)
        audit_find(
            audit,
            name,
            "it has %llu bytes instead of %llu",
            (unsigned long long)size,
            (unsigned long long)wanted
        );
    return 0;
}

int audit_list(struct audit *audit, struct s3pve_error *err) {
    int rc;

    sort_rows(audit);
    rc = inspect_list(&audit->inspect, "", on_name, audit, err);
    for (uint32_t i = 0; i < audit->n_order && rc == 0; i++)
        rc = check_row(audit, audit->order[i], err);
    return rc;
}
