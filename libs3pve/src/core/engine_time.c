/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * engine_time.c - when a request's time is up
 *
 * What ends a request is silence: `timeout` of it since the store's last answer, all attempts taken
 * together.  Bytes that move are no silence, but what moves in one more attempt does not make good
 * what was lost before; nor do they move for ever: a body has the time that the slowest useful line
 * needs.  Nor is a store that answers, but only ever refuses, asked for so long.  Waiting for a
 * place is not the store's silence, and while nobody drives no time passes at all.
 */
#include <string.h>

#include "base/limits.h"
#include "core/engine_private.h"
#include "core/exchange.h"

#define CANCEL_POLL_MS 100 /* how soon a cancel flag is seen */

void engine_begin_time(struct engine *engine, struct request *rq) {
    rq->started_ms = engine_now(engine);
    rq->deadline_ms =
        rq->started_ms + rq->call.timeout_ms + (int64_t)(rq->body_len / SLOW_LINE_BYTES_MS);
    rq->paid = 0;
    rq->refused_until_ms = INT64_MAX;
    engine_note_answer(engine, rq); /* now all its patience is before it */
}

static void list_skip_time(struct requests *list, int64_t since, int64_t now) {
    for (struct request *rq = list->first; rq; rq = rq->next) {
        int64_t away = now - (rq->started_ms > since ? rq->started_ms : since);

        rq->deadline_ms += away;
        rq->moved_ms += away;
        rq->queued_ms += away;
        if (rq->refused_until_ms != INT64_MAX)
            rq->refused_until_ms += away;
    }
}

void engine_skip_time(struct engine *engine, int64_t now) {
    list_skip_time(&engine->queued, engine->driven_ms, now);
    list_skip_time(&engine->waiting, engine->driven_ms, now);
    list_skip_time(&engine->sent, engine->driven_ms, now);
}

int64_t engine_ends_ms(const struct request *rq) {
    int64_t silent = rq->moved_ms + rq->patience_ms;

    return rq->state != REQUEST_QUEUED && silent < rq->deadline_ms ? silent : rq->deadline_ms;
}

/* What came has its time as well, once: a range's bytes for all attempts, others begin anew. */
static void pay_received(struct request *rq) {
    uint64_t n = rq->range.set ? rq->received : rq->exchange->transfer.received;

    if (n <= rq->paid)
        return;
    rq->deadline_ms += (int64_t)(n / SLOW_LINE_BYTES_MS - rq->paid / SLOW_LINE_BYTES_MS);
    rq->paid = n;
}

void engine_note_moves(struct request *rq) {
    struct exchange *ex = rq->exchange;

    pay_received(rq);
    if (ex->transfer.moved_ms <= rq->moved_ms)
        return;
    if (!ex->moved && ex->transfer.first_moved_ms > rq->moved_ms)
        rq->patience_ms -= ex->transfer.first_moved_ms - rq->moved_ms;
    ex->moved = true;
    rq->moved_ms = ex->transfer.moved_ms;
}

void engine_note_answer(struct engine *engine, struct request *rq) {
    rq->moved_ms = engine_now(engine);
    rq->patience_ms = rq->call.timeout_ms;
}

void engine_note_refusal(struct engine *engine, struct request *rq, unsigned wait_ms) {
    int64_t patience = (int64_t)rq->call.timeout_ms * REFUSED_TIMES;

    if (patience < REFUSED_MS)
        patience = REFUSED_MS;
    if (rq->refused_until_ms == INT64_MAX)
        rq->refused_until_ms = engine_now(engine) + patience;
    rq->moved_ms += wait_ms; /* as it asked us to: no silence */
}

bool engine_is_late(struct engine *engine, const struct request *rq, unsigned wait_ms) {
    int64_t at = engine_now(engine) + wait_ms;

    return at >= engine_ends_ms(rq) || at >= rq->refused_until_ms;
}

unsigned engine_stale_ms(const struct request *rq, int64_t now) {
    int64_t left = engine_ends_ms(rq) - now;

    if (rq->once || rq->slow_answer || rq->body_len > SMALL_OBJECT || left <= 0 ||
        strcmp(rq->method, "POST") == 0)
        return 0;
    return (unsigned)(left - left / STALE_SHARE);
}

/* When the list must be looked at again, @due at the latest. */
static int64_t list_due_ms(const struct requests *list, int64_t now, int64_t due) {
    for (const struct request *rq = list->first; rq; rq = rq->next) {
        int64_t at = engine_ends_ms(rq);

        if (rq->state == REQUEST_WAITING && rq->not_before_ms < at)
            at = rq->not_before_ms;
        if (rq->call.cancel && now + CANCEL_POLL_MS < at)
            at = now + CANCEL_POLL_MS;
        if (at < due)
            due = at;
    }
    return due;
}

int64_t engine_due_ms(const struct engine *engine, int64_t now, int64_t due) {
    due = list_due_ms(&engine->queued, now, due);
    due = list_due_ms(&engine->waiting, now, due);
    return list_due_ms(&engine->sent, now, due);
}
