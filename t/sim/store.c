/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* store.c - the bucket and the journal as an opening sees them; the world goes on in each call */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "node.h"

/* The other node opens it too, while this one is about to. */
static void rival(struct node *node) {
    struct sim *sim = node->sim;
    struct node *other = &sim->nodes[node == &sim->nodes[0]];

    if (!node->opening || other->opening || other->volume || !sim_happens(sim, 3))
        return;
    world_note(&sim->world, "%s tries as well", other->me.name);
    if (node_open(other))
        world_run(&sim->world, world_chance(&sim->world, 50));
    sim->frozen = true;
}

/* Time passes, and maybe this is where it dies. */
static int step(struct node *node, struct s3pve_error *err) {
    struct sim *sim = node->sim;

    world_run(&sim->world, 1 + world_chance(&sim->world, 12));
    rival(node);
    if (sim_happens(sim, sim->trouble / 4))
        return error_set(err, S3PVE_E_IO, "died");
    return 0;
}

static int root_get(void *ctx, struct buf *text, char etag[ETAG_ROOM], struct s3pve_error *err) {
    struct node *node = ctx;
    struct bucket *bucket = &node->sim->bucket;

    if (step(node, err) < 0)
        return -1;
    snprintf(etag, ETAG_ROOM, "%llu", (unsigned long long)bucket->root_version);
    return buf_str(text, bucket->root);
}

static int root_put(
    void *ctx, const char *text, const char *etag, char new_etag[ETAG_ROOM], struct s3pve_error *err
) {
    struct node *node = ctx;
    struct sim *sim = node->sim;
    bool lost = sim_happens(sim, sim->trouble), done = !lost || sim_happens(sim, 50);

    if (step(node, err) < 0)
        return -1;
    if (done && strtoull(etag, NULL, 10) != sim->bucket.root_version)
        return error_set(err, S3PVE_E_CONFLICT, "another version");
    if (done) {
        free(sim->bucket.root);
        sim->bucket.root = strdup(text);
        sim->bucket.root_version++;
        world_note(&sim->world, "root %s", text);
    }
    snprintf(new_etag, ETAG_ROOM, "%llu", (unsigned long long)sim->bucket.root_version);
    if (step(node, err) < 0)
        return -1;
    return lost ? error_set(err, S3PVE_E_TIMEOUT, "no answer") : 0;
}

static int log_list(
    void *ctx,
    uint64_t after,
    int (*each)(void *each_ctx, const struct segment_id *id),
    void *each_ctx,
    struct s3pve_error *err
) {
    struct node *node = ctx;
    struct bucket *bucket = &node->sim->bucket;
    struct segment_id id;
    char last[SEGMENT_NAME] = "";

    /* Page by page, and things may come in between. */
    for (;;) {
        size_t i = 0;

        if (step(node, err) < 0)
            return -1;
        while (i < bucket->n_objects && strcmp(bucket->objects[i].name, last) <= 0)
            i++;
        if (i == bucket->n_objects)
            return 0;
        for (unsigned n = 0; n < 20 && i < bucket->n_objects; n++, i++) {
            strcpy(last, bucket->objects[i].name);
            if (segment_name_parse(last, &id) && id.seq > after && each(each_ctx, &id) < 0)
                return error_set(err, S3PVE_E_NOMEM, "no memory");
        }
    }
}

static int header_get(
    void *ctx, const struct segment_id *id, struct buf *header, struct s3pve_error *err
) {
    struct node *node = ctx;
    const struct sim_object *object;
    char name[SEGMENT_NAME];

    if (sim_happens(node->sim, 10) && step(node, err) < 0)
        return -1;
    segment_name(name, id);
    object = bucket_find(&node->sim->bucket, name);
    if (!object)
        return error_set(err, S3PVE_E_NOT_FOUND, "%s", name);
    return buf_add(header, object->data, segment_header_len(object->data, object->len));
}

static int owner_lives(
    void *ctx, const char *name, const char *incarnation, bool *ret_lives, struct s3pve_error *err
) {
    struct node *node = ctx;
    struct sim *sim = node->sim;

    for (int i = 0; i < 2; i++)
        if (strcmp(sim->nodes[i].me.name, name) == 0)
            *ret_lives = strcmp(sim->nodes[i].me.incarnation, incarnation) == 0 &&
                         sim->world.now_ms < sim->nodes[i].lease_until + 15;
    return step(node, err);
}

static int superblocks_read(
    void *ctx, uint8_t blocks[2 * BLOCK], uint64_t *ret_ring_len, struct s3pve_error *err
) {
    struct node *node = ctx;

    memcpy(blocks, node->disk.seen, 2 * (size_t)BLOCK);
    *ret_ring_len = node->sim->ring_len;
    return step(node, err);
}

static int superblock_write(
    void *ctx, const struct superblock *superblock, struct s3pve_error *err
) {
    struct node *node = ctx;

    if (step(node, err) < 0)
        return -1;
    runtime_superblock(node, superblock);
    return step(node, err);
}

static int ring_read(void *ctx, uint64_t place, void *data, size_t len, struct s3pve_error *err) {
    struct node *node = ctx;

    must_hold(&node->sim->world, place + len <= node->sim->ring_len, "a read beyond the ring");
    memcpy(data, node->disk.seen + 2 * (size_t)BLOCK + place, len);
    return 0;
}

static int ring_write(
    void *ctx, uint64_t place, const void *data, size_t len, struct s3pve_error *err
) {
    struct node *node = ctx;

    if (step(node, err) < 0)
        return -1;
    disk_write(&node->disk, 2 * (size_t)BLOCK + place, data, len);
    return 0;
}

static int journal_set_aside(
    void *ctx, uint64_t jseq_first, uint64_t jseq_last, struct s3pve_error *err
) {
    struct node *node = ctx;

    node->sim->n_aside++;
    disk_erase(&node->disk);
    return step(node, err);
}

static uint32_t sim_random(void *ctx) {
    struct node *node = ctx;

    return world_chance(&node->sim->world, 1u << 31);
}

const struct volume_store sim_store = {
    .root_get = root_get,
    .root_put = root_put,
    .log_list = log_list,
    .header_get = header_get,
    .owner_lives = owner_lives,
    .superblocks_read = superblocks_read,
    .superblock_write = superblock_write,
    .ring_read = ring_read,
    .ring_write = ring_write,
    .journal_set_aside = journal_set_aside,
    .random = sim_random,
};
