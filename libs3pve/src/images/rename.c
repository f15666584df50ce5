/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "images/rename.h"
#include "volume/swap.h"

/* What is asked of the volume in @folder, like @idle. */
static struct idle another(const struct idle *idle, const char *folder) {
    struct idle other = {.store = idle->store};

    other.store.data[0] = '\0';
    snprintf(other.store.folder, sizeof(other.store.folder), "%.*s", ROOT_FOLDER - 1, folder);
    return other;
}

static bool is_same(const struct root *a, const struct root *b) {
    return memcmp(a->uuid, b->uuid, UUID_LEN) == 0;
}

static int save(struct idle *idle, struct s3pve_error *err) {
    return root_swap(&store_ops, &idle->store, &idle->root, idle->etag, err);
}

/* ------------------------------------------------------------------- its steps */

/* The new root as the old one has it, but for what the renaming changes. */
static int copy_root(const struct idle *old, struct idle *new, struct s3pve_error *err) {
    _free_ char *text = NULL;
    struct root *root = &new->root;

    if (root_encode(&old->root, &text, err) < 0 || root_decode(root, text, strlen(text), err) < 0)
        return -1;
    if (json_object_set_new(root->json, "data", json_string(old->store.data)) < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a volume");
    snprintf(
        root->moving_from, sizeof(root->moving_from), "%.*s", ROOT_FOLDER - 1, old->store.folder
    );
    root->moving_to[0] = '\0';
    new->etag[0] = '\0';
    return 0;
}

static int write_new(const struct idle *old, struct idle *new, struct s3pve_error *err) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (copy_root(old, new, err) < 0)
        return -1;
    if (save(new, &cause) == 0)
        return 0;
    if (cause.code == S3PVE_E_CONFLICT && idle_read(new, &cause) == 0) {
        if (is_same(&old->root, &new->root))
            return 0; /* somebody else wrote it */
        error_set(&cause, S3PVE_E_CONFLICT, "another volume has its new name");
    }
    if (err)
        *err = cause;
    return -1;
}

/* The new name was taken meanwhile: it keeps the old one. */
static int take_back(struct idle *old, struct s3pve_error *err) {
    old->root.moving_to[0] = '\0';
    save(old, NULL); /* else the next one does it */
    return error_wrap(err, "not renamed");
}

/* Only while the old root is there is what we have of it true. */
static int check_old(struct idle *old, bool *ret_there, struct s3pve_error *err) {
    _cleanup_(idle_end) struct idle now = another(old, old->store.folder);
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    int rc = idle_read(&now, &cause);

    if (rc < 0 && cause.code != S3PVE_E_NOT_FOUND) {
        if (err)
            *err = cause;
        return -1;
    }
    *ret_there = rc == 0 && is_same(&old->root, &now.root) &&
                 strcmp(old->root.moving_to, now.root.moving_to) == 0;
    return 0;
}

static int settle_new(struct idle *new, struct s3pve_error *err) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (!new->root.moving_from[0])
        return 0;
    new->root.moving_from[0] = '\0';
    if (save(new, &cause) == 0 || cause.code == S3PVE_E_CONFLICT)
        return 0; /* somebody else did, and may have it open by now */
    if (err)
        *err = cause;
    return -1;
}

static int delete_old(struct idle *old, struct s3pve_error *err) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (volume_delete_root(&store_ops, &old->store, &old->root, &cause) == 0 ||
        cause.code == S3PVE_E_NOT_FOUND || cause.code == S3PVE_E_CONFLICT)
        return 0;
    if (err)
        *err = cause;
    return -1;
}

static int delete_stale(struct idle *new, struct s3pve_error *err) {
    new->root.deleting = true;
    if (save(new, err) < 0)
        return -1;
    return delete_old(new, err);
}

/* ------------------------------------------------------------------- finishing */

int rename_finish(struct idle *old, struct s3pve_error *err) {
    _cleanup_(idle_end) struct idle new = another(old, old->root.moving_to);
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    bool there;

    if (write_new(old, &new, &cause) < 0) {
        if (cause.code == S3PVE_E_CONFLICT)
            take_back(old, &cause);
        if (err)
            *err = cause;
        return -1;
    }
    if (check_old(old, &there, err) < 0)
        return -1;
    if (!there)
        return rename_arrive(&new, err);
    return settle_new(&new, err) < 0 ? -1 : delete_old(old, err);
}

int rename_arrive(struct idle *new, struct s3pve_error *err) {
    _cleanup_(idle_end) struct idle old = another(new, new->root.moving_from);
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (!new->root.moving_from[0])
        return 0;
    if (idle_read(&old, &cause) == 0) {
        if (is_same(&old.root, &new->root) && strcmp(old.root.moving_to, new->store.folder) == 0)
            return settle_new(new, err) < 0 ? -1 : delete_old(&old, err);
    } else if (cause.code != S3PVE_E_NOT_FOUND) {
        if (err)
            *err = cause;
        return -1;
    }
    return delete_stale(new, err);
}

/* --------------------------------------------------------------------- begin */

static int check_idle(const struct root *root, struct s3pve_error *err) {
    if (root->owner.state == ROOT_CLOSED)
        return root_check_writable(root, err);
    return error_set(err, S3PVE_E_CONFLICT, "node '%s' has it open", root->owner.node);
}

static int check_free(const struct idle *idle, const char *folder, struct s3pve_error *err) {
    _cleanup_(idle_end) struct idle other = another(idle, folder);
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (idle_settle(&other, &cause) == 0)
        return error_set(err, S3PVE_E_CONFLICT, "there already is a volume of that name");
    if (cause.code == S3PVE_E_NOT_FOUND)
        return 0;
    if (err)
        *err = cause;
    return -1;
}

static int rename_to(struct idle *idle, const char *folder, struct s3pve_error *err) {
    if (idle_read(idle, err) < 0)
        return -1;
    if (strcmp(idle->root.moving_to, folder) == 0)
        return rename_finish(idle, err); /* begun before */
    if (idle_settle(idle, err) < 0 || check_idle(&idle->root, err) < 0 ||
        check_free(idle, folder, err) < 0)
        return -1;
    strcpy(idle->root.moving_to, folder);
    return save(idle, err) < 0 ? -1 : rename_finish(idle, err);
}

int idle_check_rename(const char *name, const char *new_name, struct s3pve_error *err) {
    if (s3pve_volume_check_name(name, err) < 0 || s3pve_volume_check_name(new_name, err) < 0)
        return -1;
    if (strcmp(name, new_name) == 0)
        return error_set(err, S3PVE_E_INVALID, "%s has that name already", name);
    return 0;
}

int idle_rename(struct idle *idle, const char *new_name, struct s3pve_error *err) {
    char folder[ROOT_FOLDER];

    names_folder(new_name, folder);
    if (rename_to(idle, folder, err) < 0)
        return error_wrap(err, "to %s", new_name);
    return 0;
}

_public_ int s3pve_volume_rename(
    struct s3pve_client *client,
    const char *name,
    const char *new_name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(idle_end) struct idle idle = {0};

    if (idle_check_rename(name, new_name, err) < 0 ||
        idle_begin(&idle, client, name, call, err) < 0)
        return -1;
    if (idle_rename(&idle, new_name, err) < 0)
        return error_wrap(err, "%s", name);
    return 0;
}
