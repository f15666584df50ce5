/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* store.c - the bucket and the journal as protocols see them; the world goes on in each call */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "node.h"

/* Time passes, and maybe this is where it dies. */
int store_wait(struct node *node, int64_t ms, struct s3pve_error *err) {
    if (fiber_life() == node->life)
        fiber_sleep(ms);
    while (fiber_life() == node->life && node->paused)
        fiber_sleep(1 + world_chance(&node->sim->world, 5));
    return fiber_life() == node->life ? 0 : error_set(err, S3PVE_E_CANCELLED, "died");
}

static int step(struct node *node, struct s3pve_error *err) {
    struct sim *sim = node->sim;

    if (store_wait(node, 1 + world_chance(&sim->world, 12), err) < 0)
        return -1;
    if (sim_happens(sim, sim->trouble / 4))
        return error_set(err, S3PVE_E_IO, "no connection");
    return 0;
}

/* --------------------------------------------------------------------- root */

int store_root_get(void *ctx, struct buf *text, char etag[ETAG_ROOM], struct s3pve_error *err) {
    struct node *node = ctx;
    struct bucket *bucket = &node->sim->bucket;

    if (step(node, err) < 0)
        return -1;
    bucket_etag(bucket, etag);
    if (!bucket->root)
        return error_set(err, S3PVE_E_NOT_FOUND, "no volume.json");
    return buf_str(text, bucket->root) < 0 ? -1 : store_wait(node, 1, err);
}

/* A swap on its way: it happens when it arrives, whatever became of who sent it. */
struct swap {
    char etag[ETAG_ROOM], new_etag[ETAG_ROOM];
    char *text;
    bool arrived, done, left; /* left: nobody waits */
    bool blind;               /* whatever is there */
};

static void swap_free(struct swap *swap) {
    free(swap->text);
    free(swap);
}

static void swap_event(void *ctx, void *arg) {
    struct sim *sim = ctx;
    struct swap *swap = arg;

    if (swap->blind)
        bucket_etag(&sim->bucket, swap->etag);
    swap->arrived = true;
    swap->done = bucket_swap(&sim->bucket, swap->etag, swap->text);
    bucket_etag(&sim->bucket, swap->new_etag);
    if (swap->left)
        swap_free(swap);
}

int store_swap(
    struct node *node,
    const char *text,
    const char *etag,
    char new_etag[ETAG_ROOM],
    bool *ret_lost,
    struct s3pve_error *err
) {
    struct sim *sim = node->sim;
    struct swap *swap;
    int64_t answer = 1 + world_chance(&sim->world, 24), lands;
    bool fails;
    int rc;

    if (fiber_life() != node->life)
        return error_set(err, S3PVE_E_CANCELLED, "died");
    swap = calloc(1, sizeof(*swap));
    swap->text = strdup(text);
    swap->blind = sim->liar;
    strcpy(swap->etag, etag);
    lands = uploads_fate(sim, answer, &fails);
    if (sim->liar && lands > answer)
        lands = 1 + world_chance(&sim->world, LOCKS_LATE_MS);
    else if (lands > answer && sim_happens(sim, 70)) /* just when the next one is on its way */
        lands = answer + world_chance(&sim->world, 100);
    if (lands >= 0)
        world_in(&sim->world, lands, swap_event, sim, swap);
    rc = store_wait(node, answer, err);
    if (!fails && rc == 0 && !swap->arrived)
        abort();
    if (rc == 0 && fails)
        rc = error_set(err, S3PVE_E_TIMEOUT, "no answer");
    else if (rc == 0 && !swap->done)
        rc = error_set(err, S3PVE_E_CONFLICT, "another version");
    strcpy(new_etag, swap->new_etag);
    swap->left = true;
    if (lands < 0 || swap->arrived)
        swap_free(swap);
    *ret_lost = rc < 0;
    return rc;
}

static int root_put(
    void *ctx, const char *text, const char *etag, char new_etag[ETAG_ROOM], struct s3pve_error *err
) {
    struct node *node = ctx;
    bool lost;

    if (node->sim->liar)
        return locks_put(node, text, etag, new_etag, err);
    return store_swap(node, text, etag, new_etag, &lost, err);
}

int store_remove(struct node *node, struct s3pve_error *err) {
    char etag[ETAG_ROOM];

    if (step(node, err) < 0)
        return -1;
    bucket_etag(&node->sim->bucket, etag);
    bucket_swap(&node->sim->bucket, etag, NULL);
    return step(node, err);
}

static int root_delete(void *ctx, const char *etag, struct s3pve_error *err) {
    struct node *node = ctx;

    return node->sim->liar ? locks_remove(node, etag, err) : store_remove(node, err);
}

/* ------------------------------------------------------------------ objects */

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
    char last[OBJECT_NAME] = "";

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

static int pages_get(
    void *ctx,
    const struct volume_page *pages,
    uint32_t n,
    int (*each)(void *each_ctx, uint32_t i, const struct buf *bytes, struct s3pve_error *err),
    void *each_ctx,
    struct s3pve_error *err
) {
    struct node *node = ctx;

    if (step(node, err) < 0)
        return -1;
    for (uint32_t i = n; i-- > 0;) { /* in another order */
        _cleanup_(buf_clear) struct buf bytes = {0};

        if (uploads_read_page(node->sim, &pages[i], &bytes) < 0)
            return error_set(err, S3PVE_E_NOT_FOUND, "%s", pages[i].object);
        if (each(each_ctx, i, &bytes, err) < 0)
            return -1;
    }
    return 0;
}

static int object_get(void *ctx, const char *name, struct buf *bytes, struct s3pve_error *err) {
    struct node *node = ctx;
    const struct sim_object *object;

    if (step(node, err) < 0)
        return -1;
    object = bucket_find(&node->sim->bucket, name);
    if (!object)
        return error_set(err, S3PVE_E_NOT_FOUND, "%s", name);
    return buf_add(bytes, object->data, object->len);
}

static int object_put(
    void *ctx, const char *name, const struct buf *bytes, struct s3pve_error *err
) {
    struct node *node = ctx;
    struct sim *sim = node->sim;
    int64_t answer = 1 + world_chance(&sim->world, 24), lands;
    bool fails;

    if (fiber_life() != node->life)
        return error_set(err, S3PVE_E_CANCELLED, "died");
    lands = uploads_fate(sim, answer, &fails);
    if (lands >= 0)
        uploads_land(sim, lands, name, bytes->data, bytes->len);
    if (store_wait(node, answer, err) < 0)
        return -1;
    return fails ? error_set(err, S3PVE_E_TIMEOUT, "no answer") : 0;
}

static int objects_list(
    void *ctx,
    const char *prefix,
    int (*each)(void *each_ctx, const char *name),
    void *each_ctx,
    struct s3pve_error *err
) {
    struct node *node = ctx;
    struct bucket *bucket = &node->sim->bucket;
    int said = 0;

    if (step(node, err) < 0)
        return -1;
    for (size_t i = 0; i < bucket->n_objects && !said; i++)
        if (strncmp(bucket->objects[i].name, prefix, strlen(prefix)) == 0)
            said = each(each_ctx, bucket->objects[i].name);
    return said < 0 ? error_set(err, S3PVE_E_NOMEM, "no memory") : 0;
}

static int objects_delete(
    void *ctx, const char (*names)[OBJECT_NAME], uint32_t n, struct s3pve_error *err
) {
    struct node *node = ctx;

    if (step(node, err) < 0)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        if (!sim_happens(node->sim, node->sim->trouble))
            bucket_delete(&node->sim->bucket, names[i]);
    return step(node, err);
}

/* ------------------------------------------------------------------ journal */

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
    if (step(node, err) < 0)
        return -1;
    disk_sync_begin(&node->disk);
    disk_sync_end(&node->disk);
    return 0;
}

static int journal_set_aside(
    void *ctx, uint64_t jseq_first, uint64_t jseq_last, struct s3pve_error *err
) {
    struct node *node = ctx;

    if (step(node, err) < 0)
        return -1;
    node->sim->n_aside++;
    disk_erase(&node->disk);
    return step(node, err);
}

static uint32_t sim_random(void *ctx) {
    struct node *node = ctx;

    return world_chance(&node->sim->world, 1u << 31);
}

const struct volume_store sim_store = {
    .root_get = store_root_get,
    .root_put = root_put,
    .root_delete = root_delete,
    .log_list = log_list,
    .header_get = header_get,
    .pages_get = pages_get,
    .object_get = object_get,
    .object_put = object_put,
    .objects_list = objects_list,
    .objects_delete = objects_delete,
    .owner_lives = owner_lives,
    .superblocks_read = superblocks_read,
    .superblock_write = superblock_write,
    .ring_read = ring_read,
    .ring_write = ring_write,
    .journal_set_aside = journal_set_aside,
    .random = sim_random,
};
