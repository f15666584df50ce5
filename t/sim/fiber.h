/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* fiber.h - a protocol that blocks, as one thread of many that the world lets go on in turn */
#ifndef SIM_FIBER_H
#define SIM_FIBER_H

#include "world.h"

struct fiber; /* opaque */

/* fn(ctx, arg) until it sleeps for the first time.  @life: what fiber_life() says in it. */
struct fiber *fiber_start(struct world *world, unsigned life, world_fn fn, void *ctx, void *arg);
unsigned fiber_life(void);
void fiber_sleep(int64_t ms);

/* Go on at once, however long it wanted to sleep. */
void fiber_wake(struct fiber *fiber);
bool fiber_is_done(const struct fiber *fiber);

/* Once it is done. */
void fiber_free(struct fiber *fiber);

#endif
