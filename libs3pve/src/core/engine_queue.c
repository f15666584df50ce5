/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * engine_queue.c - whose turn it is
 *
 * Who is waited for goes before bulk, and others like him before him.  Bulk keeps its places for
 * minutes on a slow line, so a few of the urgent may go when there is none; and when they come
 * without an end, bulk gets one place of URGENT_RUN + 1.
 */
#include "core/engine_private.h"

#define URGENT_RUN 4   /* in a row, while bulk waits */
#define URGENT_SHARE 4 /* so much of the window, and one at least, is for them on top of it */

void requests_remove(struct requests *list, struct request *rq) {
    *(rq->prev ? &rq->prev->next : &list->first) = rq->next;
    *(rq->next ? &rq->next->prev : &list->last) = rq->prev;
    rq->next = rq->prev = NULL;
    list->n--;
}

/* Before @next, or at the end. */
static void requests_insert(struct requests *list, struct request *rq, struct request *next) {
    rq->next = next;
    rq->prev = next ? next->prev : list->last;
    *(rq->prev ? &rq->prev->next : &list->first) = rq;
    *(next ? &next->prev : &list->last) = rq;
    list->n++;
}

void requests_append(struct requests *list, struct request *rq) {
    requests_insert(list, rq, NULL);
}

static struct request *first_bulk(const struct requests *list) {
    struct request *rq = list->first;

    while (rq && rq->urgent)
        rq = rq->next;
    return rq;
}

void engine_queue(struct engine *engine, struct request *rq) {
    rq->state = REQUEST_QUEUED;
    rq->queued_ms = engine_now(engine);
    requests_insert(&engine->queued, rq, rq->urgent ? first_bulk(&engine->queued) : NULL);
}

static bool has_urgent_place(const struct engine *engine, unsigned n_places) {
    unsigned n = 0;

    for (const struct request *rq = engine->sent.first; rq; rq = rq->next)
        n += rq->urgent;
    return n == 0 || n < n_places / URGENT_SHARE;
}

struct request *engine_next(const struct engine *engine) {
    struct request *rq = engine->queued.first, *bulk = first_bulk(&engine->queued);
    unsigned n_places = engine->window / WINDOW_UNIT;

    if (engine->sent.n < n_places)
        return bulk && engine->n_urgent >= URGENT_RUN ? bulk : rq;
    return rq && rq->urgent && has_urgent_place(engine, n_places) ? rq : NULL;
}
