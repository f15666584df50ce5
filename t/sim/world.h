/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* world.h - a clock, a seed, and what is going to happen; one seed is one history */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void (*world_fn)(void *ctx, void *arg);

struct world_event {
    int64_t at_ms;
    uint64_t order; /* of those at the same time */
    world_fn fn;
    void *ctx, *arg;
};

struct world {
    uint64_t seed, state;
    int64_t now_ms;
    uint64_t order, digest;
    struct world_event *events; /* a heap */
    size_t n_events, room;
    bool loud;
};

void world_init(struct world *world, uint64_t seed, bool loud);
void world_clear(struct world *world);

/* 0 .. n - 1 */
uint32_t world_chance(struct world *world, uint32_t n);

/* Call fn(ctx, arg) in @ms. */
void world_in(struct world *world, int64_t ms, world_fn fn, void *ctx, void *arg);

/* The next event.  False: there is none. */
bool world_step(struct world *world);
void world_run(struct world *world, int64_t ms); /* all of the next @ms */

/* Into the digest, and to stderr when loud. */
void world_note(struct world *world, const char *fmt, ...)
    __attribute__((__format__(__printf__, 2, 3)));

/* The seed has found something: say what, and end. */
void world_fail(struct world *world, const char *fmt, ...)
    __attribute__((__format__(__printf__, 2, 3), __noreturn__));

#define must_hold(world, cond, ...)                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            world_fail(world, __VA_ARGS__);                                                        \
    } while (0)

#endif
