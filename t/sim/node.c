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

void node_kill(struct node *node) {
    node->life++;
    runtime_kill(node);
    while (node->asked)
        node_forget(node, node->asked);
    node->volume = volume_free(node->volume);
    root_clear(&node->root);
    node->paused = false;
    node->wake_ms = 0;
}

static void check_disk(struct node *node) {
    struct sim *sim = node->sim;
    uint64_t hashes[ORACLE_BLOCKS];
    size_t least = sim->loss == LOSS_DAEMON  ? sim->answered
                   : sim->loss == LOSS_POWER ? sim->safe
                   : sim->params.bucket      ? sim->safe
                                             : sim->stored;

    node_read_all(node, hashes);
    oracle_check(&sim->oracle, hashes, least);
    if (sim->oracle.n_writes > oracle_count(&sim->oracle, node->volume->jseq))
        sim->oracle.n_writes = oracle_count(&sim->oracle, node->volume->jseq);
    sim->answered = sim->oracle.n_writes;
    if (sim->safe > sim->answered)
        sim->safe = sim->answered;
}

/* Every row of the table counts just the blocks that the map has in its segment. */
static void count_live(void *ctx, uint64_t block, uint32_t n, place_t place) {
    uint32_t *live = ctx;

    if (place_kind(place) == PLACE_DATA)
        live[map_row(place)] += n;
}

static void check_live(struct node *node) {
    const struct table *table = &node->volume->table;
    uint32_t *live = calloc(table->n_rows + 1, sizeof(*live));

    map_each(node->volume->map, 0, ORACLE_BLOCKS, count_live, live);
    for (uint32_t i = 0; i < table->n_rows; i++)
        must_hold(
            &node->sim->world,
            live[i] == table->rows[i].live,
            "segment %llu is said to have %u blocks alive, and has %u",
            (unsigned long long)table->rows[i].id.seq,
            table->rows[i].live,
            live[i]
        );
    free(live);
}

/* A piece of the disk by the machine's own maps, without a request. */
void node_read_all(struct node *node, uint64_t hashes[ORACLE_BLOCKS]) {
    struct volume_request request = {0};
    uint8_t block[BLOCK];
    uint32_t at = 0;

    if (lookup(node->volume, &request, 0, ORACLE_BLOCKS) < 0)
        abort();
    for (uint32_t p = 0; p < request.n_pieces; p++)
        for (uint32_t i = 0; i < request.pieces[p].n; i++) {
            runtime_fetch(node, &request.pieces[p], i, block);
            hashes[at++] = oracle_hash(block);
        }
    lookup_unpin(node->volume, &request);
}

bool node_open(struct node *node) {
    struct sim *sim = node->sim;
    struct node *other = &sim->nodes[node == &sim->nodes[0]];
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int rc;

    node->volume = volume_new(&sim->params, &runtime_ops, node);
    node->opening = true;
    if (sim->writer && node != sim->writer)
        sim->loss = LOSS_DISK;
    sim->frozen = true;
    rc = volume_open(node->volume, &sim_store, node, &node->me, &node->root, node->etag, &err);
    node->opening = false;
    if (rc < 0) {
        world_note(&sim->world, "%s does not open: %s", node->me.name, err.message);
        must_hold(&sim->world, err.code != S3PVE_E_CORRUPT, "%s: %s", node->me.name, err.message);
        sim->n_refused++;
        node_kill(node);
        return false;
    }
    world_note(
        &sim->world,
        "%s opens epoch %u, tip %llu, jseq %llu",
        node->me.name,
        node->volume->epoch,
        (unsigned long long)node->volume->tip,
        (unsigned long long)node->volume->jseq
    );
    sim->n_opens++;
    must_hold(
        &sim->world,
        !other->volume || other->opening || sim->world.now_ms >= other->lease_until,
        "(I8) %s has the volume, and %s opens it",
        other->me.name,
        node->me.name
    );
    if (sim->writer && node != sim->writer)
        sim->loss = LOSS_DISK;
    check_live(node);
    check_disk(node);
    sim->writer = node;
    sim->frozen = false;
    sim->loss = LOSS_DAEMON;
    node_note_stored(node);
    return true;
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

void node_ask(struct node *node) {
    struct sim *sim = node->sim;
    struct guest_request *asked = calloc(1, sizeof(*asked));
    struct volume_request *request = &asked->request;
    uint32_t what = world_chance(&sim->world, 100), n = 1 + world_chance(&sim->world, 6);
    uint32_t sectors = n * (BLOCK / SECTOR), first;

    request->type = what < 30   ? VOLUME_READ
                    : what < 82 ? VOLUME_WRITE
                    : what < 90 ? VOLUME_ZERO
                                : VOLUME_FLUSH;
    if (sim->plain) {
        request->type = what < 90 ? VOLUME_WRITE : VOLUME_READ;
        sectors = BLOCK / SECTOR;
    }
    request->fua = request->type == VOLUME_WRITE && sim_happens(sim, 10);
    request->unmap = sim_happens(sim, 50);
    if (request->type != VOLUME_FLUSH) {
        if (sim_happens(sim, 15) && request->type != VOLUME_READ && !sim->plain)
            sectors = 1 + world_chance(&sim->world, sectors);
        first = world_chance(&sim->world, (ORACLE_BLOCKS * (BLOCK / SECTOR) - sectors));
        if (sectors % (BLOCK / SECTOR) == 0 && (sim->plain || sim_happens(sim, 85)))
            first = first / (BLOCK / SECTOR) * (BLOCK / SECTOR);
        request->offset = (uint64_t)first * SECTOR;
        request->len = (uint64_t)sectors * SECTOR;
        n = request_blocks(request);
        fill(sim, asked, n);
        if (request->type != VOLUME_READ)
            cut(asked, n);
    }
    asked->least = node_counts(node) ? sim->answered : SIZE_MAX;
    asked->next = node->asked;
    node->asked = asked;
    volume_tick(node->volume, sim->world.now_ms);
    volume_submit(node->volume, request);
}
