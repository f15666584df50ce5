/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* uploads.c - what is stored, fetched and deleted for the machine; the bucket may be late */
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "node.h"

/* --------------------------------------------------------------------- land */

static void landed_event(void *ctx, void *arg) {
    struct sim *sim = ctx;
    struct sim_object *object = arg;

    bucket_put(&sim->bucket, object->name, object->data, object->len);
    free(object);
}

void uploads_land(struct sim *sim, int64_t ms, const char *name, const void *data, size_t len) {
    struct sim_object *object = calloc(1, sizeof(*object));

    strcpy(object->name, name);
    object->data = malloc(len);
    object->len = len;
    memcpy(object->data, data, len);
    world_in(&sim->world, ms, landed_event, sim, object);
}

int64_t uploads_fate(struct sim *sim, int64_t answer_ms, bool *ret_fails) {
    bool fails = sim_happens(sim, sim->trouble), late = fails && sim_happens(sim, 30);

    *ret_fails = fails;
    if (late)
        return 100 + world_chance(&sim->world, 3000);
    if (fails && sim_happens(sim, 50))
        return -1;
    return world_chance(&sim->world, (uint32_t)answer_ms);
}

/* ----------------------------------------------------------------- segments */

static void put_event(void *ctx, void *arg);

/* One attempt.  Whatever its answer, the bucket may have it; and maybe long after. */
static void put_attempt(struct ticket *ticket) {
    struct sim *sim = ticket->node->sim;
    int64_t answer = sim_soon(sim) + world_chance(&sim->world, 20);
    bool fails;
    int64_t lands = uploads_fate(sim, answer, &fails);

    ticket->landed = !fails;
    if (lands >= 0)
        uploads_land(sim, lands, ticket->name, ticket->data, ticket->len);
    world_in(&sim->world, answer, put_event, NULL, ticket);
}

static void put_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    struct node *node = ticket->node;

    if (!ticket_is_heard(ticket, put_event))
        return;
    if (!ticket->landed) {
        put_attempt(ticket);
        return;
    }
    volume_segment_stored(node->volume, ticket->number);
    node_note_stored(node);
    ticket_free(ticket);
}

void uploads_segment(
    void *ctx,
    const struct segment_id *id,
    const void *header,
    size_t len,
    const struct batch_piece *pieces,
    uint32_t n
) {
    struct node *node = ctx;
    struct ticket *ticket = ticket_new(node);

    ticket->number = id->seq;
    segment_name(ticket->name, id);
    ticket->data = malloc(len);
    memcpy(ticket->data, header, len);
    ticket->len = len;
    for (uint32_t i = 0; i < n; i++) {
        size_t bytes = pieces[i].n * (size_t)BLOCK;

        ticket->data = realloc(ticket->data, ticket->len + bytes);
        memcpy(
            ticket->data + ticket->len,
            node->disk.seen + 2 * (size_t)BLOCK + pieces[i].ring % node->sim->ring_len,
            bytes
        );
        ticket->len += bytes;
    }
    put_attempt(ticket);
}

/* -------------------------------------------------------------------- pages */

int uploads_read_page(struct sim *sim, const struct volume_page *page, struct buf *bytes) {
    const struct sim_object *object = bucket_find(&sim->bucket, page->object);

    if (!object || page->offset + page->len > object->len)
        return -1;
    return buf_add(bytes, object->data + page->offset, page->len);
}

static void page_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    struct node *node = ticket->node;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct buf bytes = {.data = (char *)ticket->data, .len = ticket->len};

    if (!ticket_is_heard(ticket, page_event))
        return;
    if (!ticket->data) {
        must_hold(&node->sim->world, !node_counts(node), "a page is not there: %s", ticket->name);
        error_set(&err, S3PVE_E_NOT_FOUND, "%s", ticket->name);
    }
    node->sim->n_pages++;
    volume_page_got(node->volume, &ticket->page, &bytes, err.code ? &err : NULL);
    ticket_free(ticket);
}

/* It is read at some time before the answer. */
static void page_read_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    struct sim *sim = ticket->node->sim;
    struct volume_page *page = (struct volume_page *)ticket->data;
    struct buf bytes = {0};

    (void)uploads_read_page(sim, page, &bytes);
    free(page);
    ticket->data = (uint8_t *)bytes.data;
    ticket->len = bytes.len;
    world_in(&sim->world, world_chance(&sim->world, 10), page_event, NULL, ticket);
}

void uploads_page(void *ctx, const struct volume_page *page) {
    struct node *node = ctx;
    struct ticket *ticket = ticket_new(node);

    ticket->page = page->id;
    strcpy(ticket->name, page->object);
    ticket->data = malloc(sizeof(*page));
    memcpy(ticket->data, page, sizeof(*page));
    world_in(&node->sim->world, sim_soon(node->sim), page_read_event, NULL, ticket);
}

/* ------------------------------------------------------------------- delete */

static void deleted_event(void *ctx, void *arg) {
    struct sim *sim = ctx;

    sim->n_deleted += bucket_delete(&sim->bucket, arg);
    free(arg);
}

static void delete_answer_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (!ticket_is_heard(ticket, delete_answer_event))
        return;
    error_set(&err, S3PVE_E_TIMEOUT, "no answer");
    volume_objects_deleted(ticket->node->volume, ticket->landed ? NULL : &err);
    ticket_free(ticket);
}

/* Each goes for itself, and maybe long after, or not at all. */
void uploads_delete(void *ctx, const char (*names)[OBJECT_NAME], uint32_t n) {
    struct node *node = ctx;
    struct sim *sim = node->sim;
    struct ticket *ticket = ticket_new(node);
    int64_t answer = sim_soon(sim);

    ticket->landed = true;
    for (uint32_t i = 0; i < n; i++) {
        bool fails;
        int64_t lands = uploads_fate(sim, answer, &fails);

        ticket->landed &= !fails;
        if (lands >= 0)
            world_in(&sim->world, lands, deleted_event, sim, strdup(names[i]));
    }
    world_in(&sim->world, answer, delete_answer_event, NULL, ticket);
}
