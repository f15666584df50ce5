/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * publish.c - a stream becomes an object, in one step that nobody sees half of (M2)
 *
 * HEAD goes in one PUT.  SENT is an upload under the key it will have: for a vzdump archive the
 * one that its first bytes foretell, so that the rename is the Complete and nothing else (M3).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/client.h"
#include "core/error.h"
#include "files/keylock.h"
#include "files/names.h"
#include "files/publish.h"

#define ABORT_MS 10000
#define ABORT_HURRY_MS 2000 /* when we end, or nobody answers: the record is there for later */

void object_clear(struct object *object) {
    free(object->key);
    free(object->etag);
    *object = (struct object){0};
}

int object_of(struct s3pve_files *files, const struct node *node, struct object *ret_object) {
    struct object object = {0};

    LOCK_SCOPE(&files->lock);
    if (!node->is_published || (!node->parent && (!node->left || !*node->etag)))
        return -ENOENT;
    object.key = node->parent ? tree_path(node) : strdup(node->left);
    object.etag = strdup(node->etag);
    object.size = node->size;
    object.version = node->version;
    if (!object.key || !object.etag) {
        object_clear(&object);
        return -ENOMEM;
    }
    *ret_object = object;
    return 0;
}

void node_set_published(
    struct s3pve_files *files, struct node *node, uint64_t size, const char *etag
) {
    int64_t before = node->is_published ? (int64_t)node->size : 0;
    int64_t mtime_s = node->mtime_is_set ? node->mtime_s : 0;

    usage_change(files, (int64_t)size - before, node->is_published ? 0 : 1);
    tree_set_object(node, size, mtime_s ? mtime_s : clock_wall_s(), etag);
    node->mtime_is_set = mtime_s != 0;
    node->is_ours = true;
    tree_touch(node);
}

/* ---------------------------------------------------------------- calls */

struct s3pve_call publish_slow_call(
    struct s3pve_files *files, uint64_t bytes, unsigned ms_per_gib
) {
    unsigned base = files->client->config.timeout_ms ? files->client->config.timeout_ms : CALL_MS;

    return files_call(files, base + (unsigned)(bytes / GIB(1)) * ms_per_gib);
}

static int fail(struct stream *stream, const char *operation, const struct s3pve_error *err) {
    return files_fail(stream->files, operation, stream->upload_key, err);
}

/* Where the bytes will be in the end: @key, unless the first of them know better. */
static char *final_key(struct stream *stream, const void *head, size_t len) {
    struct node *node = stream->node;
    char name[NAME_SIZE];

    LOCK_SCOPE(&stream->files->lock);
    if (node->parent && name_predict(node->name, head, len, name))
        return tree_child_path(node->parent, name);
    return node->parent ? tree_path(node) : strdup(node->name);
}

/* ---------------------------------------------------------------- uploads */

/* @must_record: it will have parts, so its id has to be on disk first. */
static int open_upload(struct stream *stream, bool must_record, struct s3pve_error *err) {
    struct s3pve_files *files = stream->files;
    struct s3pve_call call = files_call(files, 0);

    if (s3pve_upload_open(files->client, stream->upload_key, NULL, &stream->upload, err) < 0)
        return -1;
    if (!must_record)
        return 0;
    if (s3pve_upload_begin(stream->upload, &call, err) < 0)
        return -1;
    return record_new(
        files, stream->upload_key, s3pve_upload_id(stream->upload), &stream->record, err
    );
}

static int append(struct stream *stream, const void *buf, size_t len, struct s3pve_error *err) {
    struct s3pve_call call = files_call(stream->files, 0);

    return len ? s3pve_upload_write(stream->upload, buf, len, &call, err) : 0;
}

int publish_start(struct stream *stream) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int rc;

    stream->upload_key = final_key(stream, stream->head, stream->end);
    if (!stream->upload_key)
        return -ENOMEM;
    if (open_upload(stream, true, &err) < 0 ||
        append(stream, stream->head, stream->end, &err) < 0) {
        rc = fail(stream, "write", &err);
        publish_drop(stream);
        return rc;
    }
    stream_free_head(stream);
    stream->place = PLACE_SENT;
    return 0;
}

int publish_append(struct stream *stream, const void *buf, size_t len) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (append(stream, buf, len, &err) < 0)
        return fail(stream, "write", &err);
    stream->end += len;
    return 0;
}

static void forget_upload(struct stream *stream, bool settled) {
    stream->upload = s3pve_upload_close(stream->upload);
    stream->record = record_end(stream->files, stream->record, settled);
    free(stream->upload_key);
    stream->upload_key = NULL;
    stream->may_be_misplaced = false;
}

/* A part that was under way may arrive after the abort and stay: asking again shows that nothing
 * is left, or leaves the record for later. */
void publish_drop(struct stream *stream) {
    struct s3pve_files *files = stream->files;
    bool hurry = __atomic_load_n(&files->closing, __ATOMIC_RELAXED) || !files_is_online(files);
    struct s3pve_call call = {.timeout_ms = hurry ? ABORT_HURRY_MS : ABORT_MS};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    _free_ char *id = NULL;
    bool settled = true;

    if (stream->is_misplaced)
        return;
    if (stream->upload) {
        id = strdup(s3pve_upload_id(stream->upload));
        s3pve_upload_abort(stream->upload, &call);
        settled =
            id && (!*id ||
                   s3pve_upload_abort_id(files->client, stream->upload_key, id, &call, &err) == 0);
    }
    forget_upload(stream, settled);
}

void publish_drop_misplaced(struct stream *stream) {
    struct s3pve_call call = {.timeout_ms = ABORT_MS};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (!stream->is_misplaced)
        return;
    if (s3pve_object_delete(stream->files->client, stream->upload_key, &call, &err) < 0)
        fail(stream, "delete", &err);
    stream->is_misplaced = false;
    forget_upload(stream, true);
}

/* ---------------------------------------------------------------- sending the rest */

static int upload_spool(struct stream *stream, struct s3pve_error *err) {
    struct s3pve_call call = files_call(stream->files, 0);

    if (lseek(stream->spool.fd, 0, SEEK_SET) < 0)
        return error_set(err, S3PVE_E_IO, "spool: %s", strerror(errno));
    if (open_upload(stream, stream->end > LIMIT_PART_MIN, err) < 0 ||
        s3pve_upload_read_fd(stream->upload, stream->spool.fd, &call, err) < 0)
        return -1;
    if (s3pve_upload_size(stream->upload) != stream->end)
        return error_set(err, S3PVE_E_CORRUPT, "spool: its size is not what was written");
    return s3pve_upload_seal(stream->upload, &call, err);
}

/* Takes @key.  An upload that is there afterwards is sealed, and has all that was written. */
static int send_spool(struct stream *stream, char *key, struct s3pve_error *err) {
    if (stream->upload && strcmp(stream->upload_key, key) == 0) {
        free(key);
        return 0;
    }
    publish_drop(stream);
    stream->upload_key = key;
    if (upload_spool(stream, err) == 0)
        return 0;
    publish_drop(stream);
    return -1;
}

static int seal(struct stream *stream, struct s3pve_error *err) {
    struct s3pve_call call = files_call(stream->files, 0);
    unsigned char head[NAME_HEAD];
    ssize_t len;

    if (stream->place == PLACE_SENT)
        return s3pve_upload_seal(stream->upload, &call, err);
    if (stream->place != PLACE_SPOOL)
        return 0;
    len = spool_read(&stream->spool, head, sizeof(head), 0);
    if (len < 0)
        return error_set(err, S3PVE_E_IO, "spool: %s", strerror((int)-len));
    return send_spool(stream, final_key(stream, head, (size_t)len), err);
}

static int complete(struct stream *stream, struct s3pve_info *ret_info, struct s3pve_error *err) {
    struct s3pve_call call = publish_slow_call(stream->files, stream->end, COMPLETE_MS_PER_GIB);

    if (s3pve_upload_complete(stream->upload, ret_info, &call, err) < 0)
        return -1;
    stream->upload = s3pve_upload_close(stream->upload);
    stream->record = record_end(stream->files, stream->record, true);
    return 0;
}

/* ---------------------------------------------------------------- another name than foretold */

static int is_free(struct stream *stream, const char *key, struct s3pve_error *err) {
    struct s3pve_call call = files_call(stream->files, 0);
    struct s3pve_error why = S3PVE_ERROR_INIT;
    struct s3pve_info info;

    if (s3pve_object_head(stream->files->client, key, &info, &call, &why) == 0)
        return error_set(err, S3PVE_E_CONFLICT, "'%s' is in the way of a rename", key);
    if (why.code == S3PVE_E_NOT_FOUND)
        return 0;
    if (err)
        *err = why;
    return -1;
}

static int move_object(
    struct stream *stream, const char *key, struct s3pve_info *ret_info, struct s3pve_error *err
) {
    struct s3pve_client *client = stream->files->client;
    struct s3pve_call call = publish_slow_call(stream->files, stream->end, COPY_MS_PER_GIB);
    struct s3pve_error ignored = S3PVE_ERROR_INIT;

    if (s3pve_object_copy(client, stream->upload_key, key, NULL, ret_info, &call, err) < 0)
        return -1;
    if (s3pve_object_delete(client, stream->upload_key, &call, &ignored) < 0)
        fail(stream, "delete", &ignored);
    return 0;
}

/* The parts cannot change their key: complete where they are, if nobody is there, and move it. */
static int publish_misplaced(
    struct stream *stream, const char *key, struct s3pve_info *ret_info, struct s3pve_error *err
) {
    struct s3pve_info info = {0};

    if (!stream->is_misplaced) {
        if (!stream->may_be_misplaced && is_free(stream, stream->upload_key, err) < 0)
            return -1;
        stream->may_be_misplaced = true;
        if (complete(stream, &info, err) < 0)
            return -1;
        stream->is_misplaced = true;
        stream->may_be_misplaced = false;
        stream->place = PLACE_STORED;
    }
    if (move_object(stream, key, ret_info, err) < 0)
        return -1;
    stream->is_misplaced = false;
    return 0;
}

/* ---------------------------------------------------------------- publishing */

static int put_head(
    struct stream *stream, const char *key, struct s3pve_info *ret_info, struct s3pve_error *err
) {
    struct s3pve_call call =
        stream->is_flag ? files_name_call(stream->files) : files_call(stream->files, 0);
    const void *data = stream->head ? (const void *)stream->head : "";

    return s3pve_object_put(
        stream->files->client, key, data, stream->end, NULL, ret_info, &call, err
    );
}

static int publish_sent(
    struct stream *stream, const char *key, struct s3pve_info *ret_info, struct s3pve_error *err
) {
    int rc;

    if (!stream->upload_key)
        return error_set(err, S3PVE_E_INVALID, "publish: nothing was written");
    if (!stream->is_misplaced && seal(stream, err) < 0)
        return -1;
    if (stream->is_misplaced || strcmp(stream->upload_key, key) != 0)
        rc = publish_misplaced(stream, key, ret_info, err);
    else
        rc = complete(stream, ret_info, err);
    if (rc < 0)
        return -1;
    stream->place = PLACE_STORED;
    free(stream->upload_key);
    stream->upload_key = NULL;
    return 0;
}

static int publish_spool(
    struct stream *stream, const char *key, struct s3pve_info *ret_info, struct s3pve_error *err
) {
    char *copy = strdup(key);

    if (!copy)
        return error_set(err, S3PVE_E_NOMEM, "publish: out of memory");
    if (send_spool(stream, copy, err) < 0 || complete(stream, ret_info, err) < 0)
        return -1;
    free(stream->upload_key);
    stream->upload_key = NULL;
    return 0;
}

static int publish(
    struct stream *stream, const char *key, struct s3pve_info *ret_info, struct s3pve_error *err
) {
    int rc;

    if (stream->place == PLACE_HEAD)
        rc = put_head(stream, key, ret_info, err);
    else if (stream->place == PLACE_SPOOL)
        rc = publish_spool(stream, key, ret_info, err);
    else
        rc = publish_sent(stream, key, ret_info, err);
    ret_info->size = stream->end; /* not every answer has it */
    return rc;
}

int stream_publish_as(struct stream *stream, const char *key, struct s3pve_info *ret_info) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info = {0};

    if (stream->failed)
        return stream->failed;
    if (publish(stream, key, &info, &err) < 0)
        return files_fail(stream->files, "rename", key, &err);
    stream->is_dirty = false;
    *ret_info = info;
    return 0;
}

int publish_undo(struct stream *stream, const char *key, const char *etag) {
    struct s3pve_client *client = stream->files->client;
    struct s3pve_call call = {.timeout_ms = ABORT_MS};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info;

    stream_discard(stream);
    if (s3pve_object_head(client, key, &info, &call, &err) < 0) {
        if (err.code == S3PVE_E_NOT_FOUND)
            return 0;
    } else if (strcmp(info.etag, etag) != 0 || s3pve_object_delete(client, key, &call, &err) == 0) {
        return 0;
    }
    return files_fail(stream->files, "unlink", key, &err);
}

static bool is_unlinked(struct stream *stream) {
    LOCK_SCOPE(&stream->files->lock);
    return !stream->node->parent;
}

/* With @key taken.  It may have been unlinked while we waited for that, or while the store took
 * it. */
static int put_plain(struct stream *stream, const char *key) {
    struct s3pve_files *files = stream->files;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info = {0};

    if (is_unlinked(stream)) {
        stream_discard(stream);
        return 0;
    }
    if (publish(stream, key, &info, &err) < 0)
        return files_fail(files, "close", key, &err);

    pthread_mutex_lock(&files->lock);
    if (!stream->node->parent) {
        pthread_mutex_unlock(&files->lock);
        return publish_undo(stream, key, info.etag);
    }
    usage_release(files, stream->reserved);
    stream->reserved = 0;
    stream->stored = stream->end;
    node_set_published(files, stream->node, info.size, info.etag);
    pthread_mutex_unlock(&files->lock);
    return 0;
}

static int flush_plain(struct stream *stream, const char *key) {
    struct keylock turn;
    int rc = keylock_take(stream->files, &turn, key, !stream->is_flag);

    if (rc < 0)
        return rc;
    rc = put_plain(stream, key);
    keylock_give(stream->files, &turn, rc);
    return rc;
}

static ssize_t first_bytes(const struct stream *stream, void *buf, size_t len) {
    if (stream->place == PLACE_SPOOL)
        return spool_read(&stream->spool, buf, len, 0);
    if (stream->place != PLACE_HEAD)
        return 0;
    len = len < stream->end ? len : stream->end;
    memcpy(buf, stream->head ? stream->head : buf, len);
    return (ssize_t)len;
}

/* With `lock` held. */
static void set_target(struct stream *stream, const void *head, size_t len) {
    const char *slash = stream->upload_key ? strrchr(stream->upload_key, '/') : NULL;
    char name[NAME_SIZE];

    free(stream->target);
    if (stream->upload_key)
        stream->target = strdup(slash ? slash + 1 : stream->upload_key);
    else
        stream->target = name_predict(stream->node->name, head, len, name) ? strdup(name) : NULL;
}

static int flush_held(struct stream *stream) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    unsigned char head[NAME_HEAD];
    ssize_t len;

    if (seal(stream, &err) < 0)
        return fail(stream, "close", &err);
    len = first_bytes(stream, head, sizeof(head));
    LOCK_SCOPE(&stream->files->lock);
    stream->stored = stream->upload ? s3pve_upload_stored(stream->upload) : 0;
    set_target(stream, head, len < 0 ? 0 : (size_t)len);
    return 0;
}

int stream_flush_locked(struct stream *stream) {
    struct s3pve_files *files = stream->files;
    _free_ char *key = NULL;
    bool held;
    int rc;

    if (stream->failed || !stream->is_dirty)
        return stream_outcome(stream);

    pthread_mutex_lock(&files->lock);
    key = stream->node->parent ? tree_path(stream->node) : NULL;
    held = key && name_is_held(stream->node->name);
    pthread_mutex_unlock(&files->lock);
    if (!key) { /* unlinked: there is nothing to publish, and nobody to tell */
        stream_discard(stream);
        return 0;
    }
    rc = held ? flush_held(stream) : flush_plain(stream, key);
    if (rc == 0)
        stream->is_dirty = false;
    pthread_mutex_lock(&files->lock);
    stream->is_settled = rc == 0;
    stream->is_broken = rc < 0;
    pthread_cond_broadcast(&files->changed);
    pthread_mutex_unlock(&files->lock);
    return rc;
}

int stream_flush(struct stream *stream) {
    LOCK_SCOPE(&stream->io);
    return stream_flush_locked(stream);
}
