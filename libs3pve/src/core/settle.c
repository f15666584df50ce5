/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* settle.c - an attempt is over: count it, judge it, and finish or repeat the request */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "core/engine_private.h"
#include "core/error.h"
#include "core/exchange.h"

#define HALVE_EVERY_MS 1000 /* one burst of "slow down" is one sign, not twenty */

static void window_halve(struct engine *engine, int64_t now) {
    if (now - engine->halved_ms < HALVE_EVERY_MS)
        return;
    engine->halved_ms = now;
    engine->window /= 2;
    if (engine->window < WINDOW_UNIT)
        engine->window = WINDOW_UNIT;
}

static void window_grow(struct engine *engine) {
    unsigned max = engine->client->config.connections * WINDOW_UNIT;

    engine->window += WINDOW_UNIT * WINDOW_UNIT / engine->window;
    if (engine->window > max)
        engine->window = max;
}

static void engine_count(struct engine *engine, const struct exchange *ex, enum verdict verdict) {
    struct s3pve_client *client = engine->client;
    const struct transfer *t = &ex->transfer;
    int64_t wall_s = client->transport.wall_s(client->transport.ctx);
    LOCK_SCOPE(&client->lock);
    struct s3pve_counters *c = &client->counters;
    const char *m = ex->rq->method;

    if (strncmp(ex->rq->operation, "List", 4) == 0)
        c->n_list++;
    else if (strncmp(ex->rq->operation, "Delete", 6) == 0)
        c->n_delete++;
    else if (strcmp(m, "PUT") == 0 || strcmp(m, "POST") == 0)
        c->n_put++;
    else if (ex->rq->key)
        c->n_get++;
    else
        c->n_other++;
    if (t->status >= 200 && t->status < 300)
        client->bucket_seen = true;
    c->bytes_sent += t->sent;
    c->bytes_received += t->received;
    c->n_throttled += verdict == VERDICT_THROTTLED;
    if (t->status && t->status < 500 && t->status != 429 && t->status != 403) {
        c->last_ok_s = wall_s;
        c->latency_ms = (c->latency_ms * 7 + t->first_byte_ms) / 8;
    } else if (verdict != VERDICT_NOW) {
        c->last_fail_s = wall_s;
    }

    if (t->status >= 200 && t->status < 300 && ex->reply.date_s &&
        llabs(ex->skew_s - client->skew_s) > SKEW_TOLERATED_S)
        client->skew_s = ex->skew_s;
}

/* That may take seconds: others may submit and cancel meanwhile. */
static bool refresh_unlocked(struct engine *engine, unsigned creds_serial) {
    bool fresh;

    pthread_mutex_unlock(&engine->lock);
    fresh = client_refresh_creds(engine->client, creds_serial);
    pthread_mutex_lock(&engine->lock);
    return fresh;
}

/* One corrective step each, once a request.  Returns false when there is nothing to correct. */
static bool engine_correct(struct engine *engine, struct request *rq, enum verdict verdict) {
    struct s3pve_client *client = engine->client;
    const struct exchange *ex = rq->exchange;

    switch (verdict) {
    case VERDICT_CLOCK: {
        LOCK_SCOPE(&client->lock);
        if (rq->corrected_clock || !ex->reply.date_s)
            return false;
        client->skew_s = ex->skew_s; /* not a sum: others may have corrected it meanwhile */
        return rq->corrected_clock = true;
    }
    case VERDICT_REGION: {
        LOCK_SCOPE(&client->lock);
        if (rq->corrected_region || !ex->reply.region[0] ||
            strcmp(ex->reply.region, ex->region) == 0)
            return false;
        memcpy(client->region, ex->reply.region, sizeof(client->region));
        return rq->corrected_region = true;
    }
    case VERDICT_REFRESH:
        return !rq->refreshed_creds &&
               (rq->refreshed_creds = refresh_unlocked(engine, ex->creds_serial));
    case VERDICT_DIGEST: return !rq->retried_digest && (rq->retried_digest = true);
    default: return false;
    }
}

static void engine_repeat(
    struct engine *engine, struct request *rq, unsigned wait_ms, const char *why
) {
    char text[sizeof(rq->error.message) + 64];

    snprintf(text, sizeof(text), "%s; again in %u ms", why, wait_ms);
    engine_log(engine->client, rq, S3PVE_LOG_INFO, text);
    {
        LOCK_SCOPE(&engine->client->lock);
        engine->client->counters.n_retries++;
    }
    engine_wait_then_queue(engine, rq, wait_ms);
}

/* A store that is in trouble for a while is asked now and then, not more and more. */
static void engine_earn(struct engine *engine) {
    int64_t now = engine_now(engine), tokens = (now - engine->budget_ms) * RETRY_EARN_S / 1000;

    if (tokens <= 0)
        return;
    engine->budget_ms = now;
    engine->budget =
        tokens < RETRY_BUDGET - engine->budget ? engine->budget + (int)tokens : RETRY_BUDGET;
}

/* Returns false when there will be no further attempt. */
static bool engine_retry(struct engine *engine, struct request *rq, enum verdict verdict) {
    struct transport *transport = &engine->client->transport;
    const struct transfer *transfer = &rq->exchange->transfer;
    bool slow = verdict == VERDICT_THROTTLED;
    int cost = slow ? RETRY_COST_THROTTLE : RETRY_COST;
    unsigned wait;

    if (engine_cancelled(rq) || (rq->call.max_attempts && rq->attempts >= rq->call.max_attempts))
        return false;
    if (verdict == VERDICT_NOW && !rq->fresh) {
        rq->fresh = true;
        rq->attempts--; /* the server never saw it */
        engine_queue(engine, rq);
        return true;
    }
    if (engine_correct(engine, rq, verdict)) {
        engine_queue(engine, rq);
        return true;
    }
    if (verdict != VERDICT_RETRY && verdict != VERDICT_THROTTLED && verdict != VERDICT_NOW)
        return false;
    engine_earn(engine);
    if (engine->budget < cost) {
        error_wrap(&rq->error, "not tried again, as most requests to this store fail");
        return false;
    }

    engine->budget -= cost;
    wait = retry_backoff_ms(
        slow ? BACKOFF_THROTTLE_MS : BACKOFF_BASE_MS,
        rq->attempts - 1,
        rq->exchange->reply.retry_after_ms,
        transport->random(transport->ctx)
    );
    if (transfer->status)
        engine_note_refusal(engine, rq, wait);
    rq->out_of_time = engine_is_late(engine, rq, wait);
    if (rq->out_of_time) {
        error_wrap(&rq->error, "gave up after %u attempts", rq->attempts);
        return false;
    }
    rq->fresh = rq->fresh || (transfer->reused && !transfer->status);
    engine_repeat(engine, rq, wait, rq->error.message);
    return true;
}

static void take_answer(struct request *rq) {
    struct exchange *ex = rq->exchange;

    free(rq->reply.body);
    rq->reply = ex->reply;
    rq->reply.status = ex->transfer.status;
    rq->reply.info.size =
        ex->reply.has_content_range ? ex->reply.range_total : ex->reply.content_length;
    rq->reply.body_len = ex->body.len;
    rq->reply.body = buf_steal(&ex->body);
}

void engine_finish(struct engine *engine, struct transfer *transfer) {
    struct exchange *ex = transfer->owner;
    struct request *rq = ex->rq;
    struct outcome outcome;
    struct judgement judgement;

    exchange_facts(ex, &outcome);
    judgement = retry_judge(&outcome);
    if (ex->refused)
        judgement = (struct judgement){VERDICT_FAIL, ex->refused, false};
    engine_count(engine, ex, judgement.verdict);
    if (transfer->status)
        engine_note_answer(engine, rq);
    else
        engine_note_moves(rq);
    requests_remove(&engine->sent, rq);
    take_answer(rq);
    rq->ambiguous = rq->ambiguous || judgement.ambiguous; /* once is enough */

    if (judgement.verdict == VERDICT_OK) {
        rq->ambiguous = false;
        rq->error = S3PVE_ERROR_INIT;
        window_grow(engine);
        if (engine->budget < RETRY_BUDGET)
            engine->budget += RETRY_REFUND;
    } else {
        exchange_describe(ex, judgement.code, &rq->error);
        if (judgement.verdict == VERDICT_THROTTLED)
            window_halve(engine, engine_now(engine));
        if (engine_retry(engine, rq, judgement.verdict)) {
            exchange_free(steal_ptr(&rq->exchange));
            return;
        }
    }
    exchange_free(steal_ptr(&rq->exchange));
    engine_done(engine, rq);
}
