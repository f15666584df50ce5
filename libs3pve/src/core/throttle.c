/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The level rises with time and falls with what goes.
 *
 *     -debt ........ 0 ... quantum ............ burst
 *        nothing goes         |  something may go
 *
 * Below the quantum everybody waits, or the bytes would trickle in pieces that cost more than they
 * carry.  Thousandths of a byte are kept too, so that many short steps add up to one long one.
 */
#include "core/throttle.h"

#include <stdbool.h>

#define BURSTS_PER_S 4       /* an idle limit may let 250 ms worth through at once */
#define QUANTA_PER_S 100     /* less than 10 ms worth is not worth a system call ... */
#define QUANTUM_MAX 65536    /* ... but this is, at any rate */
#define RATE_MAX (1LL << 40) /* 1 TiB/s is no limit, and products of times and rates fit */
#define DEBT_MAX (1LL << 50)
#define WAIT_MAX_MS 60000 /* look again after this at the latest */

static int64_t rate_of(const struct throttle *throttle) {
    return (int64_t)throttle->rate;
}

static int64_t at_least_1(int64_t n) {
    return n < 1 ? 1 : n;
}

static int64_t burst(const struct throttle *throttle) {
    return at_least_1(rate_of(throttle) / BURSTS_PER_S);
}

static int64_t quantum(const struct throttle *throttle) {
    const int64_t bytes = at_least_1(rate_of(throttle) / QUANTA_PER_S);

    return bytes > QUANTUM_MAX ? QUANTUM_MAX : bytes;
}

/* A clock that went back gives nothing and takes nothing. */
static void refill(struct throttle *throttle, int64_t now_ms) {
    const int64_t passed_ms = now_ms > throttle->last_ms ? now_ms - throttle->last_ms : 0;
    const int64_t missing = burst(throttle) - throttle->level;
    int64_t credit;

    throttle->last_ms = now_ms;
    if (passed_ms / 1000 > missing / rate_of(throttle)) {
        throttle->level = burst(throttle);
        throttle->fraction = 0;
        return;
    }

    credit = passed_ms * rate_of(throttle) + throttle->fraction;
    throttle->level += credit / 1000;
    throttle->fraction = (unsigned)(credit % 1000);
    if (throttle->level >= burst(throttle)) {
        throttle->level = burst(throttle);
        throttle->fraction = 0;
    }
}

void throttle_set(struct throttle *throttle, uint64_t rate, int64_t now_ms) {
    const bool was_limited = throttle->rate != 0;

    if (was_limited)
        refill(throttle, now_ms);
    throttle->rate = rate > RATE_MAX ? RATE_MAX : rate;
    throttle->last_ms = now_ms;
    if (!was_limited || throttle->level > burst(throttle))
        throttle->level = burst(throttle);
}

uint64_t throttle_take(struct throttle *throttle, uint64_t want, int64_t now_ms) {
    int64_t level;

    if (!throttle->rate)
        return want;

    refill(throttle, now_ms);
    level = throttle->level;
    if (level <= 0 || (level < quantum(throttle) && want > (uint64_t)level))
        return 0;
    if (want > (uint64_t)level)
        want = (uint64_t)level;
    throttle->level -= (int64_t)want;
    return want;
}

void throttle_spend(struct throttle *throttle, uint64_t bytes, int64_t now_ms) {
    if (!throttle->rate)
        return;

    refill(throttle, now_ms);
    throttle->level -= bytes < DEBT_MAX ? (int64_t)bytes : DEBT_MAX;
    if (throttle->level < -DEBT_MAX)
        throttle->level = -DEBT_MAX;
}

unsigned throttle_wait_ms(struct throttle *throttle, int64_t now_ms) {
    int64_t missing;

    if (!throttle->rate)
        return 0;

    refill(throttle, now_ms);
    missing = quantum(throttle) - throttle->level;
    if (missing <= 0)
        return 0;
    if (missing / rate_of(throttle) >= WAIT_MAX_MS / 1000)
        return WAIT_MAX_MS;
    return (unsigned
    )((missing * 1000 - throttle->fraction + rate_of(throttle) - 1) / rate_of(throttle));
}

void throttle_wait(struct throttle *throttle, struct throttle_place *place) {
    struct throttle_place **end = &throttle->first;

    throttle_leave(place);
    while (*end)
        end = &(*end)->next;
    *end = place;
    place->throttle = throttle;
    place->next = NULL;
}

void throttle_leave(struct throttle_place *place) {
    struct throttle_place **at;

    if (!place->throttle)
        return;
    for (at = &place->throttle->first; *at != place; at = &(*at)->next)
        ;
    *at = place->next;
    place->throttle = NULL;
}

struct throttle_place *throttle_next(struct throttle *throttle, int64_t now_ms) {
    struct throttle_place *place = throttle->first;

    if (!place || throttle_wait_ms(throttle, now_ms))
        return NULL;
    throttle_leave(place);
    return place;
}

int throttle_next_ms(struct throttle *throttle, int64_t now_ms, int most_ms) {
    const unsigned wait_ms = throttle->first ? throttle_wait_ms(throttle, now_ms) : WAIT_MAX_MS;

    return (int)wait_ms < most_ms ? (int)wait_ms : most_ms;
}
