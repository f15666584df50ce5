/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* vfs.c - names and attributes, from memory whenever that can be answered for */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "files/file.h"
#include "files/listing.h"
#include "files/local.h"
#include "files/names.h"
#include "files/stream.h"

/* ---------------------------------------------------------------- lookup */

/* Known whatever a listing would say. */
static bool is_certain(
    struct s3pve_files *files, const struct node *dir, const char *name, const struct node *child
) {
    if (child)
        return child->is_expected || child->stream || child->is_local;
    return stream_expects_name(files, dir, name);
}

/* With `lock` held; @dir is pinned. */
static int find(struct s3pve_files *files, struct node *dir, const char *name, struct node **ret) {
    struct node *child = tree_child(&files->tree, dir, name);
    int rc;

    if (!is_certain(files, dir, name, child)) {
        rc = listing_refresh(files, dir);
        if (rc < 0)
            return rc;
        child = tree_child(&files->tree, dir, name);
    }
    /* what failed before it was ever there is not there, whoever still has it open */
    if (!child || (child->stream && child->stream->is_broken && !child->is_published))
        return -ENOENT;
    *ret = child;
    return 0;
}

_public_ int s3pve_files_lookup(
    struct s3pve_files *files, uint64_t parent, const char *name, struct stat *ret_attr
) {
    struct node *dir, *node;
    int rc;

    LOCK_SCOPE(&files->lock);
    rc = files_dir(files, parent, &dir);
    if (rc < 0)
        return rc;
    if (strlen(name) > LIMIT_KEY_SEGMENT)
        return -ENAMETOOLONG;
    tree_pin(dir);
    rc = find(files, dir, name, &node);
    if (rc == 0) {
        node->n_lookup++;
        files_stat(files, node, ret_attr);
    }
    tree_unpin(&files->tree, dir);
    return rc;
}

_public_ void s3pve_files_forget(struct s3pve_files *files, uint64_t ino, uint64_t n) {
    struct node *node;

    LOCK_SCOPE(&files->lock);
    node = files_node(files, ino);
    if (node)
        tree_forget(&files->tree, node, n);
}

/* ---------------------------------------------------------------- attributes */

_public_ int s3pve_files_getattr(struct s3pve_files *files, uint64_t ino, struct stat *ret_attr) {
    struct node *node;

    LOCK_SCOPE(&files->lock);
    node = files_node(files, ino);
    if (!node)
        return -ENOENT;
    files_stat(files, node, ret_attr);
    return 0;
}

#define RESIZED_MS 1000 /* in which the kernel takes note of a size it has asked for */

/* truncate(2) by name: the file is published before the kernel has our answer, and who opens it
 * between must not be shown pages as far as the old size. */
static void set_resized(struct s3pve_files *files, struct node *node, int64_t until_ms) {
    LOCK_SCOPE(&files->lock);
    node->resized_ms = until_ms;
}

/* @node is pinned. */
static int set_size(struct s3pve_files *files, struct node *node, uint64_t size) {
    struct stream *stream;
    bool is_same;
    int rc;

    if (node->is_local)
        return local_truncate(files, node, size);
    pthread_mutex_lock(&files->lock);
    stream = node->stream;
    is_same = !stream && node->size == size;
    rc = is_same ? 0 : file_make_way(files, node);
    if (rc == 0 && stream)
        stream->n_refs++;
    else if (rc == 0 && !is_same)
        stream = stream_new(files, node, false);
    pthread_mutex_unlock(&files->lock);
    if (rc < 0 || is_same)
        return rc;
    if (!stream)
        return -ENOMEM;
    set_resized(files, node, INT64_MAX);
    rc = stream_truncate_now(stream, size);
    set_resized(files, node, clock_monotonic_ms() + RESIZED_MS);
    stream_unref(stream);
    return rc;
}

static void set_others(struct node *node, const struct stat *attr, unsigned set) {
    if (set & S3PVE_SET_MODE)
        node->mode = attr->st_mode & 07777;
    if (set & S3PVE_SET_OWNER) {
        node->uid = attr->st_uid == (uid_t)-1 ? node->uid : attr->st_uid;
        node->gid = attr->st_gid == (gid_t)-1 ? node->gid : attr->st_gid;
    }
    if (set & S3PVE_SET_MTIME) {
        node->mtime_s = attr->st_mtim.tv_sec;
        node->mtime_is_set = true;
    }
}

_public_ int s3pve_files_setattr(
    struct s3pve_files *files,
    uint64_t ino,
    const struct stat *attr,
    unsigned set,
    struct stat *ret_attr
) {
    struct node *node;
    int rc = 0;

    pthread_mutex_lock(&files->lock);
    node = files_node(files, ino);
    if (!node)
        rc = -ENOENT;
    else if (set & S3PVE_SET_SIZE && node->is_dir)
        rc = -EISDIR;
    else if (set & S3PVE_SET_SIZE && attr->st_size < 0)
        rc = -EINVAL;
    if (rc < 0) {
        pthread_mutex_unlock(&files->lock);
        return rc;
    }
    tree_pin(node);
    pthread_mutex_unlock(&files->lock);

    if (set & S3PVE_SET_SIZE)
        rc = set_size(files, node, (uint64_t)attr->st_size);
    LOCK_SCOPE(&files->lock);
    if (rc == 0) {
        set_others(node, attr, set);
        files_stat(files, node, ret_attr);
    }
    tree_unpin(&files->tree, node);
    return rc;
}

/* ---------------------------------------------------------------- directories */

struct dir_entry {
    char *name; /* owned */
    struct stat attr;
};

struct s3pve_dir {
    size_t n_entries, room;
    struct dir_entry *entries; /* owned */
};

static int dir_add(
    struct s3pve_files *files, struct s3pve_dir *dir, const struct node *node, const char *name
) {
    struct dir_entry *entry;

    if (dir->n_entries == dir->room)
        return -ENOMEM;
    entry = &dir->entries[dir->n_entries];
    entry->name = strdup(name);
    if (!entry->name)
        return -ENOMEM;
    files_stat(files, node, &entry->attr);
    dir->n_entries++;
    return 0;
}

/* A file that is being written to a name of its own is not there yet (M2); an archive of vzdump's
 * has another name for as long, which nobody takes for a backup. */
static bool is_shown(const struct node *node) {
    return node->is_dir || node->is_published || name_is_held(node->name);
}

/* With `lock` held. */
static int dir_fill(struct s3pve_files *files, struct s3pve_dir *dir, const struct node *node) {
    const struct node *above = node->parent ? node->parent : node;
    int rc;

    dir->room = node->n_children + 2;
    dir->entries = calloc(dir->room, sizeof(*dir->entries));
    if (!dir->entries)
        return -ENOMEM;
    rc = dir_add(files, dir, node, ".");
    if (rc == 0)
        rc = dir_add(files, dir, above, "..");
    for (const struct node *child = node->children; child && rc == 0; child = child->sibling_next) {
        if (is_shown(child))
            rc = dir_add(files, dir, child, child->name);
    }
    return rc;
}

_public_ int s3pve_dir_open(struct s3pve_files *files, uint64_t ino, struct s3pve_dir **ret_dir) {
    struct s3pve_dir *dir = calloc(1, sizeof(*dir));
    struct node *node;
    int rc;

    if (!dir)
        return -ENOMEM;
    pthread_mutex_lock(&files->lock);
    rc = files_dir(files, ino, &node);
    if (rc == 0) {
        tree_pin(node);
        rc = listing_refresh(files, node);
        if (rc == 0)
            rc = dir_fill(files, dir, node);
        tree_unpin(&files->tree, node);
    }
    pthread_mutex_unlock(&files->lock);
    if (rc < 0) {
        s3pve_dir_close(dir);
        return rc;
    }
    *ret_dir = dir;
    return 0;
}

_public_ int s3pve_dir_entry(
    struct s3pve_dir *dir, size_t index, const char **ret_name, struct stat *ret_attr
) {
    if (index >= dir->n_entries)
        return -ENOENT;
    *ret_name = dir->entries[index].name;
    *ret_attr = dir->entries[index].attr;
    return 0;
}

_public_ struct s3pve_dir *s3pve_dir_close(struct s3pve_dir *dir) {
    if (!dir)
        return NULL;
    for (size_t i = 0; i < dir->n_entries; i++)
        free(dir->entries[i].name);
    free(dir->entries);
    free(dir);
    return NULL;
}
