/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * sim [-v] [-s SEED] [-n COUNT] - the machine against every accident; see DESIGN-disks.md 8
 *
 * Exits with 1 at the first seed that shows something wrong, and says which and what.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "node.h"

static void set_up(struct sim *sim, uint64_t seed, bool loud) {
    struct world *world = &sim->world;

    *sim = (struct sim){0};
    world_init(world, seed, loud);
    bucket_init(&sim->bucket, world);
    oracle_init(&sim->oracle, world);
    memcpy(sim->params.uuid, "a volume, indeed", UUID_LEN);
    sim->size = SIM_SIZE_MIN;
    sim->size += world_chance(world, (uint32_t)((SIM_SIZE_MAX - sim->size) / SECTOR)) * SECTOR;
    sim->params.bucket = world_chance(world, 2);
    sim->params.segment_blocks = 2 + world_chance(world, 30);
    sim->params.seal_age_ms = 5 + world_chance(world, 200);
    sim->params.puts = 1 + world_chance(world, 5);
    sim->ring_len = (24 + world_chance(world, 80)) * (size_t)BLOCK;
    sim->trouble = world_chance(world, 3) ? world_chance(world, 25) : 0;
    sim->plain = world_chance(world, 4) == 0;
    sim->params.map_memory = world_chance(world, 3) ? world_chance(world, 30000) : MIB(1);
    sim->params.grace_ms = world_chance(world, 200);
    sim->liar = seed % 5 == 0;
    node_init(&sim->nodes[0], sim, "pve1");
    node_init(&sim->nodes[1], sim, "pve2");
    node_make(&sim->nodes[0]);
}

static void clear_event(struct sim *sim) {
    /* What was under way frees itself, as nobody hears it. */
    while (world_step(&sim->world))
        ;
}

static void tear_down(struct sim *sim) {
    for (int i = 0; i < 2; i++)
        node_kill(&sim->nodes[i]);
    clear_event(sim);
    for (int i = 0; i < 2; i++)
        node_clear(&sim->nodes[i]);
    oracle_clear(&sim->oracle);
    bucket_clear(&sim->bucket);
    world_clear(&sim->world);
}

static unsigned outstanding(const struct node *node) {
    unsigned n = 0;

    for (const struct guest_request *asked = node->asked; asked; asked = asked->next)
        n++;
    return n;
}

static void housekeeping(struct sim *sim) {
    struct node *node = &sim->nodes[world_chance(&sim->world, 2)];

    if (!node_is_open(node) || node->paused || node->volume->failure.code)
        return;
    if (sim_happens(sim, 6))
        volume_checkpoint(node->volume);
    if (sim_happens(sim, 2) && !node->root_busy)
        node_grow(node);
}

/* Its guest works for a while; so does one on a node that has lost the volume and does not know. */
static void work(struct sim *sim, int64_t ms) {
    int64_t until = sim->world.now_ms + ms;

    while (sim->world.now_ms < until) {
        for (unsigned asks = 1 + world_chance(&sim->world, sim->plain ? 3 : 6); asks > 0; asks--) {
            struct node *node = &sim->nodes[world_chance(&sim->world, 2)];

            if (node_is_open(node) && !node->paused && outstanding(node) < (sim->plain ? 2 : 8))
                node_ask(node);
        }
        housekeeping(sim);
        world_run(&sim->world, 1 + world_chance(&sim->world, 8));
    }
}

static void power_cut(struct node *node) {
    node_kill(node);
    disk_power_cut(&node->disk);
    node->me.incarnation[5]++;
}

/* One of the ways in which it may end. */
static void end(struct sim *sim, struct node *node) {
    uint32_t how = world_chance(&sim->world, sim->plain ? 7 : 12); /* of two kinds, or all */

    if (how >= 10 && node_close(node))
        return;
    if (how < 4 || how >= 10) {
        world_note(&sim->world, "%s: daemon killed", node->me.name);
        node_kill(node);
    } else if (how < 7) {
        world_note(&sim->world, "%s: power cut", node->me.name);
        power_cut(node);
        if (sim->loss < LOSS_POWER)
            sim->loss = LOSS_POWER;
    } else if (how < 8) {
        world_note(&sim->world, "%s: disk lost", node->me.name);
        power_cut(node);
        disk_erase(&node->disk);
        sim->loss = LOSS_DISK;
    } else {
        world_note(&sim->world, "%s: stands still", node->me.name);
        node->paused = true;
        node->lease_until = sim->world.now_ms + 35;
    }
}

/* A node that stood still goes on: it renews its lease, or finds that the volume is another's. */
static void resume(struct sim *sim, struct node *node) {
    node->paused = false;
    work(sim, world_chance(&sim->world, 40));
    if (!node->volume)
        return;
    if (node == sim->writer) {
        node->lease_until = INT64_MAX / 2;
        return;
    }
    sim->n_fenced++;
    node_kill(node);
    node->lease_until = INT64_MAX / 2;
}

/* Whoever may open it: not who stands still. */
static struct node *open_one(struct sim *sim) {
    struct node *node = &sim->nodes[sim->plain ? 0 : world_chance(&sim->world, 2)];
    struct node *other = node == &sim->nodes[0] ? &sim->nodes[1] : &sim->nodes[0];

    if (node->volume) { /* it stands still; so another may try */
        struct node *swap = node;

        node = other;
        other = swap;
    }
    if (node->volume)
        return NULL;
    if (other->paused)
        world_run(&sim->world, world_chance(&sim->world, 100));
    for (int i = 0; i < 20; i++) {
        if (node_open(node))
            return node;
        if (node_is_open(other) && !other->paused)
            return other;
        if (other->paused)
            world_run(&sim->world, 20);
        if (world_chance(&sim->world, 4) == 0)
            return NULL;
    }
    return NULL;
}

static void one_life(struct sim *sim) {
    struct node *node = open_one(sim), *other;

    if (!node)
        return;
    other = node == &sim->nodes[0] ? &sim->nodes[1] : &sim->nodes[0];
    work(sim, world_chance(&sim->world, world_chance(&sim->world, sim->plain ? 2 : 3) ? 300 : 8));
    if (other->paused)
        resume(sim, other);
    if (world_chance(&sim->world, 3))
        work(sim, world_chance(&sim->world, 300));
    if (node_is_open(node))
        end(sim, node);
}

/* All of it goes, though who deletes it is stopped again and again; nobody opens it meanwhile. */
static void delete (struct sim *sim) {
    sim->over = true;
    for (int i = 0; i < 2; i++)
        node_kill(&sim->nodes[i]);
    world_run(&sim->world, 100);
    while (!node_delete(&sim->nodes[world_chance(&sim->world, 2)])) {
        sim->nodes[0].me.incarnation[5]++;
        sim->nodes[1].me.incarnation[5]++;
        if (sim->bucket.root && sim->bucket.deleting)
            must_hold(
                &sim->world,
                !node_open(&sim->nodes[world_chance(&sim->world, 2)]),
                "a volume that is being deleted is opened"
            );
    }
}

static uint64_t run(uint64_t seed, bool loud, struct sim *total) {
    struct sim sim;
    uint64_t digest;

    set_up(&sim, seed, loud);
    for (unsigned lives = 2 + world_chance(&sim.world, 6); lives > 0; lives--)
        one_life(&sim);
    if (sim_happens(&sim, 10))
        delete (&sim);
    digest = sim.world.digest;
    total->n_answers += sim.n_answers;
    total->n_opens += sim.n_opens;
    total->n_refused += sim.n_refused;
    total->n_fenced += sim.n_fenced;
    total->n_aside += sim.n_aside;
    total->n_pages += sim.n_pages;
    total->n_published += sim.n_published;
    total->n_deleted += sim.n_deleted;
    total->n_closed += sim.n_closed;
    total->n_grown += sim.n_grown;
    tear_down(&sim);
    return digest;
}

int main(int argc, char **argv) {
    uint64_t seed = 1, count = 1, sum = 0;
    struct sim total = {0};
    bool loud = false;
    int c;

    while ((c = getopt(argc, argv, "vs:n:")) != -1)
        switch (c) {
        case 'v': loud = true; break;
        case 's': seed = strtoull(optarg, NULL, 10); break;
        case 'n': count = strtoull(optarg, NULL, 10); break;
        default: return 2;
        }
    for (uint64_t i = 0; i < count; i++)
        sum = sum * 31 + run(seed + i, loud, &total);
    printf(
        "%" PRIu64
        " seeds: %u answers, %u opens, %u refused, %u fenced, %u journals set aside; "
        "%u pages fetched, %u checkpoints, %u objects deleted, %u closed, %u grown; "
        "digest %016" PRIx64 "\n",
        count,
        total.n_answers,
        total.n_opens,
        total.n_refused,
        total.n_fenced,
        total.n_aside,
        total.n_pages,
        total.n_published,
        total.n_deleted,
        total.n_closed,
        total.n_grown,
        sum
    );
    return 0;
}
