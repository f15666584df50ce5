/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "core/client.h"
#include "core/error.h"
#include "files/names.h"
#include "files/publish.h"
#include "files/reader.h"
#include "files/window.h"

#define POLL_MS 100 /* between two looks at a waiting caller's cancellation */

enum chunk_state { CHUNK_FETCHING, CHUNK_READY, CHUNK_FAILED };

/* A piece of the window.  Owned by the reader, by its transfer, and by who copies from it. */
struct chunk {
    struct chunk *next; /* in order of offsets */
    struct reader *reader;
    uint64_t offset;
    size_t len;
    unsigned char *data; /* owned: a buffer */
    bool keep;           /* put it into the cache, too */
    enum chunk_state state;
    int failed; /* -errno */
    int cancel; /* atomic */
    unsigned n_refs;
};

struct reader {
    struct s3pve_files *files;
    struct node *node; /* pinned */
    unsigned version;
    uint64_t size;
    bool is_archive; /* read once, from end to end */

    pthread_mutex_t lock; /* guards everything below; after files->lock */
    pthread_cond_t ready;
    char *etag; /* owned; another than the node's, see repin(); NULL: the node's */
    bool may_repin;
    bool keep; /* what is read in order is worth the node's disk, too */
    struct window window;
    struct chunk *chunks;
    unsigned n_refs; /* the open file, the transfers, and who holds it */
};

struct reader *reader_new(struct s3pve_files *files, struct node *node, bool may_repin) {
    struct reader *reader = calloc(1, sizeof(*reader));
    pthread_condattr_t attr;

    if (!reader)
        return NULL;
    reader->files = files;
    reader->node = node;
    reader->version = node->version;
    reader->size = node->size;
    reader->may_repin = may_repin;
    reader->n_refs = 1;
    reader->is_archive = name_is_archive(node->name);
    /* what was read from end to end before may be read so again */
    reader->keep = !reader->is_archive && node->streamed_version == node->version;
    pthread_mutex_init(&reader->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&reader->ready, &attr);
    pthread_condattr_destroy(&attr);
    tree_pin(node);
    return reader;
}

bool reader_is_of(const struct reader *reader, const struct node *node) {
    return reader->node == node && reader->version == node->version;
}

/* ---------------------------------------------------------------- chunks, with the lock held */

static void chunk_unref(struct chunk *chunk) {
    if (--chunk->n_refs)
        return;
    atomic_fetch_sub(&chunk->reader->files->ahead_bytes, chunk->len);
    buffer_put(&chunk->reader->files->buffers, chunk->data);
    free(chunk);
}

static void drop_chunk(struct reader *reader, struct chunk *chunk) {
    struct chunk **p = &reader->chunks;

    while (*p != chunk)
        p = &(*p)->next;
    *p = chunk->next;
    __atomic_store_n(&chunk->cancel, 1, __ATOMIC_RELAXED);
    chunk_unref(chunk);
}

static void drop_below(struct reader *reader, uint64_t floor) {
    for (struct chunk *chunk = reader->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        if (chunk->offset + chunk->len <= floor)
            drop_chunk(reader, chunk);
    }
}

static struct chunk *chunk_at(struct reader *reader, uint64_t offset) {
    for (struct chunk *chunk = reader->chunks; chunk; chunk = chunk->next) {
        if (offset >= chunk->offset && offset < chunk->offset + chunk->len)
            return chunk;
    }
    return NULL;
}

struct reader *reader_hold(struct reader *reader) {
    if (!reader)
        return NULL;
    LOCK_SCOPE(&reader->lock);
    reader->n_refs++;
    return reader;
}

void reader_release(struct reader *reader) {
    bool last;

    if (!reader)
        return;
    pthread_mutex_lock(&reader->lock);
    last = --reader->n_refs == 0;
    pthread_mutex_unlock(&reader->lock);
    if (!last)
        return;
    drop_below(reader, UINT64_MAX); /* who held it may have asked for more */
    pthread_mutex_lock(&reader->files->lock);
    tree_unpin(&reader->files->tree, reader->node);
    pthread_mutex_unlock(&reader->files->lock);
    pthread_cond_destroy(&reader->ready);
    pthread_mutex_destroy(&reader->lock);
    free(reader->etag);
    free(reader);
}

struct reader *reader_close(struct reader *reader) {
    bool from_start;

    if (!reader)
        return NULL;
    pthread_mutex_lock(&reader->lock);
    from_start = reader->window.main.from_start;
    drop_below(reader, UINT64_MAX);
    pthread_mutex_unlock(&reader->lock);

    pthread_mutex_lock(&reader->files->lock);
    if (from_start)
        reader->node->streamed_version = reader->version;
    pthread_mutex_unlock(&reader->files->lock);
    reader_release(reader);
    return NULL;
}

/* ---------------------------------------------------------------- which bytes */

/* The pinned version under the name it has now.  Return: 0, or -EIO when it is gone. */
static int pinned(struct reader *reader, struct object *ret_object) {
    struct object object = {0};
    int rc = object_of(reader->files, reader->node, &object);

    if (rc < 0)
        return rc == -ENOENT ? -EIO : rc;
    if (object.version != reader->version) {
        object_clear(&object);
        return -EIO;
    }
    pthread_mutex_lock(&reader->lock);
    if (reader->etag) {
        free(object.etag);
        object.etag = strdup(reader->etag);
    }
    pthread_mutex_unlock(&reader->lock);
    object.size = reader->size;
    if (!object.etag) {
        object_clear(&object);
        return -ENOMEM;
    }
    *ret_object = object;
    return 0;
}

/*
 * The store has other bytes than the listing said.  When nobody can have seen any yet, and the size
 * we told is still right, the bytes there now are the ones to read.
 */
static int repin(struct reader *reader, const struct object *object) {
    struct s3pve_call call = files_read_call(reader->files);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info;

    if (s3pve_object_head(reader->files->client, object->key, &info, &call, &err) < 0)
        return -EIO;
    LOCK_SCOPE(&reader->lock);
    if (reader->etag && strcmp(reader->etag, object->etag) != 0)
        return -EAGAIN; /* another read has found it out meanwhile */
    if (!reader->may_repin || info.size != reader->size || strcmp(info.etag, object->etag) == 0)
        return -EIO;
    reader->etag = strdup(info.etag);
    reader->may_repin = false;
    drop_below(reader, UINT64_MAX); /* bytes of the other version */
    return reader->etag ? -EAGAIN : -ENOMEM;
}

/* Return: -EAGAIN to begin again, or -EIO.  Either way the directory is out of date. */
static int stale(struct reader *reader, const struct object *object) {
    struct s3pve_files *files = reader->files;
    bool is_alone;

    pthread_mutex_lock(&files->lock);
    is_alone = reader->node->parent && reader->node->n_readers <= 1;
    if (reader->node->parent)
        reader->node->parent->listed_ms = INT64_MIN / 2;
    if (reader_is_of(reader, reader->node))
        tree_doubt(reader->node);
    pthread_mutex_unlock(&files->lock);
    client_log(files->client, S3PVE_LOG_WARNING, "read", object->key, "replaced while it was open");
    return is_alone ? repin(reader, object) : -EIO;
}

/* ---------------------------------------------------------------- fetching a chunk */

static bool from_disk(const struct chunk *chunk, const struct version *version) {
    struct blocks *blocks = chunk->reader->files->blocks;
    uint64_t first = chunk->offset / CACHE_BLOCK;
    uint64_t n = (chunk->len + CACHE_BLOCK - 1) / CACHE_BLOCK;

    for (uint64_t i = 0; i < n; i++) {
        if (!blocks_has(blocks, version, first + i))
            return false;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (!blocks_peek(blocks, version, first + i, chunk->data + i * CACHE_BLOCK))
            return false;
    }
    return true;
}

static int from_store(struct chunk *chunk, const struct version *version) {
    struct s3pve_files *files = chunk->reader->files;
    struct s3pve_call call = files_read_call(files);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    size_t got = 0;

    call.cancel = &chunk->cancel;
    if (s3pve_object_pread(
            files->client,
            version->key,
            *version->etag ? version->etag : NULL,
            chunk->data,
            chunk->len,
            chunk->offset,
            &got,
            NULL,
            &call,
            &err
        ) < 0)
        return files_read_fail(files, version->key, &err);
    return got == chunk->len ? 0 : -ESTALE;
}

static void keep_on_disk(const struct chunk *chunk, const struct version *version) {
    for (size_t done = 0; done < chunk->len; done += CACHE_BLOCK)
        blocks_keep(
            chunk->reader->files->blocks,
            version,
            (chunk->offset + done) / CACHE_BLOCK,
            chunk->data + done
        );
}

static void chunk_done(struct chunk *chunk, int rc, int64_t took_ms) {
    LOCK_SCOPE(&chunk->reader->lock);
    if (rc == 0)
        window_pace(&chunk->reader->window, took_ms);
    chunk->failed = rc;
    chunk->state = rc < 0 ? CHUNK_FAILED : CHUNK_READY;
    pthread_cond_broadcast(&chunk->reader->ready);
}

static void fetch_chunk(void *arg) {
    struct chunk *chunk = arg;
    struct reader *reader = chunk->reader;
    _cleanup_(object_clear) struct object object = {0};
    struct version version;
    bool fetched = false;
    int64_t began_ms = clock_monotonic_ms();
    int rc = __atomic_load_n(&chunk->cancel, __ATOMIC_RELAXED) ? -EINTR : pinned(reader, &object);

    version = (struct version){object.key, object.etag, reader->size};
    if (rc == 0 && !from_disk(chunk, &version)) {
        rc = from_store(chunk, &version);
        fetched = rc == 0;
    }
    chunk_done(chunk, rc, clock_monotonic_ms() - began_ms);
    if (fetched && chunk->keep)
        keep_on_disk(chunk, &version);

    pthread_mutex_lock(&reader->lock);
    chunk_unref(chunk);
    pthread_mutex_unlock(&reader->lock);
    reader_release(reader);
}

/* With the lock held.  Return: 0, or -ENOMEM. */
static int add_chunk(struct reader *reader, uint64_t offset, size_t len) {
    struct chunk *chunk = calloc(1, sizeof(*chunk)), **p = &reader->chunks;

    if (!chunk)
        return -ENOMEM;
    *chunk = (struct chunk
    ){.reader = reader, .offset = offset, .len = len, .keep = reader->keep, .n_refs = 2};
    chunk->data = buffer_get(&reader->files->buffers);
    if (!chunk->data) {
        free(chunk);
        return -ENOMEM;
    }
    atomic_fetch_add(&reader->files->ahead_bytes, len);
    while (*p && (*p)->offset < offset)
        p = &(*p)->next;
    chunk->next = *p;
    *p = chunk;
    reader->n_refs++;
    if (pool_run(reader->files->readers, fetch_chunk, chunk) == 0)
        return 0;
    chunk->n_refs--;
    reader->n_refs--;
    drop_chunk(reader, chunk);
    return -ENOMEM;
}

/* ---------------------------------------------------------------- reading */

/* Ask for what the window wants; beyond what this read needs only while there is memory.  Where no
 * chunk can be had, the blocks step in. */
static void extend(struct reader *reader, uint64_t until) {
    uint64_t offset;
    size_t len;

    drop_below(reader, window_floor(&reader->window));
    for (;;) {
        bool needed = reader->window.end < until;

        if (!needed && atomic_load(&reader->files->ahead_bytes) + READ_CHUNK > STORAGE_MEMORY)
            return;
        if (!window_want(&reader->window, reader->size, until, &offset, &len) ||
            add_chunk(reader, offset, len) < 0)
            return;
    }
}

static int wait_chunk(struct reader *reader, const struct chunk *chunk) {
    struct s3pve_call call = files_call(reader->files, 0);

    while (chunk->state == CHUNK_FETCHING) {
        struct timespec ts = clock_in_ms(CLOCK_MONOTONIC, POLL_MS);

        pthread_cond_timedwait(&reader->ready, &reader->lock, &ts);
        if (call.cancel && __atomic_load_n(call.cancel, __ATOMIC_RELAXED))
            return -EINTR;
    }
    if (chunk->state == CHUNK_READY)
        return 0;
    return chunk->failed == -EINTR ? -ENOENT : chunk->failed; /* dropped by another's jump */
}

/* From the chunk at @offset, at most to its end; -ENOENT when the window has none there. */
static ssize_t read_chunk(struct reader *reader, void *buf, size_t len, uint64_t offset) {
    struct chunk *chunk;
    ssize_t rc;

    LOCK_SCOPE(&reader->lock);
    chunk = chunk_at(reader, offset);
    if (!chunk)
        return -ENOENT;
    chunk->n_refs++;
    rc = wait_chunk(reader, chunk);
    if (rc == 0) {
        uint64_t skip = offset - chunk->offset;

        rc = (ssize_t)(len < chunk->len - skip ? len : chunk->len - skip);
        pthread_mutex_unlock(&reader->lock);
        memcpy(buf, chunk->data + skip, (size_t)rc);
        pthread_mutex_lock(&reader->lock);
    } else if (rc != -EINTR && chunk_at(reader, offset) == chunk) {
        drop_chunk(reader, chunk); /* the next read tries again */
    }
    chunk_unref(chunk);
    return rc;
}

/* Some bytes at @offset: from the window where it has them, else from the blocks. */
static ssize_t read_some(struct reader *reader, void *buf, size_t len, uint64_t offset) {
    _cleanup_(object_clear) struct object object = {0};
    struct version version;
    ssize_t rc = read_chunk(reader, buf, len, offset);

    if (rc > 0)
        return rc;
    if (rc != -ENOENT && rc != -ESTALE)
        return rc == -EINTR ? rc : -EIO;
    if (len > CACHE_BLOCK - offset % CACHE_BLOCK)
        len = CACHE_BLOCK - offset % CACHE_BLOCK;
    if (pinned(reader, &object) < 0)
        return -EIO;
    version = (struct version){object.key, object.etag, reader->size};
    if (rc == -ENOENT)
        rc = blocks_read(reader->files->blocks, &version, buf, len, offset);
    return rc == -ESTALE ? stale(reader, &object) : rc;
}

static void plan(struct reader *reader, size_t len, uint64_t offset) {
    enum window_advice advice;

    LOCK_SCOPE(&reader->lock);
    advice = window_read(&reader->window, offset, len);
    if (advice == WINDOW_MOVED)
        drop_below(reader, UINT64_MAX);
    /* jumping about in a file is what disks and images see: they are read again */
    if (advice != WINDOW_NONE && !reader->window.main.from_start && !reader->is_archive)
        reader->keep = true;
    if (advice != WINDOW_NONE)
        extend(reader, offset + len);
}

/* What is read before the first read has ended may be of another version than the rest: then
 * reader->etag has changed meanwhile, and it is begun again.  Return: -EAGAIN for that. */
static ssize_t read_once(struct reader *reader, void *buf, size_t len, uint64_t offset) {
    size_t done = 0;
    bool repinned;

    pthread_mutex_lock(&reader->lock);
    repinned = reader->etag != NULL;
    pthread_mutex_unlock(&reader->lock);
    while (done < len) {
        ssize_t n = read_some(reader, (char *)buf + done, len - done, offset + done);

        if (n <= 0)
            return n < 0 ? n : -EIO;
        done += (size_t)n;
    }
    LOCK_SCOPE(&reader->lock);
    if (repinned != (reader->etag != NULL))
        return -EAGAIN;
    reader->may_repin = false;
    return (ssize_t)done;
}

ssize_t reader_read(struct reader *reader, void *buf, size_t len, uint64_t offset) {
    ssize_t rc = -EAGAIN;

    if (offset >= reader->size)
        return 0;
    if (len > reader->size - offset)
        len = reader->size - offset;
    plan(reader, len, offset);
    while (rc == -EAGAIN)
        rc = read_once(reader, buf, len, offset);
    return rc;
}
