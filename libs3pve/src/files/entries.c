/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* entries.c - names that come and go: mkdir, rmdir, unlink */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/error.h"
#include "files/entries.h"
#include "files/keylock.h"
#include "files/listing.h"
#include "files/local.h"
#include "files/names.h"
#include "files/stream.h"

char *entry_marker_key(const struct node *dir, const char *name) {
    _free_ char *path = tree_child_path(dir, name);
    char *key = NULL;

    return path && asprintf(&key, "%s/", path) >= 0 ? key : NULL;
}

int entry_put_marker(struct s3pve_files *files, const char *key) {
    struct s3pve_call call = files_name_call(files);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (s3pve_object_put(files->client, key, "", 0, NULL, NULL, &call, &err) < 0)
        return files_fail(files, "mkdir", key, &err);
    return 0;
}

int entry_delete(struct s3pve_files *files, const char *operation, const char *key) {
    struct s3pve_call call = files_name_call(files);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (s3pve_object_delete(files->client, key, &call, &err) == 0)
        return 0;
    if (err.code == S3PVE_E_CANCELLED)
        keylock_linger(files, key);
    return files_fail(files, operation, key, &err);
}

int entry_check_absent(struct s3pve_files *files, const char *operation, const char *key) {
    struct s3pve_call call = files_name_call(files);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info;
    struct keylock turn;
    int rc = keylock_take(files, &turn, key, false);

    if (rc < 0)
        return rc;
    if (s3pve_object_head(files->client, key, &info, &call, &err) == 0)
        rc = -EEXIST;
    else if (err.code != S3PVE_E_NOT_FOUND)
        rc = files_fail(files, operation, key, &err);
    keylock_give(files, &turn, 0); /* nothing was changed */
    return rc;
}

int entry_check_empty(struct s3pve_files *files, const char *operation, const char *marker) {
    struct s3pve_call call = files_name_call(files);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_entry entry;
    struct s3pve_list *list;
    int rc, n = 0;

    if (s3pve_list_open(files->client, marker, NULL, NULL, &list, &call, &err) < 0)
        return files_fail(files, operation, marker, &err);
    while ((rc = s3pve_list_next(list, &entry, &err)) > 0 && n == 0)
        n += strcmp(entry.key, marker) != 0;
    s3pve_list_close(list);
    if (rc < 0)
        return files_fail(files, operation, marker, &err);
    return n ? -ENOTEMPTY : 0;
}

struct stream *entry_removed(struct s3pve_files *files, struct node *node) {
    struct stream *stream = node->stream;

    tree_add_ghost(node->parent, node->name);
    node->parent->mtime_s = clock_wall_s();
    if (node->is_local && !node->is_dir)
        local_remove(files, node);
    else if (node->is_published)
        usage_change(files, -(int64_t)node->size, -1);
    if (stream) {
        stream_doom(stream);
        stream->n_refs++;
    }
    node->is_published = false;
    node->version++; /* who reads it has nothing to read any more */
    tree_unlink(&files->tree, node);
    return stream;
}

/* ---------------------------------------------------------------- mkdir */

/* With `lock` held, @dir pinned.  Return: 0 when the name is free. */
static int check_free(struct s3pve_files *files, struct node *dir, const char *name) {
    int rc = files_check_new_name(files, dir, name);

    if (rc == 0 && !tree_child(&files->tree, dir, name))
        rc = listing_refresh(files, dir);
    if (rc < 0)
        return rc;
    return tree_child(&files->tree, dir, name) ? -EEXIST : 0;
}

/* With `lock` held. */
static int add_dir(
    struct s3pve_files *files,
    struct node *dir,
    const char *name,
    mode_t mode,
    bool is_local,
    struct stat *ret_attr
) {
    struct node *node = tree_child(&files->tree, dir, name);

    if (!tree_is_linked(&files->tree, dir))
        return -ENOENT;
    if (node && (is_local || !node->is_dir))
        return -EEXIST;
    if (!node) /* else a listing has already seen our marker */
        node = tree_add(&files->tree, dir, name, true);
    if (!node)
        return -ENOMEM;
    node->mode = mode & 07777;
    node->is_local = is_local;
    node->n_lookup++;
    tree_touch(node);
    listing_mark_known(files, node);
    dir->mtime_s = clock_wall_s();
    files_stat(files, node, ret_attr);
    return 0;
}

/* With `lock` held, dropped for the network; @dir is pinned. */
static int make_dir(
    struct s3pve_files *files,
    struct node *dir,
    const char *name,
    mode_t mode,
    struct stat *ret_attr
) {
    _free_ char *path = tree_path(dir), *key = entry_marker_key(dir, name);
    bool is_local;
    int rc = path && key ? check_free(files, dir, name) : -ENOMEM;

    if (rc < 0)
        return rc;
    is_local = dir->is_local || name_is_local_dir(path, name);
    if (!is_local) {
        pthread_mutex_unlock(&files->lock);
        rc = entry_put_marker(files, key);
        pthread_mutex_lock(&files->lock);
    }
    return rc < 0 ? rc : add_dir(files, dir, name, mode, is_local, ret_attr);
}

_public_ int s3pve_files_mkdir(
    struct s3pve_files *files, uint64_t parent, const char *name, mode_t mode, struct stat *ret_attr
) {
    struct node *dir;
    int rc;

    LOCK_SCOPE(&files->lock);
    rc = files_dir(files, parent, &dir);
    if (rc < 0)
        return rc;
    tree_pin(dir);
    rc = make_dir(files, dir, name, mode, ret_attr);
    tree_unpin(&files->tree, dir);
    return rc;
}

/* ---------------------------------------------------------------- rmdir */

/* With `lock` held, dropped for the network; @node is pinned. */
static int remove_dir(struct s3pve_files *files, struct node *node) {
    _free_ char *key = entry_marker_key(node->parent, node->name);
    int rc;

    if (!key)
        return -ENOMEM;
    if (node->is_expected)
        return -EBUSY;
    if (node->n_children)
        return -ENOTEMPTY;
    if (!node->is_local) {
        pthread_mutex_unlock(&files->lock);
        rc = entry_check_empty(files, "rmdir", key);
        if (rc == 0)
            rc = entry_delete(files, "rmdir", key);
        pthread_mutex_lock(&files->lock);
        if (rc < 0)
            return rc;
    }
    if (node->n_children) /* somebody was quicker; the marker alone is no loss */
        return -ENOTEMPTY;
    if (node->parent)
        entry_removed(files, node);
    return 0;
}

/* With `lock` held: the child, from a directory that is fresh enough to say no. */
static int find_child(
    struct s3pve_files *files, struct node *dir, const char *name, struct node **ret_node
) {
    struct node *node = tree_child(&files->tree, dir, name);
    int rc;

    if (!node) {
        rc = listing_refresh(files, dir);
        if (rc < 0)
            return rc;
        node = tree_child(&files->tree, dir, name);
    }
    if (!node)
        return -ENOENT;
    *ret_node = node;
    return 0;
}

/* Find @name below @parent and have @fn, with `lock` held, deal with it. */
static int with_child(
    struct s3pve_files *files,
    uint64_t parent,
    const char *name,
    int (*fn)(struct s3pve_files *files, struct node *node)
) {
    struct node *dir, *node;
    int rc;

    LOCK_SCOPE(&files->lock);
    rc = files_dir(files, parent, &dir);
    if (rc < 0)
        return rc;
    tree_pin(dir);
    rc = find_child(files, dir, name, &node);
    if (rc == 0) {
        tree_pin(node);
        rc = fn(files, node);
        tree_unpin(&files->tree, node);
    }
    tree_unpin(&files->tree, dir);
    return rc;
}

static int rmdir_node(struct s3pve_files *files, struct node *node) {
    return node->is_dir ? remove_dir(files, node) : -ENOTDIR;
}

_public_ int s3pve_files_rmdir(struct s3pve_files *files, uint64_t parent, const char *name) {
    return with_child(files, parent, name, rmdir_node);
}

/* ---------------------------------------------------------------- unlink */

/* With `lock` held. */
static bool is_elsewhere(const struct node *node, const char *key) {
    _free_ char *path = node->parent ? tree_path(node) : NULL;

    return path && strcmp(path, key) != 0;
}

/* With `lock` held, dropped for the network.  A close that was publishing it may have come after
 * the DELETE: then once more.  A rename may have been quicker: then it is another name's. */
static int delete_object(struct s3pve_files *files, const struct node *node, const char *key) {
    unsigned version;
    int rc;

    do {
        version = node->version;
        pthread_mutex_unlock(&files->lock);
        rc = entry_delete(files, "unlink", key);
        pthread_mutex_lock(&files->lock);
        if (rc == 0 && is_elsewhere(node, key))
            return -ENOENT;
    } while (rc == 0 && node->is_published && node->is_ours && node->version != version);
    return rc;
}

/* With `lock` held, dropped for the network; @node is pinned. */
static int unlink_node(struct s3pve_files *files, struct node *node) {
    _free_ char *key = tree_path(node);
    struct stream *doomed = NULL;
    int rc = 0;

    if (node->is_dir)
        return -EISDIR;
    if (!key)
        return -ENOMEM;
    if (!node->is_local && node->is_published)
        rc = delete_object(files, node, key);
    if (rc < 0)
        return rc;
    if (node->parent)
        doomed = entry_removed(files, node);
    else if (node->is_published) /* a listing was quicker to see it go */
        usage_change(files, -(int64_t)node->size, -1);
    pthread_mutex_unlock(&files->lock);
    entry_drop_stream(doomed);
    pthread_mutex_lock(&files->lock);
    return 0;
}

void entry_drop_stream(struct stream *stream) {
    struct s3pve_files *files;
    bool was_held;

    if (!stream)
        return;
    files = stream->files;
    stream_drop_doomed(stream);
    pthread_mutex_lock(&files->lock);
    was_held = stream->is_held;
    stream->is_held = false;
    pthread_mutex_unlock(&files->lock);
    if (was_held) /* being held was a reference of its own */
        stream_unref(stream);
    stream_unref(stream);
}

_public_ int s3pve_files_unlink(struct s3pve_files *files, uint64_t parent, const char *name) {
    return with_child(files, parent, name, unlink_node);
}
