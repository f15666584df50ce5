/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "core/error.h"
#include "volume/swap.h"

#define SWAP_TRIES 3
#define LOST 2

int root_read(
    const struct volume_store *store,
    void *ctx,
    struct root *root,
    char etag[ETAG_ROOM],
    struct s3pve_error *err
) {
    _cleanup_(buf_clear) struct buf text = {0};

    *root = (struct root){0};
    if (store->root_get(ctx, &text, etag, err) < 0)
        return -1;
    return root_decode(root, buf_text(&text), text.len, err);
}

/*
 * After a swap whose answer was lost: is what is there just what we wrote?  By less than all of it
 * an earlier swap of ours, that landed late, would pass for this one.
 */
static int swap_became(
    const struct volume_store *store,
    void *ctx,
    const char *text,
    char etag[ETAG_ROOM],
    struct s3pve_error *err
) {
    _cleanup_(buf_clear) struct buf now = {0};
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    char now_etag[ETAG_ROOM] = "";
    int rc = store->root_get(ctx, &now, now_etag, &cause);

    if (rc < 0 && (cause.code != S3PVE_E_NOT_FOUND || etag[0])) {
        if (err)
            *err = cause;
        return -1;
    }
    if (rc == 0 && strcmp(buf_text(&now), text) == 0) {
        strcpy(etag, now_etag);
        return 1;
    }
    if (rc < 0 || strcmp(now_etag, etag) == 0)
        return 0; /* as it was */
    return error_set(err, S3PVE_E_CONFLICT, "the volume was changed by somebody else");
}

int root_swap(
    const struct volume_store *store,
    void *ctx,
    struct root *root,
    char etag[ETAG_ROOM],
    struct s3pve_error *err
) {
    _free_ char *text = NULL;
    char new_etag[ETAG_ROOM];
    int became = 0;

    root->rev++;
    if (root_encode(root, &text, err) < 0)
        return -1;
    for (int i = 0; i < SWAP_TRIES && became == 0; i++) {
        struct s3pve_error cause = S3PVE_ERROR_INIT;

        if (store->root_put(ctx, text, etag, new_etag, &cause) == 0) {
            strcpy(etag, new_etag);
            return 0;
        }
        became = swap_became(store, ctx, text, etag, err);
        if (became == 0 && err)
            *err = cause;
    }
    return became > 0 ? 0 : -1;
}

static bool is_same_owner(const struct root_owner *a, const struct root_owner *b) {
    return a->state != ROOT_CLOSED && b->state != ROOT_CLOSED && strcmp(a->node, b->node) == 0 &&
           strcmp(a->incarnation, b->incarnation) == 0;
}

/* 0: it is dead, 1: it has let go, and the root is read anew; -1 with @err set. */
static int watch_owner(
    const struct volume_store *store,
    void *ctx,
    struct root *root,
    char etag[ETAG_ROOM],
    struct s3pve_error *err
) {
    const struct root_owner owner = root->owner;
    bool lives = false;

    if (store->owner_lives(ctx, owner.node, owner.incarnation, &lives, err) < 0)
        return -1;
    if (!lives)
        return 0;
    root_clear(root);
    if (root_read(store, ctx, root, etag, err) < 0 || root_check_writable(root, err) < 0)
        return -1;
    if (is_same_owner(&owner, &root->owner))
        return error_set(err, S3PVE_E_CONFLICT, "node '%s' has the volume open", owner.node);
    return 1;
}

int root_check_owner(
    const struct volume_store *store,
    void *ctx,
    struct root *root,
    char etag[ETAG_ROOM],
    const struct volume_node *node,
    struct s3pve_error *err
) {
    for (int i = 0; i < SWAP_TRIES; i++) {
        int rc = 0;

        if (root->owner.state != ROOT_CLOSED && strcmp(root->owner.node, node->name) != 0)
            rc = watch_owner(store, ctx, root, etag, err);
        if (rc <= 0)
            return rc;
    }
    return error_set(err, S3PVE_E_CONFLICT, "others have the volume, one after the other");
}

/* LOST: somebody was faster; the next look says whether that was an owner. */
static int change_once(
    const struct volume_store *store,
    void *ctx,
    const struct root_change *change,
    struct s3pve_error *err
) {
    _cleanup_(root_clear) struct root root = {0};
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    char etag[ETAG_ROOM];
    int rc;

    if (root_read(store, ctx, &root, etag, err) < 0)
        return -1;
    if (root.owner.epoch != change->epoch || root.owner.nonce != change->nonce)
        return error_set(err, S3PVE_E_CONFLICT, "node '%s' has the volume now", root.owner.node);
    if (root_check_writable(&root, err) < 0)
        return -1;
    rc = change->change(&root, change->arg, err);
    if (rc || root_swap(store, ctx, &root, etag, &cause) == 0)
        return rc;
    if (cause.code == S3PVE_E_CONFLICT)
        return LOST;
    if (err)
        *err = cause;
    return -1;
}

int root_change(
    const struct volume_store *store,
    void *ctx,
    const struct root_change *change,
    struct s3pve_error *err
) {
    for (int i = 0; i < SWAP_TRIES; i++) {
        int rc = change_once(store, ctx, change, err);

        if (rc != LOST)
            return rc < 0 ? -1 : 0;
    }
    return error_set(err, S3PVE_E_IO, "the volume's root is changed by others again and again");
}
