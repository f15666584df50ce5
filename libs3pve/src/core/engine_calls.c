/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* engine_calls.c - what callers do with a request: submit it, wait for it, give up on it */
#include <time.h>

#include "base/clock.h"
#include "core/engine_private.h"
#include "core/error.h"
#include "core/exchange.h"

#define IDLE_POLL_MS 60000 /* whoever waits looks so often, at least */

static int first_done(struct request *const *rqs, size_t n_rqs, bool *ret_any) {
    *ret_any = false;
    for (size_t i = 0; i < n_rqs; i++) {
        if (!rqs[i])
            continue;
        *ret_any = true;
        if (rqs[i]->state == REQUEST_DONE)
            return (int)i;
    }
    return -1;
}

static void cond_wait_until(struct engine *engine, int64_t until_ms) {
    int64_t wait = until_ms - engine_now(engine);
    struct timespec at;

    if (wait <= 0)
        return;
    at = clock_in_ms(CLOCK_MONOTONIC, wait);
    pthread_cond_timedwait(&engine->moved, &engine->lock, &at);
}

/* In a child of fork() a lock may be one that a thread of the parent held, for ever. */
static bool refuse_forked(struct s3pve_client *client, struct request *rq) {
    if (client->pid == getpid())
        return false;

    if (rq && rq->state != REQUEST_DONE) {
        error_set(&rq->error, S3PVE_E_INVALID, "%s: used after fork()", rq->operation);
        rq->state = REQUEST_DONE;
    }
    return true;
}

int request_wait(
    struct s3pve_client *client, struct request *const *rqs, size_t n_rqs, int timeout_ms
) {
    struct engine *engine = client->engine;
    int64_t until = engine_now(engine) + timeout_ms;
    bool any;

    for (size_t i = 0; i < n_rqs && refuse_forked(client, rqs[i]); i++)
        if (rqs[i])
            return (int)i;

    LOCK_SCOPE(&engine->lock);
    for (bool moved = false;; moved = true) {
        int done = first_done(rqs, n_rqs, &any);

        if (done >= 0 || !any || (moved && engine_now(engine) >= until))
            return done;
        if (engine->has_thread || engine->driving) {
            cond_wait_until(engine, until);
            continue;
        }
        engine->driving = true;
        engine_step(engine, until);
        engine->driving = false;
        pthread_cond_broadcast(&engine->moved);
    }
}

void request_submit(struct s3pve_client *client, struct request *rq) {
    struct engine *engine = client->engine;

    rq->state = REQUEST_NEW;
    if (refuse_forked(client, rq))
        return;

    rq->error = S3PVE_ERROR_INIT;
    rq->attempts = 0;
    rq->received = 0;
    rq->ambiguous = rq->out_of_time = rq->fresh = false;
    __atomic_store_n(&rq->cancelled, 0, __ATOMIC_RELAXED);
    client_renew_creds(client);
    exchange_hash(client, rq);

    LOCK_SCOPE(&engine->lock);
    if (!rq->call.timeout_ms)
        rq->call.timeout_ms = client->config.timeout_ms;
    engine_begin_time(engine, rq);
    if (rq->out_of_memory) {
        error_set(&rq->error, S3PVE_E_NOMEM, "%s: out of memory", rq->operation);
        engine_done(engine, rq);
    } else {
        if (rq->delay_ms)
            engine_wait_then_queue(engine, rq, rq->delay_ms);
        else
            engine_queue(engine, rq);
        engine_wake(engine);
    }
}

int request_send(struct s3pve_client *client, struct request *rq, struct s3pve_error *err) {
    request_submit(client, rq);
    while (request_wait(client, &rq, 1, IDLE_POLL_MS) < 0)
        ;
    if (rq->error.code == S3PVE_OK)
        return 0;

    if (err)
        *err = rq->error;
    return -1;
}

void request_cancel(struct s3pve_client *client, struct request *rq) {
    if (refuse_forked(client, rq))
        return;

    {
        LOCK_SCOPE(&client->engine->lock);
        if (rq->state == REQUEST_NEW)
            return;
        __atomic_store_n(&rq->cancelled, 1, __ATOMIC_RELAXED);
        engine_wake(client->engine);
    }
    while (request_wait(client, &rq, 1, IDLE_POLL_MS) < 0)
        ;
}
