/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/span.h"
#include "base/limits.h"
#include "core/retry.h"

static int64_t now_ms(const struct s3pve_client *client) {
    return client->transport.now_ms(client->transport.ctx);
}

void span_begin(
    struct span *span, struct s3pve_client *client, const struct s3pve_call *call, uint64_t extra_ms
) {
    uint64_t ms = call && call->timeout_ms ? call->timeout_ms : client->config.timeout_ms;

    *span = (struct span){.client = client};
    if (call)
        span->call = *call;
    span->least_ms = ms < RESOLVE_MS ? (unsigned)ms : RESOLVE_MS;
    ms += extra_ms;
    if (ms > CALL_MS_MAX)
        ms = CALL_MS_MAX;
    span->until_ms = now_ms(client) + (int64_t)ms;
}

void span_extend(struct span *span, uint64_t extra_ms) {
    span->until_ms += (int64_t)(extra_ms < CALL_MS_MAX ? extra_ms : CALL_MS_MAX);
}

bool span_is_over(const struct span *span) {
    return now_ms(span->client) >= span->until_ms;
}

bool span_round(const struct span *span, unsigned n, unsigned *ret_wait_ms) {
    const struct transport *transport = &span->client->transport;

    *ret_wait_ms = 0;
    if (n == 0)
        return true;
    *ret_wait_ms = retry_backoff_ms(RESOLVE_PAUSE_MS, n - 1, 0, transport->random(transport->ctx));
    if (now_ms(span->client) + *ret_wait_ms < span->until_ms)
        return n < RESOLVE_TRIES;
    *ret_wait_ms = 0;
    return n < RESOLVE_TRIES_LATE;
}

const struct s3pve_call *span_call(struct span *span) {
    int64_t left = span->until_ms - now_ms(span->client);

    span->call.timeout_ms = left > span->least_ms ? (unsigned)left : span->least_ms;
    return &span->call;
}
