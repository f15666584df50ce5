/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* want.c - pages of the map that are not in memory, and who waits for them */
#include <string.h>

#include "volume/machine.h"

void want_place(const struct volume *volume, const struct page_id *id, struct volume_page *ret) {
    const struct page_ref *ref = &leaves_find(&volume->leaves, id)->ref;
    const struct table_row *row = &volume->table.rows[ref->row];

    *ret = (struct volume_page){
        .id = *id,
        .offset = (uint64_t)row->header_len + ref->offset,
        .len = ref->len,
        .sum = ref->sum,
    };
    table_name(ret->object, row);
}

void want_page(struct volume *volume, const struct page_id *id) {
    struct page *page = leaves_find(&volume->leaves, id);
    struct volume_page want;

    if (page->asked)
        return;
    page->asked = true;
    volume->leaves.n_asked++;
    volume->table.rows[page->ref.row].pins++;
    want_place(volume, id, &want);
    volume->ops->page_get(volume->ctx, &want);
}

bool want_block(struct volume *volume, uint64_t block) {
    struct page_id missing;

    if (leaves_have(&volume->leaves, block, &missing))
        return true;
    want_page(volume, &missing);
    return false;
}

static bool is_about(struct volume *volume, uint64_t block, const struct page_id *id) {
    struct page_id missing;

    return !leaves_have(&volume->leaves, block, &missing) && missing.kind == id->kind &&
           missing.index == id->index;
}

static bool waits_for(
    struct volume *volume, const struct volume_request *request, const struct page_id *id
) {
    return is_about(volume, request_first(request) + request->n_looked, id);
}

/* Who cannot do without it fails: a read or a write alone, a segment and with it the volume. */
static void lose(struct volume *volume, const struct page_id *id, const struct s3pve_error *err) {
    struct queue waiting = volume->waiting;
    struct volume_request *request;
    const struct applying *applying = &volume->applying;

    volume->waiting = (struct queue){0};
    while ((request = queue_take(&waiting)))
        if (waits_for(volume, request, id))
            machine_answer_with(volume, request, err);
        else
            queue_add(&volume->waiting, request);
    request = volume->queue.head;
    if (request && request->edges == EDGES_MISSING && waits_for(volume, request, id))
        machine_answer_with(volume, queue_take(&volume->queue), err);
    if (applying->segment &&
        is_about(volume, applying->segment->extents[applying->extent].block + applying->done, id))
        machine_fail(volume, err);
}

/* Reads go on; each of them may wait for another page now. */
static void serve(struct volume *volume) {
    struct queue waiting = volume->waiting;
    struct volume_request *request;

    volume->waiting = (struct queue){0};
    while ((request = queue_take(&waiting)))
        machine_read(volume, request);
}

void volume_page_got(
    struct volume *volume,
    const struct page_id *id,
    const struct buf *bytes,
    const struct s3pve_error *err
) {
    struct page *page = leaves_find(&volume->leaves, id);
    struct s3pve_error bad = S3PVE_ERROR_INIT;

    page->asked = false;
    volume->leaves.n_asked--;
    volume->table.rows[page->ref.row].pins--;
    if (volume->failure.code)
        return;
    if (!err && leaves_bring(&volume->leaves, volume->map, &volume->table, id, bytes, &bad) < 0)
        err = &bad;
    if (err) {
        lose(volume, id, err);
    } else {
        tidy_page(volume, id);
        serve(volume);
    }
    machine_move(volume);
}
