/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * engine.c - queue, send, judge, try again: the one road out; engine_calls.c is its callers' side
 *
 *     NEW --request_submit--> QUEUED --engine_start--> SENT --engine_finish--> DONE
 *                                ^                       |
 *            engine_due --- WAITING <--- engine_retry ---+
 *
 * A request is DONE from any state when its deadline passes or it is cancelled [engine_expire].
 *
 * One thread at a time drives (moves the lists and polls the transport): the engine's own, or any
 * that waits.  `lock` guards the lists and every request's state and is not held while polling.
 * Lock order: client->renewing, engine->lock, client->lock.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "core/engine.h"
#include "core/engine_private.h"
#include "core/error.h"
#include "core/exchange.h"

#define IDLE_POLL_MS 60000 /* an idle engine thread sleeps until it is woken */

int64_t engine_now(const struct engine *engine) {
    return engine->client->transport.now_ms(engine->client->transport.ctx);
}

/* ---------------------------------------------------------------- the end */

void engine_log(
    struct s3pve_client *client,
    const struct request *rq,
    enum s3pve_log_level level,
    const char *text
) {
    char key[LIMIT_KEY + 1];
    struct s3pve_log_record record = {
        .level = level,
        .storage = client->config.storage,
        .operation = rq->operation,
        .key = key,
        .s3_code = rq->error.s3_code,
        .request_id = rq->reply.request_id,
        .message = text,
        .http_status = rq->reply.status,
        .attempt = rq->attempts,
        .elapsed_ms = (unsigned)(client->transport.now_ms(client->transport.ctx) - rq->started_ms),
    };

    if (!client->log)
        return;
    snprintf(
        key,
        sizeof(key),
        "%s%s",
        rq->raw_key || !rq->key ? "" : client->config.prefix,
        rq->key ? rq->key : ""
    );
    utf8_make_printable(key);
    client->log(client->log_ctx, &record);
}

static enum s3pve_log_level level_of(enum s3pve_code code) {
    switch (code) {
    case S3PVE_OK:
    case S3PVE_E_NOT_FOUND: /* answers rather than faults */
    case S3PVE_E_CONFLICT:
    case S3PVE_E_CANCELLED:
    case S3PVE_E_UNSUPPORTED: return S3PVE_LOG_DEBUG;
    default: return S3PVE_LOG_WARNING;
    }
}

/* Called with the lock; @rq is in no list.  After this the request is its caller's again. */
void engine_done(struct engine *engine, struct request *rq) {
    struct s3pve_client *client = engine->client;
    enum s3pve_log_level level = level_of(rq->error.code);

    if (rq->error.code == S3PVE_OK && rq->attempts > 1)
        level = S3PVE_LOG_INFO;
    if (rq->quiet)
        level = S3PVE_LOG_DEBUG;
    engine_log(client, rq, level, rq->error.code ? rq->error.message : "done");
    if (level == S3PVE_LOG_WARNING) {
        LOCK_SCOPE(&client->lock);
        client->counters.n_errors++;
    }
    rq->state = REQUEST_DONE;
    engine->any_done = true;
    pthread_cond_broadcast(&engine->moved);
}

void engine_wait_then_queue(struct engine *engine, struct request *rq, unsigned wait_ms) {
    rq->not_before_ms = engine_now(engine) + wait_ms;
    rq->state = REQUEST_WAITING;
    requests_append(&engine->waiting, rq);
}

static struct requests *list_of(struct engine *engine, const struct request *rq) {
    switch (rq->state) {
    case REQUEST_QUEUED: return &engine->queued;
    case REQUEST_WAITING: return &engine->waiting;
    default: return &engine->sent;
    }
}

static void engine_drop_exchange(struct engine *engine, struct request *rq) {
    struct transport *transport = &engine->client->transport;

    if (!rq->exchange)
        return;
    transport->cancel(transport->ctx, &rq->exchange->transfer);
    exchange_free(steal_ptr(&rq->exchange));
}

/* Time is up, or the caller gave up.  What it was last refused for says more than "time out". */
static void engine_give_up(struct engine *engine, struct request *rq, enum s3pve_code code) {
    struct s3pve_error last = rq->error;
    const char *what = rq->key ? rq->key : engine->client->config.bucket;

    if (rq->state == REQUEST_SENT)
        rq->ambiguous = true;
    rq->out_of_time = code == S3PVE_E_TIMEOUT;
    requests_remove(list_of(engine, rq), rq);
    engine_drop_exchange(engine, rq);
    if (code == S3PVE_E_CANCELLED)
        error_set(&rq->error, code, "%s %s: cancelled", rq->operation, what);
    else if (last.code != S3PVE_OK)
        error_wrap(&rq->error, "gave up after %u attempts", rq->attempts);
    else
        error_set(
            &rq->error,
            code,
            "%s %s: %s: no answer in time",
            rq->operation,
            what,
            engine->client->config.host
        );
    engine_done(engine, rq);
}

bool engine_cancelled(const struct request *rq) {
    return __atomic_load_n(&rq->cancelled, __ATOMIC_RELAXED) ||
           (rq->call.cancel && __atomic_load_n(rq->call.cancel, __ATOMIC_RELAXED));
}

static void expire_list(struct engine *engine, struct requests *list, int64_t now) {
    for (struct request *rq = list->first, *next; rq; rq = next) {
        next = rq->next;
        if (rq->state == REQUEST_SENT)
            engine_note_moves(rq);
        if (engine->stopping || engine_cancelled(rq))
            engine_give_up(engine, rq, S3PVE_E_CANCELLED);
        else if (engine_ends_ms(rq) <= now)
            engine_give_up(engine, rq, S3PVE_E_TIMEOUT);
    }
}

static void engine_expire(struct engine *engine, int64_t now) {
    expire_list(engine, &engine->queued, now);
    expire_list(engine, &engine->waiting, now);
    expire_list(engine, &engine->sent, now);
}

/* ------------------------------------------------------------------ start */

static void engine_due(struct engine *engine, int64_t now) {
    for (struct request *rq = engine->waiting.first, *next; rq; rq = next) {
        next = rq->next;
        if (rq->not_before_ms > now)
            continue;
        requests_remove(&engine->waiting, rq);
        engine_queue(engine, rq);
    }
}

static void engine_send(struct engine *engine, struct request *rq, int64_t now) {
    struct transport *transport = &engine->client->transport;

    requests_remove(&engine->queued, rq);
    engine->n_urgent = rq->urgent ? engine->n_urgent + 1 : 0;
    rq->moved_ms += now - rq->queued_ms;
    rq->attempts++;
    if (!rq->range.set)
        rq->received = 0;
    if (exchange_new(engine->client, rq, &rq->exchange, &rq->error) < 0) {
        engine_done(engine, rq);
        return;
    }
    rq->exchange->transfer.stale_ms = engine_stale_ms(rq, now);
    rq->exchange->transfer.fresh = rq->fresh;
    if (transport->start(transport->ctx, &rq->exchange->transfer) < 0) {
        exchange_free(steal_ptr(&rq->exchange));
        error_set(&rq->error, S3PVE_E_NOMEM, "%s: out of memory", rq->operation);
        engine_done(engine, rq);
        return;
    }
    rq->state = REQUEST_SENT;
    requests_append(&engine->sent, rq);
}

static void engine_start(struct engine *engine, int64_t now) {
    struct request *rq;

    while ((rq = engine_next(engine)))
        engine_send(engine, rq, now);
}

/* ------------------------------------------------------------------ drive */

/* Bytes move here, and others may submit, cancel and ask meanwhile. */
static struct transfer *poll_unlocked(struct engine *engine, int wait_ms) {
    struct transport *transport = &engine->client->transport;
    struct transfer *transfer;

    pthread_mutex_unlock(&engine->lock);
    transfer = transport->poll(transport->ctx, wait_ms);
    pthread_mutex_lock(&engine->lock);
    return transfer;
}

void engine_step(struct engine *engine, int64_t until_ms) {
    struct transport *transport = &engine->client->transport;
    struct transfer *transfer;
    int64_t now = engine_now(engine), wait;

    if (engine->new_limits) {
        transport->limit(transport->ctx, engine->upload_limit, engine->download_limit);
        engine->new_limits = false;
    }
    engine->any_done = false;
    engine_skip_time(engine, now);
    engine_expire(engine, now);
    engine_due(engine, now);
    engine_start(engine, now);
    until_ms = engine_due_ms(engine, now, until_ms);
    wait = until_ms > now && !engine->any_done ? until_ms - now : 0;

    while ((transfer = poll_unlocked(engine, (int)wait))) {
        engine_finish(engine, transfer);
        wait = 0;
    }
    engine->driven_ms = engine_now(engine);
}

/* -------------------------------------------------------------- life cycle */

void engine_wake(struct engine *engine) {
    if (engine->has_thread || engine->driving)
        engine->client->transport.wake(engine->client->transport.ctx);
}

static void *engine_main(void *ctx) {
    struct engine *engine = ctx;
    LOCK_SCOPE(&engine->lock);

    while (!engine->stopping)
        engine_step(engine, engine_now(engine) + IDLE_POLL_MS);
    engine_expire(engine, engine_now(engine)); /* fail what is left */
    return NULL;
}

int engine_new(struct s3pve_client *client, struct s3pve_error *err) {
    struct engine *engine = calloc(1, sizeof(*engine));
    pthread_condattr_t attr;

    if (!engine)
        return error_set(err, S3PVE_E_NOMEM, "engine");

    engine->client = client;
    engine->window = client->config.connections * WINDOW_UNIT;
    engine->budget = RETRY_BUDGET;
    engine->halved_ms = INT64_MIN / 2;
    pthread_mutex_init(&engine->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&engine->moved, &attr);
    pthread_condattr_destroy(&attr);
    client->engine = engine;
    return 0;
}

int engine_start_thread(struct s3pve_client *client, struct s3pve_error *err) {
    struct engine *engine = client->engine;
    LOCK_SCOPE(&engine->lock);
    int rc;

    if (engine->has_thread)
        return 0;
    rc = pthread_create(&engine->thread, NULL, engine_main, engine);
    if (rc != 0)
        return error_set(err, S3PVE_E_NOMEM, "the network thread: %s", strerror(rc));
    pthread_setname_np(engine->thread, "s3-network");
    engine->has_thread = true;
    return 0;
}

void engine_free(struct engine *engine, bool forked) {
    if (!engine)
        return;

    if (engine->has_thread && !forked) {
        {
            LOCK_SCOPE(&engine->lock);
            engine->stopping = true;
            engine_wake(engine);
        }
        pthread_join(engine->thread, NULL);
    }
    if (!forked) { /* or a thread of the parent's may hold them, for ever */
        pthread_cond_destroy(&engine->moved);
        pthread_mutex_destroy(&engine->lock);
    }
    free(engine);
}

void engine_limit(struct engine *engine, uint64_t upload, uint64_t download) {
    LOCK_SCOPE(&engine->lock);

    engine->upload_limit = upload;
    engine->download_limit = download;
    engine->new_limits = true;
    engine_wake(engine);
}

bool engine_has_thread(struct engine *engine) {
    LOCK_SCOPE(&engine->lock);

    return engine->has_thread;
}

unsigned engine_in_flight(struct engine *engine) {
    LOCK_SCOPE(&engine->lock);

    return engine->sent.n;
}
