/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * sweep.c - objects that nothing points to are deleted: after a checkpoint that does not either is
 * published, and a grace for who reads by an older one (I7)
 */
#include <assert.h>
#include <string.h>

#include "volume/machine.h"

/* One published checkpoint ages at a time: those that follow each other quickly do not start it
 * anew. */
static void age(struct volume *volume) {
    if (!volume->aging && volume->published > volume->swept) {
        volume->aging = volume->published;
        volume->aging_since_ms = volume->now_ms;
    }
    if (!volume->aging ||
        volume->now_ms - volume->aging_since_ms < (int64_t)volume->params.grace_ms)
        return;
    volume->swept = volume->aging;
    volume->sweep_row = 0;
    volume->aging = 0;
}

static bool is_dead(const struct volume *volume, const struct table_row *row) {
    return row->id.seq && !row->live && !row->pins && row->died_seq <= volume->swept;
}

void sweep_move(struct volume *volume) {
    static _Thread_local char names[LIMIT_DELETE_BATCH][OBJECT_NAME];
    uint32_t n = 0;

    if (volume->failure.code || !volume->now_ms)
        return;
    age(volume);
    if (volume->deleting)
        return;
    for (; n < LIMIT_DELETE_BATCH && volume->sweep_row < volume->table.n_rows;
         volume->sweep_row++) {
        struct table_row *row = &volume->table.rows[volume->sweep_row];

        if (!is_dead(volume, row))
            continue;
        assert(row->id.seq <= volume->published && row->died_seq <= volume->published); /* (I7) */
        row->dying = true;
        table_name(names[n++], row);
    }
    volume->deleting = n > 0;
    if (n)
        volume->ops->objects_delete(volume->ctx, names, n);
}

void volume_objects_deleted(struct volume *volume, const struct s3pve_error *err) {
    volume->deleting = false;
    for (uint32_t i = 0; i < volume->table.n_rows; i++) {
        struct table_row *row = &volume->table.rows[i];

        if (!row->dying)
            continue;
        row->dying = false;
        if (!err) /* else with the next sweep */
            table_remove(&volume->table, i);
    }
    machine_move(volume);
}
