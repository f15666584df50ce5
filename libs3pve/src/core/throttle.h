/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * throttle.h - a token bucket for bytes a second, shared by all transfers of a client
 *
 * Pure: time comes in.  Not thread-safe: the engine owns it.
 */
#ifndef CORE_THROTTLE_H
#define CORE_THROTTLE_H

#include <stddef.h>
#include <stdint.h>

/* Who waits for his turn. */
struct throttle_place {
    struct throttle *throttle; /* NULL: waits for none */
    struct throttle_place *next;
    void *owner;
};

struct throttle {
    uint64_t rate; /* bytes a second; 0: no limit */
    int64_t level; /* bytes that may go now; negative: a debt */
    int64_t last_ms;
    unsigned fraction; /* thousandths of a byte that level lacks */
    struct throttle_place *first;
};

/* A new rate from now on; what is owed stays owed.  An idle throttle lets 250 ms worth through. */
void throttle_set(struct throttle *throttle, uint64_t rate, int64_t now_ms);
/* How many of @want bytes may go now, which are counted as gone; 0: wait. */
uint64_t throttle_take(struct throttle *throttle, uint64_t want, int64_t now_ms);
/* Count @bytes that came anyhow; more than there was room for is a debt, to be waited off. */
void throttle_spend(struct throttle *throttle, uint64_t bytes, int64_t now_ms);
/* Milliseconds until something may go; 0: now.  At most a minute: ask again then. */
unsigned throttle_wait_ms(struct throttle *throttle, int64_t now_ms);

/*
 * Turns, so that nobody takes all each time while others starve: who got nothing waits, and goes on
 * when he is the first of those and something may go.
 */
void throttle_wait(struct throttle *throttle, struct throttle_place *place);
void throttle_leave(struct throttle_place *place);
/* Whose turn it is now, who waits no more; NULL: nobody's. */
struct throttle_place *throttle_next(struct throttle *throttle, int64_t now_ms);
/* Milliseconds until it is somebody's, at most @most_ms. */
int throttle_next_ms(struct throttle *throttle, int64_t now_ms, int most_ms);

#endif
