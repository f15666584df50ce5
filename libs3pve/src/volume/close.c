/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* close.c - what an owner does with its root: publish, grow, close */
#include <inttypes.h>
#include <string.h>

#include "core/error.h"
#include "volume/machine.h"
#include "volume/swap.h"

static int check_open(const struct root *root, struct s3pve_error *err) {
    if (root->owner.state == ROOT_OPEN)
        return 0;
    return error_set(err, S3PVE_E_CONFLICT, "the volume was closed");
}

/* ------------------------------------------------------------------ publish */

static int name_checkpoint(struct root *root, const void *arg, struct s3pve_error *err) {
    const struct checkpoint *checkpoint = arg;

    if (check_open(root, err) < 0)
        return -1;
    root->head_seq = checkpoint->seq;
    strcpy(root->head_checkpoint, checkpoint->objects[checkpoint->n_objects - 1].name);
    root_forget_epochs(root);
    return 0;
}

int volume_publish(
    const struct volume_store *store,
    void *ctx,
    const struct checkpoint *checkpoint,
    struct s3pve_error *err
) {
    struct root_change change = {checkpoint->epoch, checkpoint->nonce, name_checkpoint, checkpoint};

    for (uint32_t i = 0; i < checkpoint->n_objects; i++) {
        const struct checkpoint_object *object = &checkpoint->objects[i];

        if (store->object_put(ctx, object->name, &object->bytes, err) < 0)
            return error_wrap(err, "%s", object->name);
    }
    return root_change(store, ctx, &change, err);
}

/* ---------------------------------------------------------- reclaim and grow */

static int set_nothing(struct root *root, const void *arg, struct s3pve_error *err) {
    return check_open(root, err);
}

int volume_reclaim(
    const struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    struct s3pve_error *err
) {
    struct root_change change = {volume->epoch, volume->nonce, set_nothing, NULL};

    return root_change(store, ctx, &change, err);
}

static int set_size(struct root *root, const void *arg, struct s3pve_error *err) {
    const uint64_t *size = arg;

    if (check_open(root, err) < 0)
        return -1;
    if (*size % 512 || *size < root->size || *size > VOLUME_BYTES_MAX)
        return error_set(
            err,
            S3PVE_E_INVALID,
            "a volume of %" PRIu64 " bytes cannot be made one of %" PRIu64,
            root->size,
            *size
        );
    root->size = *size;
    return 0;
}

int volume_grow(
    const struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    uint64_t size,
    struct s3pve_error *err
) {
    struct root_change change = {volume->epoch, volume->nonce, set_size, &size};

    return root_change(store, ctx, &change, err);
}

/* -------------------------------------------------------------------- close */

static int set_closed(struct root *root, const void *arg, struct s3pve_error *err) {
    const struct volume *volume = arg;

    if (root->owner.state == ROOT_CLOSED)
        return 1;
    root->owner.state = ROOT_CLOSED;
    root->epochs[root->n_epochs - 1].last = volume->tip;
    return 0;
}

/* Another node's journal is set aside when it is found to have been left behind: not this one. */
static int empty_journal(
    const struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    struct s3pve_error *err
) {
    struct superblock superblock = {
        .generation = volume->generation + 1, .ring_len = volume->ring.len};

    memcpy(superblock.uuid, volume->params.uuid, UUID_LEN);
    while (!superblock.seed)
        superblock.seed = store->random(ctx);
    return store->superblock_write(ctx, &superblock, err);
}

int volume_close(
    const struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    struct s3pve_error *err
) {
    struct root_change change = {volume->epoch, volume->nonce, set_closed, volume};

    if (!volume_is_drained(volume))
        return error_set(err, S3PVE_E_INVALID, "the volume has data that is not in the bucket");
    if (root_change(store, ctx, &change, err) < 0)
        return -1;
    return empty_journal(volume, store, ctx, err);
}
