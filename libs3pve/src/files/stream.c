/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* stream.c - taking bytes; publish.c gives them to the store */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "core/client.h"
#include "core/error.h"
#include "files/names.h"
#include "files/publish.h"
#include "files/stream.h"

#define HEAD_FIRST KIB(64)
#define ZEROES KIB(256)

static const unsigned char zeroes[ZEROES];

struct stream *stream_new(struct s3pve_files *files, struct node *node, bool is_new) {
    struct stream *stream = calloc(1, sizeof(*stream));

    if (!stream)
        return NULL;
    stream->files = files;
    stream->started_s = clock_wall_s();
    pthread_mutex_init(&stream->io, NULL);
    stream->spool = SPOOL_INIT;
    stream->place = is_new ? PLACE_HEAD : PLACE_STORED;
    stream->is_dirty = is_new;
    stream->is_settled = !is_new;
    stream->end = stream->size = is_new ? 0 : node->size;
    stream->n_refs = 1;
    stream->node = node;
    tree_pin(node);
    node->stream = stream;
    stream->next = files->streams;
    files->streams = stream;
    return stream;
}

/* ---------------------------------------------------------------- the head */

bool stream_reserve_head(struct stream *stream, uint64_t need) {
    struct s3pve_files *files = stream->files;
    size_t room = stream->head_room ? stream->head_room : HEAD_FIRST;
    unsigned char *head;

    if (need <= stream->head_room)
        return true;
    if (need > HEAD_MAX)
        return false;
    while (room < need)
        room *= 2;
    /* many writers at once: these bytes go to an upload's buffers, which wait for each other */
    if (atomic_load(&files->head_bytes) + room > STORAGE_MEMORY && need > HEAD_FIRST)
        return false;
    head = realloc(stream->head, room);
    if (!head)
        return false;
    atomic_fetch_add(&files->head_bytes, room - stream->head_room);
    stream->head = head;
    stream->head_room = room;
    return true;
}

void stream_free_head(struct stream *stream) {
    atomic_fetch_sub(&stream->files->head_bytes, stream->head_room);
    free(stream->head);
    stream->head = NULL;
    stream->head_room = 0;
}

static int head_to_spool(struct stream *stream) {
    int rc = spool_open(stream->files, &stream->spool);

    if (rc == 0 && stream->end)
        rc = spool_write(stream->files, &stream->spool, stream->head, stream->end, 0);
    if (rc < 0) {
        spool_close(stream->files, &stream->spool);
        return rc;
    }
    stream_free_head(stream);
    stream->place = PLACE_SPOOL;
    return 0;
}

static int leave_head(struct stream *stream, bool to_spool) {
    return to_spool ? head_to_spool(stream) : publish_start(stream);
}

/* ---------------------------------------------------------------- writing */

static int write_sent(struct stream *stream, const void *buf, size_t len, uint64_t offset) {
    struct s3pve_files *files = stream->files;

    if (offset < stream->end) {
        client_log(
            files->client,
            S3PVE_LOG_ERROR,
            "write",
            stream->upload_key,
            "out of order at %llu, after %llu bytes went to the store",
            (unsigned long long)offset,
            (unsigned long long)stream->end
        );
        return -EIO;
    }
    while (stream->end < offset) {
        uint64_t gap = offset - stream->end;
        int rc = publish_append(stream, zeroes, gap < ZEROES ? gap : ZEROES);

        if (rc < 0)
            return rc;
    }
    return publish_append(stream, buf, len);
}

static int write_spool(struct stream *stream, const void *buf, size_t len, uint64_t offset) {
    int rc;

    publish_drop(stream); /* what was sent of it is out of date */
    rc = spool_write(stream->files, &stream->spool, buf, len, offset);
    if (rc == 0 && offset + len > stream->end)
        stream->end = offset + len;
    return rc;
}

static int write_somewhere(struct stream *stream, const void *buf, size_t len, uint64_t offset) {
    return stream->place == PLACE_SENT ? write_sent(stream, buf, len, offset)
                                       : write_spool(stream, buf, len, offset);
}

/* With room for it. */
static void fill_head(struct stream *stream, const void *buf, size_t len, uint64_t offset) {
    if (offset > stream->end)
        memset(stream->head + stream->end, 0, offset - stream->end);
    memcpy(stream->head + offset, buf, len);
    if (offset + len > stream->end)
        stream->end = offset + len;
}

/* A jump far ahead, or rewriting, is what writers of disk images do; backups and copies do not. */
static int write_head(struct stream *stream, const void *buf, size_t len, uint64_t offset) {
    bool far = offset > stream->end && offset - stream->end > HEAD_MAX;
    size_t first = 0;
    int rc;

    if (offset < stream->end)
        stream->is_unordered = true;
    if (stream_reserve_head(stream, offset + len)) {
        fill_head(stream, buf, len, offset);
        return 0;
    }
    /* where it will be, its first bytes tell: for these there always is memory */
    if (offset + stream->end == 0 && len > HEAD_FIRST && stream_reserve_head(stream, HEAD_FIRST)) {
        first = HEAD_FIRST;
        fill_head(stream, buf, first, 0);
    }
    rc = leave_head(stream, stream->is_unordered || far);
    return rc < 0 ? rc
                  : write_somewhere(stream, (const char *)buf + first, len - first, offset + first);
}

static int quota_is_full(struct stream *stream) {
    struct s3pve_files *files = stream->files;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    _free_ char *path = NULL;

    pthread_mutex_lock(&files->lock);
    path = tree_path(stream->node);
    pthread_mutex_unlock(&files->lock);
    error_set(&err, S3PVE_E_NO_SPACE, "the storage's quota is used up");
    return files_fail(files, "write", path, &err);
}

static int grow_quota(struct stream *stream, uint64_t end) {
    struct s3pve_files *files = stream->files;
    uint64_t more;
    int rc;

    if (end > LIMIT_OBJECT)
        return -EFBIG;
    pthread_mutex_lock(&files->lock);
    more = end > stream->reserved ? end - stream->reserved : 0;
    rc = more ? usage_reserve(files, more) : 0;
    if (rc == 0)
        stream->reserved += more;
    pthread_mutex_unlock(&files->lock);
    return rc < 0 ? quota_is_full(stream) : 0;
}

static void show_size(struct stream *stream) {
    LOCK_SCOPE(&stream->files->lock);
    stream->size = stream->end;
    stream->stored = stream->upload ? s3pve_upload_stored(stream->upload) : stream->stored;
    stream->is_settled = false;
    stream->is_broken = stream->failed != 0;
    stream->node->mtime_s = clock_wall_s();
    stream->node->mtime_is_set = false;
}

static bool is_doomed(struct stream *stream) {
    LOCK_SCOPE(&stream->files->lock);
    return stream->is_doomed;
}

/* What keeps it from being used at all. */
static int check(struct stream *stream) {
    LOCK_SCOPE(&stream->files->lock);
    return stream->failed ? stream->failed : stream->is_superseded ? -EIO : 0;
}

/* The same for a change, which its close tells of, too. */
static int check_change(struct stream *stream) {
    return stream->failed = check(stream);
}

static int write_locked(struct stream *stream, const void *buf, size_t len, uint64_t offset) {
    int rc = check_change(stream);

    if (rc == 0 && stream->place == PLACE_STORED)
        rc = stream->failed = stream_load(stream, UINT64_MAX);
    if (rc < 0)
        return rc;
    rc = grow_quota(stream, offset + len);
    if (rc == -EFBIG)
        return rc;
    if (rc == 0)
        rc = stream->place == PLACE_HEAD ? write_head(stream, buf, len, offset)
                                         : write_somewhere(stream, buf, len, offset);
    stream->is_dirty = true;
    if (rc < 0)
        stream->failed = rc;
    show_size(stream);
    if (is_doomed(stream))
        stream_discard(stream);
    return rc;
}

int stream_write(struct stream *stream, const void *buf, size_t len, uint64_t offset) {
    LOCK_SCOPE(&stream->io);
    return len ? write_locked(stream, buf, len, offset) : stream->failed;
}

int stream_append(struct stream *stream, const void *buf, size_t len) {
    LOCK_SCOPE(&stream->io);
    return len ? write_locked(stream, buf, len, stream->end) : stream->failed;
}

ssize_t stream_read(struct stream *stream, void *buf, size_t len, uint64_t offset) {
    int rc;

    LOCK_SCOPE(&stream->io);
    rc = check(stream);
    if (rc < 0)
        return rc;
    if (stream->place == PLACE_STORED)
        return -EAGAIN;
    if (stream->place == PLACE_SENT)
        return -EIO;
    if (offset >= stream->end)
        return 0;
    if (len > stream->end - offset)
        len = stream->end - offset;
    if (stream->place == PLACE_SPOOL)
        return spool_read(&stream->spool, buf, len, offset);
    memcpy(buf, stream->head + offset, len);
    return (ssize_t)len;
}

/* ---------------------------------------------------------------- truncating */

static int truncate_head(struct stream *stream, uint64_t size) {
    int rc;

    if (!stream_reserve_head(stream, size)) {
        rc = head_to_spool(stream);
        return rc < 0 ? rc : spool_truncate(stream->files, &stream->spool, size);
    }
    if (size > stream->end)
        memset(stream->head + stream->end, 0, size - stream->end);
    return 0;
}

static int truncate_sent(struct stream *stream, uint64_t size) {
    if (size == 0) { /* nothing of it is wanted: begin again */
        publish_drop(stream);
        stream->place = PLACE_HEAD;
        return 0;
    }
    return write_sent(stream, zeroes, 0, size); /* grows, or says why it cannot be */
}

static int truncate_locked(struct stream *stream, uint64_t size) {
    int rc = check_change(stream);

    if (rc == 0 && size == stream->end)
        return 0;
    if (rc == 0 && stream->place == PLACE_STORED && size == 0) {
        publish_drop_misplaced(stream);
        stream->place = PLACE_HEAD;
    } else if (rc == 0 && stream->place == PLACE_STORED) {
        rc = stream_load(stream, size);
    }
    if (rc == 0)
        rc = grow_quota(stream, size);
    if (rc < 0)
        return rc;

    if (stream->place == PLACE_HEAD)
        rc = truncate_head(stream, size);
    else if (stream->place == PLACE_SENT)
        rc = truncate_sent(stream, size);
    else {
        publish_drop(stream);
        rc = spool_truncate(stream->files, &stream->spool, size);
    }
    if (rc < 0)
        return rc;
    stream->end = size;
    stream->is_dirty = true;
    show_size(stream);
    if (is_doomed(stream))
        stream_discard(stream);
    return 0;
}

int stream_truncate(struct stream *stream, uint64_t size) {
    LOCK_SCOPE(&stream->io);
    return truncate_locked(stream, size);
}

int stream_truncate_now(struct stream *stream, uint64_t size) {
    bool will_flush;
    int rc;

    LOCK_SCOPE(&stream->io);
    pthread_mutex_lock(&stream->files->lock);
    will_flush = stream->has_writer && stream->is_dirty;
    pthread_mutex_unlock(&stream->files->lock);
    rc = truncate_locked(stream, size);
    return rc == 0 && !will_flush ? stream_flush_locked(stream) : rc;
}

/* ---------------------------------------------------------------- ending */

/* Nothing of it may appear: drop it wherever it is. */
void stream_discard(struct stream *stream) {
    struct s3pve_files *files = stream->files;

    publish_drop(stream);
    publish_drop_misplaced(stream);
    stream_free_head(stream);
    spool_close(files, &stream->spool);
    stream->end = 0;
    if (!stream->failed)
        stream->failed = -EIO;
    LOCK_SCOPE(&files->lock);
    usage_release(files, stream->reserved);
    stream->reserved = 0;
}

static void take_out(struct stream *stream) {
    struct stream **p = &stream->files->streams;

    while (*p != stream)
        p = &(*p)->next;
    *p = stream->next;
}

/* With `lock` held: the node loses its stream, and its name if it never had anything else; or if it
 * has, but the kernel was told another size than that, since open(2) does not ask again.
 * Return: the name and directory for the kernel to look up again; NULL when there are none. */
static char *leave_node(struct stream *stream, uint64_t *ret_parent) {
    struct node *node = stream->node;
    char *name;

    take_out(stream);
    if (node->stream == stream)
        node->stream = NULL;
    if (!node->parent || node->stream)
        return NULL;
    if (node->is_published && (!node->n_lookup || node->size == stream->size))
        return NULL;
    *ret_parent = node->parent->ino;
    name = strdup(node->name);
    if (node->is_published)
        tree_replace(&stream->files->tree, node);
    else
        tree_unlink(&stream->files->tree, node);
    return name;
}

void stream_unref(struct stream *stream) {
    struct s3pve_files *files = stream->files;
    struct s3pve_files_notify notify;
    _free_ char *changed = NULL;
    uint64_t parent = 0;

    pthread_mutex_lock(&files->lock);
    if (--stream->n_refs) {
        pthread_mutex_unlock(&files->lock);
        return;
    }
    changed = leave_node(stream, &parent);
    notify = files->notify;
    pthread_cond_broadcast(&files->changed);
    pthread_mutex_unlock(&files->lock);

    stream_discard(stream);
    pthread_mutex_lock(&files->lock);
    tree_unpin(&files->tree, stream->node);
    pthread_mutex_unlock(&files->lock);
    pthread_mutex_destroy(&stream->io);
    free(stream->target);
    free(stream);
    if (changed && notify.inval_entry)
        notify.inval_entry(notify.ctx, parent, changed);
}

void stream_close(struct stream *stream) {
    struct s3pve_files *files = stream->files;
    bool keep;

    pthread_mutex_lock(&stream->io);
    pthread_mutex_lock(&files->lock);
    keep = !stream->failed && !stream->is_dirty && !stream->is_doomed && stream->node->parent &&
           (stream->place != PLACE_STORED || stream->is_misplaced) &&
           name_is_held(stream->node->name);
    stream->is_held = keep;
    stream->has_writer = false;
    pthread_mutex_unlock(&files->lock);
    pthread_mutex_unlock(&stream->io);
    if (!keep)
        stream_unref(stream);
}

void stream_supersede(struct stream *stream) {
    stream->is_doomed = stream->is_superseded = true;
    stream->node->stream = NULL;
}

void stream_doom(struct stream *stream) {
    stream->is_doomed = true;
}

/* Whoever is in a call with it drops it when the call ends; otherwise it is done here. */
void stream_drop_doomed(struct stream *stream) {
    if (pthread_mutex_trylock(&stream->io) != 0)
        return;
    stream_discard(stream);
    pthread_mutex_unlock(&stream->io);
}

int stream_outcome(struct stream *stream) {
    LOCK_SCOPE(&stream->files->lock);
    return stream->is_doomed && !stream->is_superseded ? 0 : stream->failed;
}

int stream_error(struct stream *stream) {
    LOCK_SCOPE(&stream->io);
    return stream_outcome(stream);
}

bool stream_has_content(const struct stream *stream) {
    return stream->place != PLACE_STORED || stream->is_misplaced;
}

bool stream_is_bound(const struct stream *stream) {
    return stream->place == PLACE_SENT && stream->is_dirty;
}

bool stream_expects_name(
    const struct s3pve_files *files, const struct node *dir, const char *name
) {
    for (const struct stream *stream = files->streams; stream; stream = stream->next) {
        if (stream->target && stream->node->parent == dir && strcmp(stream->target, name) == 0)
            return true;
    }
    return false;
}

bool stream_is_held(const struct stream *stream) {
    return stream->is_held;
}

void stream_describe(const struct stream *stream, struct s3pve_files_upload *ret_upload) {
    _free_ char *path = tree_path(stream->node);

    *ret_upload = (struct s3pve_files_upload){
        .size = stream->size,
        .stored = stream->stored,
        .started_s = stream->started_s,
        .held = stream->is_held,
    };
    strncat(ret_upload->path, path ? path : "", sizeof(ret_upload->path) - 1);
}
