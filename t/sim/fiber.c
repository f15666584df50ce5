/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <assert.h>
#include <stdlib.h>
#include <ucontext.h>

#include "fiber.h"

#define STACK ((size_t)512 << 10)

struct fiber {
    struct world *world;
    unsigned life;
    world_fn fn;
    void *ctx, *arg;
    ucontext_t own, back;
    void *stack;
    bool done, freed;
    unsigned wakes; /* events that name it */
};

static struct fiber *current;
static void *spare[8]; /* stacks that are used again */
static unsigned n_spare;

static void run(void) {
    current->fn(current->ctx, current->arg);
    current->done = true;
    swapcontext(&current->own, &current->back);
}

void fiber_wake(struct fiber *fiber) {
    assert(!current && !fiber->done);
    current = fiber;
    swapcontext(&fiber->back, &fiber->own);
    current = NULL;
}

struct fiber *fiber_start(struct world *world, unsigned life, world_fn fn, void *ctx, void *arg) {
    struct fiber *fiber = calloc(1, sizeof(*fiber));

    *fiber = (struct fiber){.world = world, .life = life, .fn = fn, .ctx = ctx, .arg = arg};
    fiber->stack = n_spare ? spare[--n_spare] : malloc(STACK);
    getcontext(&fiber->own);
    fiber->own.uc_stack.ss_sp = fiber->stack;
    fiber->own.uc_stack.ss_size = STACK;
    makecontext(&fiber->own, run, 0);
    fiber_wake(fiber);
    return fiber;
}

unsigned fiber_life(void) {
    return current->life;
}

static void wake_event(void *ctx, void *arg) {
    struct fiber *fiber = arg;

    fiber->wakes--;
    if (!fiber->done)
        fiber_wake(fiber);
    else if (fiber->freed && !fiber->wakes)
        free(fiber);
}

void fiber_sleep(int64_t ms) {
    struct fiber *fiber = current;

    fiber->wakes++;
    world_in(fiber->world, ms, wake_event, NULL, fiber);
    swapcontext(&fiber->own, &fiber->back);
}

bool fiber_is_done(const struct fiber *fiber) {
    return fiber->done;
}

void fiber_free(struct fiber *fiber) {
    assert(fiber->done);
    if (n_spare < sizeof(spare) / sizeof(spare[0]))
        spare[n_spare++] = fiber->stack;
    else
        free(fiber->stack);
    fiber->stack = NULL;
    fiber->freed = true;
    if (!fiber->wakes)
        free(fiber);
}
