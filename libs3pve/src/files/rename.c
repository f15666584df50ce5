/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * rename.c - three kinds of rename, by where the bytes are
 *
 *     held archive           one request: its upload is completed under the new name (M3)
 *     object                 the store copies it, then the old one goes
 *     local, or being written to the node    the tree alone
 *
 * A directory with objects in it would be many of the second; mv(1) does those itself on EXDEV.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "core/client.h"
#include "core/error.h"
#include "files/entries.h"
#include "files/keylock.h"
#include "files/listing.h"
#include "files/names.h"
#include "files/publish.h"
#include "files/stream.h"

struct rename {
    struct s3pve_files *files;
    struct node *from_dir, *to_dir; /* pinned */
    struct node *node;              /* pinned */
    const char *to_name;
    char *from_key, *to_key; /* owned */
    bool no_replace;
};

/* ---------------------------------------------------------------- the tree, with `lock` held */

/* What was at the new name makes room.  Return: its doomed stream, see entry_removed(). */
static struct stream *displace(struct rename *rn) {
    struct node *target = tree_child(&rn->files->tree, rn->to_dir, rn->to_name);

    return target && target != rn->node ? entry_removed(rn->files, target) : NULL;
}

/* With `lock` held.  A listing may have dropped the node in between: it saw what we did. */
static int move_node(struct rename *rn) {
    struct s3pve_files *files = rn->files;

    if (!tree_is_linked(&files->tree, rn->to_dir) || !rn->node->parent)
        return -ENOENT;
    tree_add_ghost(rn->from_dir, rn->node->name);
    if (tree_move(&files->tree, rn->node, rn->to_dir, rn->to_name) < 0)
        return -ENOMEM;
    tree_touch(rn->node);
    rn->from_dir->mtime_s = rn->to_dir->mtime_s = clock_wall_s();
    return 0;
}

/* The name moves.  Takes `lock`. */
static int move(struct rename *rn) {
    struct s3pve_files *files = rn->files;
    struct stream *doomed;
    int rc;

    pthread_mutex_lock(&files->lock);
    doomed = displace(rn);
    rc = move_node(rn);
    pthread_mutex_unlock(&files->lock);
    entry_drop_stream(doomed);
    return rc;
}

/* The same for a file of which the store has nothing yet: what it has under the new name stays
 * until this one is published, or for good if it never is. */
static int move_written(struct rename *rn) {
    struct s3pve_files *files = rn->files;
    const struct node *target;
    struct stream *doomed;
    _free_ char *etag = NULL;
    uint64_t size = 0;
    int rc;

    pthread_mutex_lock(&files->lock);
    target = tree_child(&files->tree, rn->to_dir, rn->to_name);
    if (target && target->is_published) {
        size = target->size;
        etag = strdup(target->etag);
    }
    doomed = displace(rn);
    rc = move_node(rn);
    if (rc == 0 && etag && tree_set_object(rn->node, size, 0, etag) == 0)
        usage_change(files, (int64_t)size, 1);
    pthread_mutex_unlock(&files->lock);
    entry_drop_stream(doomed);
    return rc;
}

/* ---------------------------------------------------------------- a held archive */

static int published(struct rename *rn, struct stream *stream, const struct s3pve_info *info) {
    struct s3pve_files *files = rn->files;
    bool was_held;
    int rc = move(rn);

    pthread_mutex_lock(&files->lock);
    if (rc == 0) {
        usage_release(files, stream->reserved);
        stream->reserved = 0;
        stream->stored = stream->size;
        node_set_published(files, rn->node, info->size, info->etag);
    }
    free(stream->target);
    stream->target = NULL;
    was_held = stream->is_held;
    stream->is_held = false;
    pthread_mutex_unlock(&files->lock);
    if (was_held)
        stream_unref(stream);
    return rc;
}

/* It was unlinked while the store completed it: then nobody wants it under the new name either. */
static int settle(struct rename *rn, struct stream *stream, const struct s3pve_info *info) {
    int rc = published(rn, stream, info);
    bool is_gone;

    pthread_mutex_lock(&rn->files->lock);
    is_gone = !rn->node->parent;
    pthread_mutex_unlock(&rn->files->lock);
    if (rc < 0 && is_gone)
        publish_undo(stream, rn->to_key, info->etag); /* logged */
    return rc;
}

/* With `io` held.  @replaces: an object had the old name, which the archive was to replace. */
static int rename_held(struct rename *rn, struct stream *stream, bool replaces) {
    struct s3pve_info info;
    int rc = stream_publish_as(stream, rn->to_key, &info);

    if (rc < 0)
        return rc;
    if (replaces)
        entry_delete(rn->files, "rename", rn->from_key); /* logged; the archive is safe */
    return settle(rn, stream, &info);
}

/* ---------------------------------------------------------------- an object */

/* Copying may take the store long, and its silence then says nothing.  So we ask first whether it
 * is there, with little patience. */
static int copy(struct rename *rn, const struct object *object, struct s3pve_info *ret_info) {
    struct s3pve_client *client = rn->files->client;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = files_name_call(rn->files);
    int rc = s3pve_object_head(client, rn->from_key, ret_info, &call, &err);

    call = publish_slow_call(rn->files, object->size, COPY_MS_PER_GIB);
    if (rc == 0)
        rc = s3pve_object_copy(client, rn->from_key, rn->to_key, NULL, ret_info, &call, &err);
    return rc < 0 ? files_fail(rn->files, "rename", rn->from_key, &err) : 0;
}

/* With `lock` held: what is at the new name now is news to the tree. */
static void add_copy(struct rename *rn, const struct s3pve_info *info) {
    struct s3pve_files *files = rn->files;
    struct node *node = NULL;

    if (tree_is_linked(&files->tree, rn->to_dir))
        node = tree_add(&files->tree, rn->to_dir, rn->to_name, false);
    if (node)
        node_set_published(files, node, info->size, info->etag);
}

/* With `lock` held, dropped to tell the kernel: other bytes than those who read @node have. */
static void replace_moved(
    struct s3pve_files *files, struct node *node, const struct s3pve_info *info
) {
    struct s3pve_files_notify notify = files->notify;
    struct node *fresh = NULL;
    _free_ char *name = NULL;
    uint64_t parent;

    if (!node->stream && (node->n_readers || node->size != info->size))
        fresh = tree_replace(&files->tree, node);
    node_set_published(files, fresh ? fresh : node, info->size, info->etag);
    name = fresh ? strdup(fresh->name) : NULL;
    if (!name || !notify.inval_entry)
        return;
    parent = fresh->parent->ino;
    pthread_mutex_unlock(&files->lock);
    notify.inval_entry(notify.ctx, parent, name);
    pthread_mutex_lock(&files->lock);
}

/* The copy is there, and the original is gone: or not, and then both names have the bytes.  An ETag
 * that stayed the same proves that the bytes did, and open readers go on; any other might be of
 * what somebody put there just before, of another size. */
static void copied(
    struct rename *rn, const struct object *object, const struct s3pve_info *info, bool both
) {
    struct s3pve_files *files = rn->files;
    struct node *node = rn->node;
    struct stream *doomed;

    pthread_mutex_lock(&files->lock);
    doomed = displace(rn);
    if (both || move_node(rn) < 0)
        add_copy(rn, info);
    else if (node->version != object->version || strcmp(node->etag, info->etag) != 0)
        replace_moved(files, node, info);
    pthread_mutex_unlock(&files->lock);
    entry_drop_stream(doomed);
}

static int rename_object(struct rename *rn) {
    _cleanup_(object_clear) struct object object = {0};
    struct s3pve_info info = {0};
    int rc = object_of(rn->files, rn->node, &object);

    if (rc == 0)
        rc = copy(rn, &object, &info);
    if (rc < 0)
        return rc;
    rc = entry_delete(rn->files, "rename", rn->from_key) < 0 ? -EIO : 0;
    copied(rn, &object, &info, rc < 0);
    return rc;
}

/* ---------------------------------------------------------------- a directory */

static int move_marker(struct rename *rn, const char *from, const char *to) {
    struct s3pve_files *files = rn->files;
    int rc = entry_check_empty(files, "rename", from);

    if (rc == -ENOTEMPTY)
        return -EXDEV; /* mv(1) copies */
    if (rc == 0)
        rc = entry_check_empty(files, "rename", to);
    if (rc == 0 && rn->no_replace)
        rc = entry_check_absent(files, "rename", to);
    if (rc == 0)
        rc = entry_put_marker(files, to);
    return rc < 0 ? rc : entry_delete(files, "rename", from);
}

static int rename_dir(struct rename *rn) {
    struct s3pve_files *files = rn->files;
    _free_ char *from = NULL, *to = NULL;
    int rc;

    pthread_mutex_lock(&files->lock);
    from = entry_marker_key(rn->from_dir, rn->node->name);
    to = entry_marker_key(rn->to_dir, rn->to_name);
    pthread_mutex_unlock(&files->lock);
    rc = from && to ? move_marker(rn, from, to) : -ENOMEM;
    return rc < 0 ? rc : move(rn);
}

/* ---------------------------------------------------------------- which kind, and whether at all
 */

/* With `lock` held.  The errors are rename(2)'s. */
static int check_target(const struct rename *rn) {
    const struct node *target = tree_child(&rn->files->tree, rn->to_dir, rn->to_name);

    if (!target)
        return 0;
    if (rn->no_replace)
        return -EEXIST;
    if (target->is_dir != rn->node->is_dir)
        return target->is_dir ? -EISDIR : -ENOTDIR;
    if (target->is_dir && target->n_children)
        return -ENOTEMPTY;
    if (target->is_expected || (target->stream && !target->stream->is_held))
        return -EBUSY;
    return 0;
}

/* With `lock` held. */
static int check_source(const struct rename *rn) {
    const struct node *node = rn->node;

    if (node->is_expected)
        return -EBUSY;
    if (node->is_local != rn->to_dir->is_local)
        return -EXDEV;
    if (node->is_dir && !node->is_local && node->n_children)
        return -EXDEV;
    for (const struct node *dir = rn->to_dir; dir; dir = dir->parent) {
        if (dir == node)
            return -EINVAL;
    }
    return 0;
}

/* Whoever is in a call with it, writing or closing, ends first: for as long as there is a store
 * that he could be waiting for.  Return: 0 with `io` held, -EBUSY, or -EINTR. */
static int lock_io(struct s3pve_files *files, struct stream *stream) {
    struct s3pve_call call = files_call(files, 0);
    struct timespec until;

    do {
        until = clock_in_ms(CLOCK_REALTIME, 1000);
        if (pthread_mutex_timedlock(&stream->io, &until) == 0)
            return 0;
        if (call.cancel && __atomic_load_n(call.cancel, __ATOMIC_RELAXED))
            return -EINTR;
    } while (files_is_online(files));
    return -EBUSY;
}

/* A file that somebody is still writing, under a name of its own.  With `io` held: no close begins
 * before the name has moved, since it would publish under the old one. */
static int rename_written(struct rename *rn, struct stream *stream) {
    bool is_published;

    pthread_mutex_lock(&rn->files->lock);
    is_published = rn->node->is_published;
    pthread_mutex_unlock(&rn->files->lock);
    if (stream_is_bound(stream))
        return -EBUSY;
    return is_published ? rename_object(rn) : move_written(rn);
}

/* With `io` held. */
static int rename_locked(struct rename *rn, struct stream *stream) {
    bool may_hold, is_published;

    pthread_mutex_lock(&rn->files->lock);
    is_published = rn->node->is_published;
    may_hold = name_is_held(rn->node->name);
    pthread_mutex_unlock(&rn->files->lock);
    if (may_hold && stream_has_content(stream))
        return rename_held(rn, stream, is_published);
    return rename_written(rn, stream);
}

/* What is on its way to the new name comes first.  @stream may be NULL. */
static int rename_in_turn(struct rename *rn, struct stream *stream) {
    struct keylock turn;
    int rc = keylock_take(rn->files, &turn, rn->to_key, false);

    if (rc < 0)
        return rc;
    rc = stream ? rename_locked(rn, stream) : rename_object(rn);
    keylock_give(rn->files, &turn, rc);
    return rc;
}

/* Without `lock`; the caller has a reference to @stream. */
static int rename_stream(struct rename *rn, struct stream *stream) {
    int rc = lock_io(rn->files, stream);

    if (rc < 0)
        return rc;
    rc = rename_in_turn(rn, stream);
    pthread_mutex_unlock(&stream->io);
    return rc;
}

/* Without `lock`. */
static int rename_file(struct rename *rn) {
    struct s3pve_files *files = rn->files;
    struct stream *stream;
    int rc;

    rc = rn->no_replace ? entry_check_absent(files, "rename", rn->to_key) : 0;
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&files->lock);
    stream = rn->node->stream;
    if (stream)
        stream->n_refs++;
    pthread_mutex_unlock(&files->lock);
    if (!stream)
        return rename_in_turn(rn, NULL);
    rc = rename_stream(rn, stream);
    stream_unref(stream);
    return rc;
}

/* With `lock` held: an archive gets its name.  That replaces whatever is there, and costs one
 * request (M3). */
static bool is_archives(const struct rename *rn) {
    return rn->node->stream && name_is_held(rn->node->name);
}

/* With `lock` held, dropped for the network.  The target's directory has to be known. */
static int find(struct rename *rn, const char *name) {
    struct s3pve_files *files = rn->files;
    int rc = 0;

    if (!tree_child(&files->tree, rn->from_dir, name))
        rc = listing_refresh(files, rn->from_dir);
    if (rc < 0)
        return rc;
    rn->node = tree_child(&files->tree, rn->from_dir, name);
    if (!rn->node)
        return -ENOENT;
    tree_pin(rn->node);
    if (rn->no_replace || (!is_archives(rn) && !tree_child(&files->tree, rn->to_dir, rn->to_name)))
        rc = listing_refresh(files, rn->to_dir);
    return rc;
}

static int check(struct rename *rn) {
    int rc = files_check_new_name(rn->files, rn->to_dir, rn->to_name);

    if (rc == 0)
        rc = check_source(rn);
    if (rc == 0)
        rc = check_target(rn);
    if (rc < 0)
        return rc;
    rn->from_key = tree_path(rn->node);
    rn->to_key = tree_child_path(rn->to_dir, rn->to_name);
    return rn->from_key && rn->to_key ? 0 : -ENOMEM;
}

static int rename_run(struct rename *rn) {
    if (rn->node->is_local)
        return move(rn);
    return rn->node->is_dir ? rename_dir(rn) : rename_file(rn);
}

/* With `lock` held, both directories pinned. */
static int rename_in(struct rename *rn, const char *name) {
    struct s3pve_files *files = rn->files;
    int rc = find(rn, name);
    bool is_same = rc == 0 && rn->node == tree_child(&files->tree, rn->to_dir, rn->to_name);

    if (rc == 0 && !is_same)
        rc = check(rn);
    if (rc == 0 && !is_same) {
        pthread_mutex_unlock(&files->lock);
        rc = rename_run(rn);
        pthread_mutex_lock(&files->lock);
    }
    if (rn->node)
        tree_unpin(&files->tree, rn->node);
    return rc;
}

_public_ int s3pve_files_rename(
    struct s3pve_files *files,
    uint64_t parent,
    const char *name,
    uint64_t new_parent,
    const char *new_name,
    unsigned flags
) {
    struct rename rn = {
        .files = files, .to_name = new_name, .no_replace = flags & RENAME_NOREPLACE};
    int rc;

    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return -EINVAL;
    pthread_mutex_lock(&files->lock);
    rc = files_dir(files, parent, &rn.from_dir);
    if (rc == 0)
        rc = files_dir(files, new_parent, &rn.to_dir);
    if (rc == 0) {
        tree_pin(rn.from_dir);
        tree_pin(rn.to_dir);
        rc = rename_in(&rn, name);
        tree_unpin(&files->tree, rn.from_dir);
        tree_unpin(&files->tree, rn.to_dir);
    }
    pthread_mutex_unlock(&files->lock);
    free(rn.from_key);
    free(rn.to_key);
    return rc;
}
