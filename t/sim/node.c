/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* node.c - the life of a node, and what its guest asks */
#include <stdlib.h>
#include <string.h>

#include "node.h"

void node_init(struct node *node, struct sim *sim, const char *name) {
    *node = (struct node){.sim = sim, .lease_until = INT64_MAX / 2};
    strcpy(node->me.name, name);
    strcpy(node->me.incarnation, "boot-1");
    disk_init(&node->disk, &sim->world, sim->ring_len);
}

void node_clear(struct node *node) {
    node_kill(node);
    disk_clear(&node->disk);
}

/* What its protocols wait for comes to nothing; then they are over. */
static void end_fibers(struct node *node) {
    for (unsigned i = 0; i < NODE_FIBERS; i++) {
        if (!node->fibers[i])
            continue;
        while (!fiber_is_done(node->fibers[i]))
            fiber_wake(node->fibers[i]);
        fiber_free(node->fibers[i]);
        node->fibers[i] = NULL;
    }
}

void node_kill(struct node *node) {
    node->life++;
    end_fibers(node);
    if (node->opening)
        node->sim->opening--;
    node->opening = node->root_busy = node->paused = false;
    runtime_kill(node);
    while (node->asked)
        node_forget(node, node->asked);
    node->volume = volume_free(node->volume);
    root_clear(&node->root);
    node->wake_ms = 0;
}

/* -------------------------------------------------------------------- guest */

static void fill(struct sim *sim, struct guest_request *asked, uint32_t n) {
    asked->data = calloc(n, BLOCK);
    asked->request.sums = calloc(n, sizeof(uint32_t));
    asked->request.zero = calloc(n, sizeof(bool));
    for (uint32_t i = 0; i < n && asked->request.type == VOLUME_WRITE; i++) {
        uint64_t *words = (uint64_t *)(asked->data + (size_t)i * BLOCK);

        if (sim_happens(sim, 90))
            for (uint32_t k = 0; k < BLOCK / 8; k += 32)
                words[k] = ++sim->next_id;
    }
}

/* Only what it covers is its own; the rest comes with the edges. */
static void cut(struct guest_request *asked, uint32_t n) {
    size_t from = asked->request.offset % BLOCK, to = from + asked->request.len;

    memset(asked->data, 0, from);
    memset(asked->data + to, 0, (size_t)n * BLOCK - to);
    for (uint32_t i = 0; i < n; i++)
        runtime_sum(&asked->request, i, asked->data + (size_t)i * BLOCK);
}

/* Where: within one cluster, and the volume. */
static void place(struct sim *sim, struct volume_request *request, uint64_t size) {
    uint32_t n = 1 + world_chance(&sim->world, 6), room = ORACLE_CLUSTER * (BLOCK / SECTOR);
    uint32_t sectors = n * (BLOCK / SECTOR), first;
    uint64_t start;

    if (sim->plain)
        sectors = BLOCK / SECTOR;
    else if (sim_happens(sim, 15) && request->type != VOLUME_READ)
        sectors = 1 + world_chance(&sim->world, sectors);
    first = world_chance(&sim->world, room - sectors + 1);
    if (sectors % (BLOCK / SECTOR) == 0 && (sim->plain || sim_happens(sim, 85)))
        first = first / (BLOCK / SECTOR) * (BLOCK / SECTOR);
    do
        start = oracle_clusters[world_chance(&sim->world, ORACLE_CLUSTERS)] * BLOCK;
    while (start + (uint64_t)first * SECTOR >= size);
    request->offset = start + (uint64_t)first * SECTOR;
    request->len = (uint64_t)sectors * SECTOR;
    if (request->len > size - request->offset)
        request->len = size - request->offset;
}

/* From somewhere to somewhere else, over thousands of leaves. */
static void discard_much(struct sim *sim, struct volume_request *request, uint64_t size) {
    uint64_t a = oracle_clusters[world_chance(&sim->world, ORACLE_CLUSTERS)] + 3,
             b = oracle_clusters[world_chance(&sim->world, ORACLE_CLUSTERS)] + 9;

    if (a >= b || b * BLOCK > size)
        return;
    request->unmap = true;
    request->offset = a * BLOCK;
    request->len = (b - a) * BLOCK;
}

static enum volume_request_type choose(struct sim *sim) {
    uint32_t what = world_chance(&sim->world, 100);

    if (sim->plain)
        return what < 90 ? VOLUME_WRITE : VOLUME_READ;
    return what < 30   ? VOLUME_READ
           : what < 82 ? VOLUME_WRITE
           : what < 90 ? VOLUME_ZERO
                       : VOLUME_FLUSH;
}

void node_ask(struct node *node) {
    struct sim *sim = node->sim;
    struct guest_request *asked = calloc(1, sizeof(*asked));
    struct volume_request *request = &asked->request;
    uint64_t size = node->volume->params.size;

    request->type = choose(sim);
    request->fua = request->type == VOLUME_WRITE && sim_happens(sim, 10);
    request->unmap = sim_happens(sim, 50);
    if (request->type != VOLUME_FLUSH) {
        place(sim, request, size);
        if (request->type == VOLUME_ZERO && sim_happens(sim, 5))
            discard_much(sim, request, size);
        if (request_blocks(request) <= ORACLE_CLUSTER) {
            fill(sim, asked, request_blocks(request));
            if (request->type != VOLUME_READ)
                cut(asked, request_blocks(request));
        }
    }
    asked->least = node_counts(node) ? sim->answered : SIZE_MAX;
    asked->next = node->asked;
    node->asked = asked;
    volume_tick(node->volume, sim->world.now_ms);
    volume_submit(node->volume, request);
}
