/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* make.c - a volume begins with its root, and ends with it */
#include <string.h>

#include "core/error.h"
#include "volume/swap.h"

int volume_create(
    const struct volume_store *store, void *ctx, struct root *root, struct s3pve_error *err
) {
    char etag[ETAG_ROOM] = "";

    root->owner = (struct root_owner){.state = ROOT_CLOSED};
    return root_swap(store, ctx, root, etag, err);
}

/* ------------------------------------------------------------------- delete */

struct names {
    char names[LIMIT_DELETE_BATCH][OBJECT_NAME];
    uint32_t n;
};

static int add_name(void *ctx, const char *name) {
    struct names *names = ctx;

    if (strlen(name) < OBJECT_NAME) /* else none of ours */
        strcpy(names->names[names->n++], name);
    return names->n == LIMIT_DELETE_BATCH;
}

int volume_delete_objects(const struct volume_store *store, void *ctx, struct s3pve_error *err) {
    _free_ struct names *names = malloc(sizeof(*names));

    if (!names)
        return error_set(err, S3PVE_E_NOMEM, "no memory for names");
    do {
        names->n = 0;
        if (store->objects_list(ctx, "", add_name, names, err) < 0)
            return -1;
        if (names->n &&
            store->objects_delete(ctx, (const char(*)[OBJECT_NAME])names->names, names->n, err) < 0)
            return -1;
    } while (names->n);
    return 0;
}

int volume_mark_deleted(
    const struct volume_store *store,
    void *ctx,
    const struct volume_node *node,
    struct root *root,
    struct s3pve_error *err
) {
    char etag[ETAG_ROOM];

    root_clear(root);
    if (root_read(store, ctx, root, etag, err) < 0)
        return -1;
    if (root->deleting)
        return 0;
    if (root_check_writable(root, err) < 0 ||
        root_check_owner(store, ctx, root, etag, node, err) < 0)
        return -1;
    root->deleting = true;
    return root_swap(store, ctx, root, etag, err);
}

int volume_delete_root(
    const struct volume_store *store, void *ctx, const struct root *marked, struct s3pve_error *err
) {
    _cleanup_(root_clear) struct root root = {0};
    char etag[ETAG_ROOM];

    if (root_read(store, ctx, &root, etag, err) < 0)
        return -1;
    if (memcmp(root.uuid, marked->uuid, UUID_LEN) != 0 || (!root.deleting && !root.moving_to[0]))
        return error_set(err, S3PVE_E_CONFLICT, "there is another volume of this name by now");
    return store->root_delete(ctx, etag, err);
}

int volume_delete(
    const struct volume_store *store,
    void *ctx,
    const struct volume_node *node,
    struct s3pve_error *err
) {
    _cleanup_(root_clear) struct root root = {0};

    if (volume_mark_deleted(store, ctx, node, &root, err) < 0 ||
        volume_delete_objects(store, ctx, err) < 0)
        return -1;
    return volume_delete_root(store, ctx, &root, err);
}
