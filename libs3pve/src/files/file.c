/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* file.c - opening files, and making them; file_io.c reads, writes and closes */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/client.h"
#include "core/error.h"
#include "files/entries.h"
#include "files/file.h"
#include "files/listing.h"
#include "files/local.h"
#include "files/names.h"
#include "files/prefetch.h"
#include "files/publish.h"
#include "files/reader.h"
#include "files/stream.h"

DEFINE_CLEANUP(struct s3pve_file *, s3pve_file_close)

static bool is_writer(int flags) {
    return (flags & O_ACCMODE) != O_RDONLY;
}

/* ---------------------------------------------------------------- opening */

/*
 * Pages and size of a file are its inode's, whoever has it open, so an inode never changes its
 * bytes under a reader who was there first: the name gets a fresh inode, and the kernel is told to
 * look it up again (ESTALE, which open(2) and truncate(2) try once more by themselves).
 */
static int give_way(struct s3pve_files *files, struct node *node) {
    struct node *fresh = tree_replace(&files->tree, node);

    if (!fresh)
        return -ENOMEM;
    fresh->writer_due_ms = clock_monotonic_ms() + RELEASE_WAIT_MS;
    if (node->stream)
        stream_supersede(node->stream);
    return -ESTALE;
}

int file_make_way(struct s3pve_files *files, struct node *node) {
    if (!tree_is_linked(&files->tree, node))
        return -ESTALE;
    return node->n_readers && !node->stream ? give_way(files, node) : 0;
}

/* How long to wait before @node is opened: for a writer to publish, for the kernel to tell of his
 * last close(2), which it does when it likes, or for the writer whom others gave way to. */
static int64_t patience_ms(const struct node *node, bool for_writer) {
    const struct stream *stream = node->stream;

    if (stream && !stream->is_held)
        return stream->is_settled ? RELEASE_WAIT_MS : WRITER_WAIT_MS;
    return !for_writer && node->writer_due_ms > clock_monotonic_ms() ? RELEASE_WAIT_MS : 0;
}

/* With `lock` held, dropped while waiting; @node is pinned.  Return: 0, also when it was of no use;
 * -ESTALE when the name is not its any more; or -EINTR. */
static int wait_writer(struct s3pve_files *files, const struct node *node, bool for_writer) {
    struct s3pve_call call = files_call(files, 0);
    int64_t began_ms = clock_monotonic_ms();

    while (clock_monotonic_ms() < began_ms + patience_ms(node, for_writer)) {
        if (call.cancel && __atomic_load_n(call.cancel, __ATOMIC_RELAXED))
            return -EINTR;
        files_wait(files, RELEASE_WAIT_MS / 5);
    }
    return tree_is_linked(&files->tree, node) ? 0 : -ESTALE;
}

/* With `lock` held: the stream for a new writer.  There is one at most. */
static int open_stream(struct s3pve_file *file, bool is_new) {
    struct node *node = file->node;
    struct stream *stream = node->stream;

    if (stream && !stream->is_held && (!stream->is_settled || (!node->is_published && !is_new)))
        return -EBUSY;
    if (stream && stream->is_held) { /* waiting for its rename: go on with it */
        stream->is_held = false;
    } else {
        if (node->is_published && (stream || node->n_readers))
            return give_way(file->files, node);
        if (stream)
            stream_supersede(stream);
        stream = stream_new(file->files, node, is_new);
    }
    if (!stream)
        return -ENOMEM;
    stream->has_writer = true;
    node->writer_due_ms = 0;
    file->stream = stream;
    return 0;
}

/* With `lock` held.  Return: 0, or -EBUSY for what is being written (M2). */
static int open_reader(struct s3pve_file *file, bool may_repin) {
    struct node *node = file->node;
    const struct stream *stream = node->stream;

    if (!node->is_published)
        return -EBUSY;
    if (stream && (stream->is_held || !stream->is_settled || name_is_held(node->name)))
        return -EBUSY;
    file->is_direct = stream || node->writer_due_ms > clock_monotonic_ms() ||
                      node->resized_ms > clock_monotonic_ms();
    file->reader = reader_new(file->files, node, may_repin && node->n_readers == 0);
    if (!file->reader)
        return -ENOMEM;
    node->n_readers++;
    file->is_reader = true;
    prefetch_beside(file->files, node);
    return 0;
}

/* With `lock` held: everything that needs no network and no disk. */
static int open_parts(struct s3pve_file *file, int flags, bool is_new, bool *ret_keep_cache) {
    struct node *node = file->node;
    bool keep_cache = !is_writer(flags) && node->cached_version == node->version;
    int rc;

    *ret_keep_cache = false;
    file->appends = flags & O_APPEND;
    file->can_read = (flags & O_ACCMODE) != O_WRONLY;
    if (node->is_local)
        return 0;
    if (is_writer(flags)) {
        rc = open_stream(file, is_new || flags & O_TRUNC);
        if (rc == 0 && file->can_read)
            node->cached_version = 0; /* pages may be of what is never published */
        return rc;
    }
    rc = open_reader(file, !keep_cache);
    if (rc == 0 && !file->is_direct) {
        *ret_keep_cache = keep_cache;
        node->cached_version = node->version;
    }
    return rc;
}

/* With `lock` held. */
static int file_new(struct s3pve_files *files, struct node *node, struct s3pve_file **ret_file) {
    struct s3pve_file *file;

    if (files->n_open >= OPEN_FILES_MAX)
        return -ENFILE;
    file = calloc(1, sizeof(*file));
    if (!file)
        return -ENOMEM;
    file->files = files;
    file->node = node;
    file->fd = -1;
    pthread_mutex_init(&file->lock, NULL);
    tree_pin(node);
    files->n_open++;
    *ret_file = file;
    return 0;
}

/* What is left of opening needs the network or the disk. */
static int open_rest(struct s3pve_file *file, int flags) {
    if (file->node->is_local) {
        file->fd = local_open(file->files, file->node, flags);
        return file->fd < 0 ? file->fd : 0;
    }
    return file->stream && flags & O_TRUNC ? stream_truncate(file->stream, 0) : 0;
}

/* With `lock` held.  A listing may lack ETags, or have another for what we put there: that is a
 * store with two kinds of ETags, or another node's file of the same size. */
static bool is_in_doubt(const struct node *node) {
    if (!node->is_published || node->is_local || !node->parent || node->stream)
        return false;
    return !*node->etag || (node->list_etag && !node->list_etag_is_ours);
}

/* With `lock` held, @node pinned: what the kernel has the inode of is not what is there now. */
static int another_inode(
    struct s3pve_files *files, struct node *node, const struct s3pve_info *info
) {
    struct node *fresh = tree_replace(&files->tree, node);

    if (!fresh)
        return -ENOMEM;
    fresh->is_ours = false;
    tree_set_object(fresh, info->size, info->mtime, info->etag);
    return -ESTALE; /* the kernel looks the name up again */
}

/* With `lock` held, @node pinned.  Return: 0, or -ESTALE when the name is another inode's now. */
static int settle_etag(
    struct s3pve_files *files, struct node *node, const struct s3pve_info *info
) {
    if (strcmp(node->etag, info->etag) == 0) {
        node->list_etag_is_ours = true;
        return 0;
    }
    if (!node->parent || (!*node->etag && node->size == info->size)) {
        tree_set_object(node, info->size, info->mtime, info->etag);
        return 0;
    }
    return another_inode(files, node, info);
}

/* Know for certain which version is opened; mostly that is known already.  Return: 1 when the store
 * was asked, 0, or -errno. */
static int learn_etag(struct s3pve_files *files, uint64_t ino) {
    _cleanup_(object_clear) struct object object = {0};
    struct s3pve_call call = files_read_call(files);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info = {0};
    struct node *node;
    int rc;

    pthread_mutex_lock(&files->lock);
    node = files_node(files, ino);
    if (!node || node->is_dir || !is_in_doubt(node)) {
        pthread_mutex_unlock(&files->lock);
        return 0;
    }
    tree_pin(node);
    pthread_mutex_unlock(&files->lock);

    rc = object_of(files, node, &object);
    if (rc == 0 && s3pve_object_head(files->client, object.key, &info, &call, &err) < 0)
        rc = files_fail(files, "open", object.key, &err);

    LOCK_SCOPE(&files->lock);
    if (rc == 0)
        rc = settle_etag(files, node, &info);
    tree_unpin(&files->tree, node);
    if (rc == -ENOENT)
        return 0; /* unlinked meanwhile: opening goes on as ever */
    return rc < 0 ? rc : 1;
}

/* With `lock` held: others' file that nobody has read here yet.  The listing that named it may be 5
 * s old, and no reader can be told of another size. */
static bool is_unseen(const struct s3pve_files *files, const struct node *node) {
    return files->online && !node->is_dir && node->is_published && node->parent && node->size &&
           !node->is_local && !node->is_ours && !node->stream &&
           node->cached_version != node->version;
}

/* Has it still the size that was listed?  Who cannot know goes on.  Return: 0, or -ESTALE. */
static int look_again(struct s3pve_files *files, struct node *node) {
    _cleanup_(object_clear) struct object object = {0};
    struct s3pve_call call = files_call(files, LISTING_WAIT_MS);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info = {0};
    struct version version;

    if (object_of(files, node, &object) < 0)
        return 0;
    version = (struct version){object.key, object.etag, object.size};
    if (blocks_knows(files->blocks, &version, 0) ||
        s3pve_object_head(files->client, object.key, &info, &call, &err) < 0 ||
        info.size == object.size)
        return 0;
    LOCK_SCOPE(&files->lock);
    if (!node->parent || node->stream || node->version != object.version)
        return 0;
    return another_inode(files, node, &info);
}

static int look_if_unseen(struct s3pve_files *files, uint64_t ino) {
    struct node *node;
    int rc;

    pthread_mutex_lock(&files->lock);
    node = files_node(files, ino);
    if (!node || !is_unseen(files, node)) {
        pthread_mutex_unlock(&files->lock);
        return 0;
    }
    tree_pin(node);
    pthread_mutex_unlock(&files->lock);
    rc = look_again(files, node);
    LOCK_SCOPE(&files->lock);
    tree_unpin(&files->tree, node);
    return rc;
}

_public_ int s3pve_file_open(
    struct s3pve_files *files,
    uint64_t ino,
    int flags,
    struct s3pve_file **ret_file,
    bool *ret_keep_cache
) {
    _cleanup_(s3pve_file_closep) struct s3pve_file *file = NULL;
    struct node *node;
    bool keep_cache = false;
    int rc = learn_etag(files, ino);

    if (rc == 0 && !is_writer(flags))
        rc = look_if_unseen(files, ino);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&files->lock);
    node = files_node(files, ino);
    if (!node)
        rc = -ENOENT;
    else if (node->is_dir)
        rc = -EISDIR;
    else
        rc = file_new(files, node, &file);
    if (rc == 0)
        rc = wait_writer(files, node, is_writer(flags));
    if (rc == 0)
        rc = open_parts(file, flags, false, &keep_cache);
    pthread_mutex_unlock(&files->lock);

    if (rc == 0)
        rc = open_rest(file, flags);
    if (rc == -ESTALE)
        client_log(
            files->client,
            S3PVE_LOG_DEBUG,
            "open",
            "",
            "inode %llu gave its name away",
            (unsigned long long)ino
        );
    if (rc < 0)
        return rc;
    if (ret_keep_cache)
        *ret_keep_cache = keep_cache;
    *ret_file = steal_ptr(&file);
    return 0;
}

/* ---------------------------------------------------------------- creating */

/* With `lock` held, dropped for the network; @dir is pinned.  O_EXCL asks the store. */
static int prepare_create(
    struct s3pve_files *files, struct node *dir, const char *name, int flags
) {
    _free_ char *key = NULL;
    int rc = files_check_new_name(files, dir, name);

    if (rc == 0 && !tree_child(&files->tree, dir, name))
        rc = listing_refresh(files, dir);
    if (rc < 0 || !(flags & O_EXCL))
        return rc;
    if (tree_child(&files->tree, dir, name))
        return -EEXIST;
    if (dir->is_local || name_is_held(name))
        return 0;
    key = tree_child_path(dir, name);
    pthread_mutex_unlock(&files->lock);
    rc = key ? entry_check_absent(files, "create", key) : -ENOMEM;
    pthread_mutex_lock(&files->lock);
    return rc;
}

/* With `lock` held: the node, made now when it is not there. */
static int find_or_add(
    struct s3pve_files *files,
    struct node *dir,
    const char *name,
    mode_t mode,
    struct node **ret_node,
    bool *ret_is_new
) {
    struct node *node = tree_child(&files->tree, dir, name);

    if (!tree_is_linked(&files->tree, dir))
        return -ENOENT;
    *ret_is_new = !node;
    if (!node) {
        node = tree_add(&files->tree, dir, name, false);
        if (!node)
            return -ENOMEM;
        node->mode = mode & 07777;
        node->is_published = node->is_local;
        tree_touch(node);
        dir->mtime_s = clock_wall_s();
    }
    *ret_node = node;
    return node->is_dir ? -EISDIR : 0;
}

/* Made by somebody who will not write: a flag.  It has to be there when create() returns. */
static int publish_flag(struct s3pve_files *files, struct node *node) {
    struct stream *stream;
    int rc;

    pthread_mutex_lock(&files->lock);
    stream = stream_new(files, node, true);
    pthread_mutex_unlock(&files->lock);
    if (!stream)
        return -ENOMEM;
    stream->is_flag = true;
    rc = stream_flush(stream);
    stream_unref(stream);
    return rc;
}

/* With `lock` held; drops it.  @node is pinned. */
static int open_created(
    struct s3pve_files *files,
    struct node *node,
    int flags,
    bool is_new,
    struct s3pve_file **ret_file
) {
    _cleanup_(s3pve_file_closep) struct s3pve_file *file = NULL;
    bool keep_cache, opened;
    int rc = 0;

    if (is_new && !node->is_local && !is_writer(flags)) {
        pthread_mutex_unlock(&files->lock);
        rc = publish_flag(files, node);
        pthread_mutex_lock(&files->lock);
    }
    if (rc == 0)
        rc = file_new(files, node, &file);
    if (rc == 0 && !is_new)
        rc = wait_writer(files, node, is_writer(flags));
    if (rc == 0)
        rc = open_parts(file, flags, is_new, &keep_cache);
    opened = rc == 0;
    node->n_lookup += opened;
    pthread_mutex_unlock(&files->lock);

    if (opened)
        rc = open_rest(file, is_new && node->is_local ? flags | O_CREAT : flags & ~O_CREAT);
    if (rc == 0) {
        *ret_file = steal_ptr(&file);
    } else if (opened) {
        LOCK_SCOPE(&files->lock);
        tree_forget(&files->tree, node, 1);
    }
    return rc;
}

_public_ int s3pve_files_create(
    struct s3pve_files *files,
    uint64_t parent,
    const char *name,
    mode_t mode,
    int flags,
    struct stat *ret_attr,
    struct s3pve_file **ret_file
) {
    struct node *dir, *node = NULL;
    bool is_new = false;
    int rc;

    pthread_mutex_lock(&files->lock);
    rc = files_dir(files, parent, &dir);
    if (rc < 0) {
        pthread_mutex_unlock(&files->lock);
        return rc;
    }
    tree_pin(dir);
    rc = prepare_create(files, dir, name, flags);
    if (rc == 0)
        rc = find_or_add(files, dir, name, mode, &node, &is_new);
    tree_unpin(&files->tree, dir);
    if (rc < 0) {
        pthread_mutex_unlock(&files->lock);
        return rc;
    }
    tree_pin(node);
    rc = open_created(files, node, flags, is_new, ret_file);

    LOCK_SCOPE(&files->lock);
    if (rc == 0)
        files_stat(files, node, ret_attr);
    else if (is_new && node->parent && !node->stream && (node->is_local || !node->is_published))
        tree_unlink(&files->tree, node);
    tree_unpin(&files->tree, node);
    return rc;
}
