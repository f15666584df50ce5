/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "core/client.h"
#include "core/error.h"
#include "files/blocks.h"
#include "files/files.h"

#define BUCKETS 1024
#define POLL_MS 100 /* between two looks at a waiting caller's cancellation */

enum block_state { BLOCK_FETCHING, BLOCK_READY, BLOCK_FAILED };

struct block {
    struct block *next;          /* chain of its bucket, while it is in the table */
    struct block *newer, *older; /* while READY and in the table */
    char *id;                    /* owned: key, ETag and size, a line each */
    uint64_t no;
    enum block_state state;
    int failed; /* -errno */
    unsigned n_refs;
    unsigned char *data; /* owned */
    size_t len;
};

struct blocks {
    struct s3pve_files *files;
    struct cache *cache; /* owned; may be NULL */

    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t fetched;
    struct block *buckets[BUCKETS];
    struct block *newest, *oldest;
    uint64_t bytes; /* of READY blocks */
    uint64_t n_hits, n_misses;
};

/* ---------------------------------------------------------------- the table, with the lock held */

static struct block **bucket_of(struct blocks *blocks, const char *id, uint64_t no) {
    uint64_t h = 0xcbf29ce484222325ull ^ no * 0x9e3779b97f4a7c15ull;

    for (const unsigned char *p = (const unsigned char *)id; *p; p++)
        h = (h ^ *p) * 0x100000001b3ull;
    return &blocks->buckets[(h ^ h >> 32) % BUCKETS];
}

static struct block *find(struct blocks *blocks, const char *id, uint64_t no) {
    struct block *block = *bucket_of(blocks, id, no);

    while (block && (block->no != no || strcmp(block->id, id) != 0))
        block = block->next;
    return block;
}

static void lru_add(struct blocks *blocks, struct block *block) {
    block->newer = NULL;
    block->older = blocks->newest;
    if (blocks->newest)
        blocks->newest->newer = block;
    else
        blocks->oldest = block;
    blocks->newest = block;
}

static void lru_remove(struct blocks *blocks, struct block *block) {
    if (block->newer)
        block->newer->older = block->older;
    else
        blocks->newest = block->older;
    if (block->older)
        block->older->newer = block->newer;
    else
        blocks->oldest = block->newer;
}

static void unref(struct block *block) {
    if (--block->n_refs)
        return;
    free(block->data);
    free(block->id);
    free(block);
}

/* The table's own reference goes; who is reading it keeps theirs. */
static void take_out(struct blocks *blocks, struct block *block) {
    struct block **p = bucket_of(blocks, block->id, block->no);

    while (*p != block)
        p = &(*p)->next;
    *p = block->next;
    if (block->state == BLOCK_READY) {
        lru_remove(blocks, block);
        blocks->bytes -= block->len;
    }
    unref(block);
}

/* A block being fetched, with a reference for the table and one for the caller. */
static struct block *put_in(struct blocks *blocks, const char *id, uint64_t no) {
    struct block *block = calloc(1, sizeof(*block)), **bucket;

    if (!block)
        return NULL;
    block->id = strdup(id);
    if (!block->id) {
        free(block);
        return NULL;
    }
    block->no = no;
    block->n_refs = 2;
    bucket = bucket_of(blocks, id, no);
    block->next = *bucket;
    *bucket = block;
    return block;
}

static void shrink(struct blocks *blocks, uint64_t more) {
    while (blocks->oldest && blocks->bytes + more > BLOCKS_MEMORY)
        take_out(blocks, blocks->oldest);
}

/* ---------------------------------------------------------------- fetching */

static int fetch(struct blocks *blocks, const struct version *version, struct block *block) {
    struct s3pve_files *files = blocks->files;
    struct s3pve_call call = files_read_call(files);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    size_t got = 0;

    if (s3pve_object_pread(
            files->client,
            version->key,
            *version->etag ? version->etag : NULL,
            block->data,
            block->len,
            block->no * CACHE_BLOCK,
            &got,
            NULL,
            &call,
            &err
        ) < 0)
        return files_read_fail(files, version->key, &err);
    return got == block->len ? 0 : -ESTALE;
}

/* Fill the block and tell those who wait.  Return: 0, or -errno. */
static int fill(struct blocks *blocks, const struct version *version, struct block *block) {
    bool on_disk, fetched = false;
    int rc = 0;

    block->len = cachefile_block_len(version->size, block->no);
    block->data = malloc(block->len);
    on_disk = block->data && cache_get(blocks->cache, version, block->no, block->data);
    if (!block->data)
        rc = -ENOMEM;
    else if (!on_disk) {
        rc = fetch(blocks, version, block);
        fetched = rc == 0;
    }

    pthread_mutex_lock(&blocks->lock);
    blocks->n_hits += on_disk;
    blocks->n_misses += !on_disk;
    if (rc == 0) {
        shrink(blocks, block->len);
        block->state = BLOCK_READY;
        lru_add(blocks, block);
        blocks->bytes += block->len;
    } else {
        block->failed = rc;
        block->state = BLOCK_FAILED;
        take_out(blocks, block);
    }
    pthread_cond_broadcast(&blocks->fetched);
    pthread_mutex_unlock(&blocks->lock);

    if (fetched)
        blocks_keep(blocks, version, block->no, block->data);
    return rc;
}

/* With the lock held: until somebody else has fetched it.  A fetch that was cancelled says nothing
 * about ours: -EAGAIN, to be tried again. */
static int wait_fetched(struct blocks *blocks, struct block *block) {
    struct s3pve_call call = files_call(blocks->files, 0);

    while (block->state == BLOCK_FETCHING) {
        struct timespec ts = clock_in_ms(CLOCK_MONOTONIC, POLL_MS);

        pthread_cond_timedwait(&blocks->fetched, &blocks->lock, &ts);
        if (call.cancel && __atomic_load_n(call.cancel, __ATOMIC_RELAXED))
            return -EINTR;
    }
    if (block->state == BLOCK_FAILED)
        return block->failed == -EINTR ? -EAGAIN : block->failed;
    return 0;
}

/* The block, ready, with a reference. */
static int acquire(
    struct blocks *blocks,
    const struct version *version,
    const char *id,
    uint64_t no,
    struct block **ret_block
) {
    struct block *block;
    int rc = 0;

    pthread_mutex_lock(&blocks->lock);
    block = find(blocks, id, no);
    if (block) {
        block->n_refs++;
        blocks->n_hits += block->state == BLOCK_READY;
        rc = wait_fetched(blocks, block);
        if (rc == 0 && block->state == BLOCK_READY && find(blocks, id, no) == block) {
            lru_remove(blocks, block);
            lru_add(blocks, block);
        }
        if (rc < 0)
            unref(block);
        pthread_mutex_unlock(&blocks->lock);
    } else {
        block = put_in(blocks, id, no);
        pthread_mutex_unlock(&blocks->lock);
        rc = block ? fill(blocks, version, block) : -ENOMEM;
        if (rc < 0 && block) {
            LOCK_SCOPE(&blocks->lock);
            unref(block);
        }
    }
    if (rc == 0)
        *ret_block = block;
    return rc;
}

static char *id_of(const struct version *version) {
    char *id;
    int len = asprintf(
        &id, "%s\n%s\n%llu", version->key, version->etag, (unsigned long long)version->size
    );

    return len < 0 ? NULL : id;
}

bool blocks_knows(struct blocks *blocks, const struct version *version, uint64_t no) {
    _free_ char *id = id_of(version);
    const struct block *block;
    bool in_memory;

    if (!id)
        return false;
    pthread_mutex_lock(&blocks->lock);
    block = find(blocks, id, no);
    in_memory = block && block->state == BLOCK_READY;
    pthread_mutex_unlock(&blocks->lock);
    return in_memory || blocks_has(blocks, version, no);
}

ssize_t blocks_read(
    struct blocks *blocks, const struct version *version, void *buf, size_t len, uint64_t offset
) {
    _free_ char *id = id_of(version);
    size_t done = 0;

    if (!id)
        return -ENOMEM;
    if (offset >= version->size)
        return 0;
    if (len > version->size - offset)
        len = version->size - offset;
    while (done < len) {
        uint64_t no = (offset + done) / CACHE_BLOCK, skip = (offset + done) % CACHE_BLOCK;
        struct block *block = NULL;
        int rc = acquire(blocks, version, id, no, &block);
        size_t n;

        if (rc == -EAGAIN)
            continue;
        if (rc < 0)
            return rc;
        n = len - done < block->len - skip ? len - done : block->len - skip;
        memcpy((char *)buf + done, block->data + skip, n);
        done += n;
        LOCK_SCOPE(&blocks->lock);
        unref(block);
    }
    return (ssize_t)done;
}

/* ---------------------------------------------------------------- for readers in order */

bool blocks_peek(struct blocks *blocks, const struct version *version, uint64_t no, void *buf) {
    bool found = cache_get(blocks->cache, version, no, buf);

    LOCK_SCOPE(&blocks->lock);
    blocks->n_hits += found;
    return found;
}

bool blocks_has(struct blocks *blocks, const struct version *version, uint64_t no) {
    return cache_has(blocks->cache, version, no);
}

void blocks_keep(
    struct blocks *blocks, const struct version *version, uint64_t no, const void *data
) {
    cache_put(blocks->cache, version, no, data);
    if (cache_was_remade(blocks->cache))
        client_log(
            blocks->files->client,
            S3PVE_LOG_WARNING,
            "cache",
            "",
            "the folder was removed, with all that was in it; it has been made again"
        );
}

/* ---------------------------------------------------------------- life */

struct blocks *blocks_new(struct s3pve_files *files, const char *folder, uint64_t size) {
    struct blocks *blocks = calloc(1, sizeof(*blocks));
    pthread_condattr_t attr;

    if (!blocks)
        return NULL;
    blocks->files = files;
    blocks->cache = folder ? cache_open(folder, size) : NULL;
    pthread_mutex_init(&blocks->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&blocks->fetched, &attr);
    pthread_condattr_destroy(&attr);
    return blocks;
}

struct blocks *blocks_free(struct blocks *blocks) {
    if (!blocks)
        return NULL;
    while (blocks->oldest)
        take_out(blocks, blocks->oldest);
    cache_close(blocks->cache);
    pthread_cond_destroy(&blocks->fetched);
    pthread_mutex_destroy(&blocks->lock);
    free(blocks);
    return NULL;
}

uint64_t blocks_yield(struct blocks *blocks, uint64_t bytes) {
    return cache_yield(blocks->cache, bytes);
}

void blocks_set_size(struct blocks *blocks, uint64_t size) {
    cache_set_size(blocks->cache, size);
}

void blocks_stats(struct blocks *blocks, struct s3pve_files_stats *stats) {
    stats->cache_bytes = cache_bytes(blocks->cache);
    stats->cache_size = cache_size(blocks->cache);
    LOCK_SCOPE(&blocks->lock);
    stats->cache_hits = blocks->n_hits;
    stats->cache_misses = blocks->n_misses;
}
