/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* protocols.c - a node opens, publishes, grows and closes the volume, each in a fiber of its own */
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "node.h"

static struct node *other_of(struct node *node) {
    return &node->sim->nodes[node == &node->sim->nodes[0]];
}

void node_start(struct node *node, world_fn fn) {
    for (unsigned i = 0; i < NODE_FIBERS; i++) {
        if (node->fibers[i] && !fiber_is_done(node->fibers[i]))
            continue;
        if (node->fibers[i])
            fiber_free(node->fibers[i]);
        node->fibers[i] = fiber_start(&node->sim->world, node->life, fn, node, NULL);
        return;
    }
    abort();
}

static bool is_dead(const struct node *node) {
    return fiber_life() != node->life;
}

/* The root is for one protocol at a time.  False: dead. */
static bool take_root(struct node *node) {
    while (!is_dead(node) && node->root_busy)
        fiber_sleep(1);
    if (is_dead(node))
        return false;
    return node->root_busy = true;
}

bool node_is_open(const struct node *node) {
    return node->volume && !node->opening;
}

/* --------------------------------------------------------------------- open */

static void refused(struct node *node, const struct s3pve_error *err) {
    struct sim *sim = node->sim;

    world_note(&sim->world, "%s does not open: %s", node->me.name, err->message);
    must_hold(
        &sim->world,
        err->code != S3PVE_E_CORRUPT && err->code != S3PVE_E_NOT_FOUND,
        "%s: %s",
        node->me.name,
        err->message
    );
    sim->n_refused++;
    node->volume = volume_free(node->volume);
    root_clear(&node->root);
}

static void opened(struct node *node) {
    struct sim *sim = node->sim;
    struct node *other = other_of(node);

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
        !node_is_open(other) || sim->world.now_ms >= other->lease_until,
        "(I8) %s has the volume, and %s opens it",
        other->me.name,
        node->me.name
    );
    if (sim->writer && node != sim->writer)
        sim->loss = LOSS_DISK;
    check_opened(node);
    sim->writer = node;
    sim->loss = LOSS_DAEMON;
    node_note_stored(node);
}

static void open_fiber(void *ctx, void *arg) {
    struct node *node = ctx;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int rc = volume_open(node->volume, &sim_store, node, &node->me, &node->root, node->etag, &err);

    if (is_dead(node))
        return;
    node->opening = false;
    node->sim->opening--;
    if (rc < 0)
        refused(node, &err);
    else
        opened(node);
}

static void begin_opening(struct node *node) {
    node->volume = volume_new(&node->sim->params, &runtime_ops, node);
    node->opening = true;
    node->sim->opening++;
    node_start(node, open_fiber);
}

static void rival_event(void *ctx, void *arg) {
    struct node *node = arg;

    if (node->volume || node->sim->over)
        return;
    world_note(&node->sim->world, "%s tries as well", node->me.name);
    begin_opening(node);
}

bool node_open(struct node *node) {
    struct sim *sim = node->sim;

    if (!node->volume)
        begin_opening(node);
    while (sim_happens(sim, 10))
        world_in(&sim->world, world_chance(&sim->world, 150), rival_event, NULL, other_of(node));
    while (sim->opening)
        world_step(&sim->world);
    return node_is_open(node);
}

/* ------------------------------------------------------------------ publish */

static void publish_fiber(void *ctx, void *arg) {
    struct node *node = ctx;
    struct sim *sim = node->sim;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int rc;

    if (!take_root(node))
        return;
    rc = volume_publish(&sim_store, node, node->volume->checkpoint, &err);
    if (is_dead(node))
        return;
    node->root_busy = false;
    world_note(&sim->world, "%s publishes: %s", node->me.name, rc < 0 ? err.message : "done");
    must_hold(
        &sim->world,
        rc == 0 || err.code != S3PVE_E_CONFLICT || !node_counts(node),
        "(I8) an owner is told that it is none"
    );
    sim->n_published += rc == 0;
    volume_tick(node->volume, sim->world.now_ms);
    volume_checkpoint_done(node->volume, rc < 0 ? &err : NULL);
}

static void publish_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    struct node *node = ticket->node;

    if (!ticket_is_heard(ticket, publish_event))
        return;
    ticket_free(ticket);
    node_start(node, publish_fiber);
}

void protocols_publish(void *ctx, const struct checkpoint *checkpoint) {
    struct node *node = ctx;

    world_in(
        &node->sim->world, world_chance(&node->sim->world, 4), publish_event, NULL, ticket_new(node)
    );
}

/* --------------------------------------------------------------------- grow */

static void grow_fiber(void *ctx, void *arg) {
    struct node *node = ctx;
    struct sim *sim = node->sim;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint64_t size = node->volume->params.size;
    int rc;

    size += world_chance(&sim->world, (uint32_t)(SIM_SIZE_MAX - size) / SECTOR + 1) * SECTOR;
    if (!take_root(node))
        return;
    rc = volume_grow(node->volume, &sim_store, node, size, &err);
    if (is_dead(node))
        return;
    node->root_busy = false;
    if (rc < 0)
        return;
    volume_resized(node->volume, size);
    sim->n_grown++;
    if (node_counts(node))
        sim->size = size;
}

void node_grow(struct node *node) {
    node_start(node, grow_fiber);
}

/* -------------------------------------------------------------------- close */

static bool drain(struct node *node) {
    int64_t until = node->sim->world.now_ms + 3000;

    volume_drain(node->volume, true);
    while (!is_dead(node) && !volume_is_drained(node->volume) && node->sim->world.now_ms < until)
        fiber_sleep(3);
    return !is_dead(node) && volume_is_drained(node->volume);
}

static void close_fiber(void *ctx, void *arg) {
    struct node *node = ctx;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    bool drained = drain(node);
    int rc;

    if (is_dead(node))
        return;
    volume_drain(node->volume, false);
    if (!drained) {
        node->ending = ENDING_NONE;
        return;
    }
    if (!take_root(node))
        return;
    rc = volume_close(node->volume, &sim_store, node, &err);
    if (is_dead(node))
        return;
    node->root_busy = false;
    node->ending = rc < 0 ? ENDING_UNKNOWN : ENDING_CLOSED;
    world_note(&node->sim->world, "%s closes: %s", node->me.name, rc < 0 ? err.message : "done");
}

/* All there is, is in the bucket now. */
static void note_closed(struct sim *sim) {
    sim->n_closed++;
    sim->safe = sim->stored = sim->answered = sim->oracle.n_writes;
}

bool node_close(struct node *node) {
    struct sim *sim = node->sim;
    bool counts = node_counts(node);

    node->ending = ENDING_BEGUN;
    node_start(node, close_fiber);
    while (node->ending == ENDING_BEGUN)
        world_step(&sim->world);
    if (node->ending == ENDING_NONE)
        return false;
    if (node->ending == ENDING_CLOSED && counts)
        note_closed(sim);
    node_kill(node);
    return true;
}

/* ---------------------------------------------------------- make and delete */

static void make_fiber(void *ctx, void *arg) {
    struct node *node = ctx;
    struct sim *sim = node->sim;
    struct root root = {.size = sim->size, .segment_blocks = 2048};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    memcpy(root.uuid, sim->params.uuid, UUID_LEN);
    if (volume_create(&sim_store, node, &root, &err) < 0)
        must_hold(
            &sim->world,
            sim->trouble || err.code == S3PVE_E_CONFLICT,
            "a volume is not made: %s",
            err.message
        );
    root_clear(&root);
    node->ending = ENDING_CLOSED;
}

static void delete_fiber(void *ctx, void *arg) {
    struct node *node = ctx;
    struct sim *sim = node->sim;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int rc = volume_delete(&sim_store, node, &node->me, &err);

    if (is_dead(node))
        return;
    must_hold(
        &sim->world,
        rc < 0 || !sim->bucket.root || strstr(sim->bucket.root, "\"rev\":1,"),
        "a deleted volume is still there" /* not: the write that made it lands once more */
    );
    node->ending = rc == 0 || err.code == S3PVE_E_NOT_FOUND ? ENDING_CLOSED : ENDING_NONE;
}

static bool run_one(struct node *node, world_fn fn) {
    node->ending = ENDING_BEGUN;
    node_start(node, fn);
    while (node->ending == ENDING_BEGUN)
        world_step(&node->sim->world);
    return node->ending == ENDING_CLOSED;
}

void node_make(struct node *node) {
    while (!node->sim->bucket.root)
        run_one(node, make_fiber);
}

bool node_delete(struct node *node) {
    return run_one(node, delete_fiber);
}
