/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "images/audit.h"
#include "volume/load.h"

/* ----------------------------------------------------------------- findings */

void audit_find(struct audit *audit, const char *name, const char *fmt, ...) {
    char key[INSPECT_KEY], what[sizeof(((struct s3pve_error *)NULL)->message)];
    va_list ap;

    inspect_key(&audit->inspect, name, key);
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    audit->health->n_findings++;
    audit->each(audit->ctx, key, what);
}

int audit_blame(
    struct audit *audit,
    const struct table_row *row,
    const struct s3pve_error *why,
    struct s3pve_error *err
) {
    char name[OBJECT_NAME];
    const char *named;

    if (why->code == S3PVE_E_NOT_FOUND)
        return audit_missing(audit, row, err);
    if (!inspect_is_damage(why)) {
        if (err)
            *err = *why;
        return -1;
    }
    table_name(name, row);
    named = strstr(why->message, name); /* which the key says already */
    audit_find(audit, name, "%s", named ? named + strlen(name) + strlen(": ") : why->message);
    return 0;
}

/* --------------------------------------------------------- what is missing */

/* The root now; its checkpoint is read when it is another one than it was. */
static int look_again(struct audit *audit, bool *ret_same, struct s3pve_error *err) {
    _cleanup_(root_clear) struct root root = {0};
    struct idle *idle = &audit->inspect.idle;
    char etag[ETAG_ROOM];
    uint32_t own_row;

    if (store_root(&idle->store, &root, etag, err) < 0)
        return error_wrap(err, "meanwhile");
    if (root.deleting || memcmp(root.uuid, idle->root.uuid, UUID_LEN) != 0)
        return error_set(err, S3PVE_E_CONFLICT, "the volume was deleted meanwhile");
    *ret_same = strcmp(root.head_checkpoint, idle->root.head_checkpoint) == 0;
    if (*ret_same || strcmp(etag, audit->now_etag) == 0)
        return 0;
    root_page_clear(&audit->now);
    if (load_root_page(&audit->inspect.ops, &idle->store, &root, &audit->now, &own_row, err) < 0)
        return error_wrap(err, "meanwhile");
    audit->now_seq = root.head_seq;
    strcpy(audit->now_etag, etag);
    return 0;
}

static bool is_same(const struct table_row *a, const struct table_row *b) {
    return a->id.seq == b->id.seq && a->id.epoch == b->id.epoch && a->id.nonce == b->id.nonce &&
           (a->type == OBJECT_MAP) == (b->type == OBJECT_MAP) && a->part == b->part;
}

/* Who has it open deletes what his newer checkpoint does not need. */
static bool is_needed_now(const struct audit *audit, const struct table_row *row) {
    for (uint32_t i = 0; i < audit->now.table.n_rows; i++)
        if (is_same(&audit->now.table.rows[i], row))
            return audit->now.table.rows[i].live > 0;
    return row->id.seq > audit->now_seq;
}

int audit_missing(struct audit *audit, const struct table_row *row, struct s3pve_error *err) {
    char name[OBJECT_NAME];
    bool same;

    if (look_again(audit, &same, err) < 0)
        return -1;
    table_name(name, row);
    if (same || is_needed_now(audit, row))
        audit_find(audit, name, "it is missing");
    return 0;
}

/* Who has just taken the volume is known to the root by now. */
int audit_stranger(struct audit *audit, const struct segment_id *id, struct s3pve_error *err) {
    _cleanup_(root_clear) struct root root = {0};
    char name[SEGMENT_NAME], etag[ETAG_ROOM];

    if (store_root(&audit->inspect.idle.store, &root, etag, err) < 0)
        return error_wrap(err, "meanwhile");
    segment_name(name, id);
    if (!forward_knows(&root, id))
        audit_find(audit, name, "it is of an owner whom volume.json does not know");
    return 0;
}

/* --------------------------------------------------------------------- root */

static void check_root(struct audit *audit) {
    const struct root *root = &audit->inspect.idle.root;
    const struct root_epoch *first = root->epochs, *last = first + root->n_epochs - 1;

    if (!root->n_epochs) {
        if (root->head_seq)
            audit_find(audit, NULL, "it has no epoch");
        return;
    }
    if (first->first > root->head_seq + 1)
        audit_find(
            audit,
            NULL,
            "no epoch has segment %llu, which follows the checkpoint",
            (unsigned long long)root->head_seq + 1
        );
    if (last->epoch > root->owner.epoch)
        audit_find(audit, NULL, "its last epoch is beyond its owner's");
    if (root->owner.state == ROOT_CLOSED && !last->last && root->head_seq)
        audit_find(audit, NULL, "it is closed, and its last epoch is not over");
}

static int make_rows(struct audit *audit, struct s3pve_error *err) {
    uint32_t n = audit->page.table.n_rows;

    audit->rows = calloc(n + 1u, sizeof(*audit->rows));
    audit->order = calloc(n + 1u, sizeof(*audit->order));
    if (!audit->rows || !audit->order)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a table of objects");
    return 0;
}

static int read_checkpoint(struct audit *audit, struct s3pve_error *err) {
    struct idle *idle = &audit->inspect.idle;
    const char *name = idle->root.head_checkpoint;
    struct s3pve_error why = S3PVE_ERROR_INIT;

    audit->has_page =
        !name[0] ||
        load_root_page(
            &audit->inspect.ops, &idle->store, &idle->root, &audit->page, &audit->own_row, &why
        ) == 0;
    if (!audit->has_page && !inspect_is_damage(&why)) {
        if (err)
            *err = why;
        return -1;
    }
    if (!audit->has_page && why.code == S3PVE_E_NOT_FOUND)
        audit_find(
            audit, name, "it is missing, and with it all that says where the disk's bytes are"
        );
    else if (!audit->has_page)
        audit_find(audit, name, "%s", why.message);
    return make_rows(audit, err);
}

/* ---------------------------------------------------------------- the way */

static void audit_clear(struct audit *audit) {
    root_page_clear(&audit->page);
    root_page_clear(&audit->now);
    free(audit->rows);
    free(audit->order);
    free(audit->sizes);
    forward_clear(&audit->log);
    inspect_end(&audit->inspect);
}

static int look(struct audit *audit, struct s3pve_error *err) {
    audit->log = (struct forward){.root = &audit->inspect.idle.root};
    check_root(audit);
    if (read_checkpoint(audit, err) < 0 || audit_list(audit, err) < 0 || audit_log(audit, err) < 0)
        return -1;
    return audit_segments(audit, err) < 0 ? -1 : audit_map(audit, err);
}

_public_ int s3pve_volume_fsck(
    struct s3pve_client *client,
    const char *name,
    bool data,
    void (*each)(void *ctx, const char *key, const char *what),
    void *ctx,
    struct s3pve_volume_health *ret_health,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_volume_health health = {.n_findings = 0};
    struct audit audit = {.data = data, .each = each, .ctx = ctx, .health = &health};
    struct s3pve_error why = S3PVE_ERROR_INIT;
    int rc = inspect_begin(&audit.inspect, client, name, call, &why);

    if (rc == 0 && audit.inspect.idle.root.deleting) {
        rc = error_set(&why, S3PVE_E_NOT_FOUND, "it is being deleted");
    } else if (rc == 0) {
        idle_info(name, &audit.inspect.idle.root, &health.info);
        rc = look(&audit, &why);
    } else if (why.code == S3PVE_E_CORRUPT) {
        audit_find(&audit, NULL, "%s", why.message);
        rc = 0;
    }
    audit_clear(&audit);
    if (rc == 0)
        *ret_health = health;
    else if (err)
        *err = why;
    return rc == 0 ? 0 : error_wrap(err, "%s", name);
}
