/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "world.h"

void world_init(struct world *world, uint64_t seed, bool loud) {
    *world = (struct world
    ){.seed = seed, .state = seed * 2 + 1, .digest = 14695981039346656037u, .loud = loud};
    for (int i = 0; i < 8; i++)
        world_chance(world, 2);
}

void world_clear(struct world *world) {
    free(world->events);
}

uint32_t world_chance(struct world *world, uint32_t n) {
    uint64_t x;

    world->state = world->state * 6364136223846793005u + 1442695040888963407u;
    x = world->state ^ world->state >> 29;
    return n ? (uint32_t)((x * 0x9e3779b97f4a7c15u) >> 33) % n : 0;
}

static bool before(const struct world_event *a, const struct world_event *b) {
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

static void swap(struct world_event *a, struct world_event *b) {
    struct world_event other = *a;

    *a = *b;
    *b = other;
}

void world_in(struct world *world, int64_t ms, world_fn fn, void *ctx, void *arg) {
    size_t i = world->n_events++;

    if (world->n_events > world->room) {
        world->room = world->room ? world->room * 2 : 256;
        world->events = realloc(world->events, world->room * sizeof(*world->events));
    }
    world->events[i] =
        (struct world_event){/* of what happens at the same time, any may be first */
                             world->now_ms + ms,
                             (uint64_t)world_chance(world, 1 << 20) << 40 | ++world->order,
                             fn,
                             ctx,
                             arg};
    for (; i > 0 && before(&world->events[i], &world->events[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&world->events[i], &world->events[(i - 1) / 2]);
}

bool world_step(struct world *world) {
    struct world_event event;

    if (!world->n_events)
        return false;
    event = world->events[0];
    world->events[0] = world->events[--world->n_events];
    for (size_t i = 0, least = 0;; i = least) {
        for (size_t k = 2 * i + 1; k <= 2 * i + 2 && k < world->n_events; k++)
            if (before(&world->events[k], &world->events[least]))
                least = k;
        if (least == i)
            break;
        swap(&world->events[i], &world->events[least]);
    }
    world->now_ms = event.at_ms;
    event.fn(event.ctx, event.arg);
    return true;
}

void world_run(struct world *world, int64_t ms) {
    int64_t until = world->now_ms + ms;

    while (world->n_events && world->events[0].at_ms <= until)
        world_step(world);
    if (world->now_ms < until)
        world->now_ms = until;
}

void world_note(struct world *world, const char *fmt, ...) {
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    for (const char *c = text; *c; c++)
        world->digest = (world->digest ^ (unsigned char)*c) * 1099511628211u;
    if (world->loud)
        fprintf(stderr, "%8" PRId64 " %s\n", world->now_ms, text);
}

void world_fail(struct world *world, const char *fmt, ...) {
    va_list args;

    printf("seed %" PRIu64 " at %" PRId64 " ms: ", world->seed, world->now_ms);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    _Exit(1);
}
