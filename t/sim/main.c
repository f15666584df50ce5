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
    struct root root = {.size = ORACLE_BLOCKS * BLOCK, .segment_blocks = 2048};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    *sim = (struct sim){0};
    world_init(world, seed, loud);
    bucket_init(&sim->bucket, world);
    oracle_init(&sim->oracle, world);
    memcpy(sim->params.uuid, "a volume, indeed", UUID_LEN);
    memcpy(root.uuid, sim->params.uuid, UUID_LEN);
    sim->params.size = root.size;
    sim->params.bucket = world_chance(world, 2);
    sim->params.segment_blocks = 2 + world_chance(world, 30);
    sim->params.seal_age_ms = 5 + world_chance(world, 200);
    sim->params.puts = 1 + world_chance(world, 5);
    sim->ring_len = (24 + world_chance(world, 80)) * (size_t)BLOCK;
    sim->trouble = world_chance(world, 3) ? world_chance(world, 25) : 0;
    sim->plain = world_chance(world, 4) == 0;
    strcpy(root.owner.node, "nobody");
    if (root_encode(&root, &sim->bucket.root, &err) < 0)
        abort();
    sim->bucket.root_version = 1;
    node_init(&sim->nodes[0], sim, "pve1");
    node_init(&sim->nodes[1], sim, "pve2");
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

/* Its guest works for a while; so does one on a node that has lost the volume and does not know. */
static void work(struct sim *sim, int64_t ms) {
    int64_t until = sim->world.now_ms + ms;

    while (sim->world.now_ms < until) {
        for (unsigned asks = 1 + world_chance(&sim->world, sim->plain ? 3 : 6); asks > 0; asks--) {
            struct node *node = &sim->nodes[world_chance(&sim->world, 2)];

            if (node->volume && !node->paused && outstanding(node) < (sim->plain ? 2 : 8))
                node_ask(node);
        }
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
    uint32_t how = world_chance(&sim->world, 10);

    if (how < 4) {
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

static void one_life(struct sim *sim) {
    struct node *node = &sim->nodes[sim->plain ? 0 : world_chance(&sim->world, 2)];
    struct node *other = node == &sim->nodes[0] ? &sim->nodes[1] : &sim->nodes[0];

    if (node->volume) /* it stands still; so another may try */
        node = other, other = &sim->nodes[node == &sim->nodes[0]];
    if (node->volume)
        return;
    if (other->paused)
        world_run(&sim->world, world_chance(&sim->world, 100));
    for (int i = 0; i < 20 && !node->volume; i++) {
        if (!node_open(node) && other->paused)
            world_run(&sim->world, 20);
        if (!node->volume && world_chance(&sim->world, 4) == 0)
            return;
    }
    if (!node->volume)
        return;
    work(sim, world_chance(&sim->world, world_chance(&sim->world, sim->plain ? 2 : 3) ? 300 : 8));
    if (other->paused)
        resume(sim, other);
    if (world_chance(&sim->world, 3))
        work(sim, world_chance(&sim->world, 300));
    end(sim, node);
}

static uint64_t run(uint64_t seed, bool loud, struct sim *total) {
    struct sim sim;
    uint64_t digest;

    set_up(&sim, seed, loud);
    for (unsigned lives = 2 + world_chance(&sim.world, 6); lives > 0; lives--)
        one_life(&sim);
    digest = sim.world.digest;
    total->n_answers += sim.n_answers;
    total->n_opens += sim.n_opens;
    total->n_refused += sim.n_refused;
    total->n_fenced += sim.n_fenced;
    total->n_aside += sim.n_aside;
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
        "digest %016" PRIx64 "\n",
        count,
        total.n_answers,
        total.n_opens,
        total.n_refused,
        total.n_fenced,
        total.n_aside,
        sum
    );
    return 0;
}
