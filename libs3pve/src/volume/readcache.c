/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "volume/readcache.h"

#define LINE_BYTES ((size_t)READ_LINE * BLOCK)
#define PAUSE_MS 60000 /* without writing, after the disk refused */
#define NONE UINT32_MAX

/* A place in the file.  Chained where its key is, while it has one. */
struct slot {
    struct readcache_key key;
    uint32_t sums[READ_LINE];
    uint32_t next;
    uint8_t n; /* blocks of it that are there */
    bool used, busy, recent;
};

/* What of it is in the index file, at its number; and which program wrote it. */
struct entry {
    struct readcache_key key;
    uint32_t sums[READ_LINE];
    uint32_t n, check;
};

#define ENTRY_SEED 1u /* another one where entries look different */
#define ENTRIES 512u  /* read at once */

struct readcache {
    int fd, index;
    bool in_memory;
    uint32_t n_slots, n_heads;

    pthread_mutex_t lock; /* guards everything below */
    struct slot *slots;   /* owned */
    uint32_t *heads;      /* owned; the first slot of each chain */
    uint32_t hand, n_used;
    int64_t paused_until_ms;
    uint64_t hits, misses;
};

static uint32_t *head_of(struct readcache *cache, const struct readcache_key *key) {
    uint64_t hash = key->volume ^ key->segment.seq * 0x9e3779b97f4a7c15u;

    hash ^= (uint64_t)key->segment.nonce << 32 | key->segment.epoch;
    hash = (hash + key->line) * 0xbf58476d1ce4e5b9u;
    return &cache->heads[(hash ^ hash >> 32) % cache->n_heads];
}

static bool same(const struct readcache_key *a, const struct readcache_key *b) {
    return a->volume == b->volume && a->segment.seq == b->segment.seq && a->line == b->line &&
           a->segment.nonce == b->segment.nonce && a->segment.epoch == b->segment.epoch;
}

static uint32_t find(struct readcache *cache, const struct readcache_key *key) {
    uint32_t i = *head_of(cache, key);

    while (i != NONE && !same(&cache->slots[i].key, key))
        i = cache->slots[i].next;
    return i;
}

static void unlink_slot(struct readcache *cache, uint32_t i) {
    uint32_t *at = head_of(cache, &cache->slots[i].key);

    while (*at != i)
        at = &cache->slots[*at].next;
    *at = cache->slots[i].next;
    cache->slots[i].used = false;
    cache->n_used--;
}

static void link_slot(struct readcache *cache, uint32_t i) {
    uint32_t *head = head_of(cache, &cache->slots[i].key);

    cache->slots[i].next = *head;
    cache->slots[i].used = true;
    *head = i;
    cache->n_used++;
}

/* ------------------------------------------------------------------ opening */

static int open_file(const char *path) {
    return path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)
                : memfd_create("s3pve-readcache", MFD_CLOEXEC);
}

static int open_index(const char *path) {
    char name[4096];

    if (!path || snprintf(name, sizeof(name), "%s.index", path) >= (int)sizeof(name))
        return -1;
    return open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static uint32_t check_of(const struct entry *entry) {
    return crc32c(ENTRY_SEED, entry, offsetof(struct entry, check));
}

/* That it fails is of no consequence: then it has sums that the bytes do not have. */
static void note(const struct readcache *cache, uint32_t i, const struct slot *slot) {
    struct entry entry = {.key = slot->key, .n = slot->n};
    ssize_t n = 0;

    memcpy(entry.sums, slot->sums, sizeof(entry.sums));
    entry.check = check_of(&entry);
    if (cache->index >= 0)
        n = pwrite(cache->index, &entry, sizeof(entry), (off_t)(i * sizeof(entry)));
    (void)n;
}

static void take_over(struct readcache *cache, uint32_t i, const struct entry *entry) {
    struct slot *slot = &cache->slots[i];

    if (entry->check != check_of(entry) || !entry->n || entry->n > READ_LINE ||
        find(cache, &entry->key) != NONE)
        return;
    slot->key = entry->key;
    slot->n = (uint8_t)entry->n;
    memcpy(slot->sums, entry->sums, sizeof(slot->sums));
    link_slot(cache, i);
}

/* What an earlier process left.  Nothing was synced: what is not as the index says is a miss. */
static void load(struct readcache *cache) {
    _free_ struct entry *entries = calloc(ENTRIES, sizeof(*entries));
    uint32_t i = 0;
    ssize_t n = 1;

    while (entries && cache->index >= 0 && i < cache->n_slots && n > 0) {
        n = pread(cache->index, entries, ENTRIES * sizeof(*entries), (off_t)(i * sizeof(*entries)));
        n /= (ssize_t)sizeof(*entries);
        for (ssize_t k = 0; k < n && i < cache->n_slots; k++, i++)
            take_over(cache, i, &entries[k]);
    }
}

/* The last of the file system is not ours. */
static uint64_t fitting(int fd, uint64_t size) {
    struct statvfs fs;
    struct stat st;
    uint64_t free_bytes, kept;

    if (fstatvfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
        return size;
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize + (uint64_t)st.st_blocks * 512;
    kept = (uint64_t)fs.f_blocks / 100 * CACHE_KEEP_FREE_PCT * fs.f_frsize;
    if (free_bytes < kept)
        return 0;
    return size < free_bytes - kept ? size : free_bytes - kept;
}

struct readcache *readcache_open(const char *path, uint64_t size) {
    struct readcache *cache = calloc(1, sizeof(*cache));
    uint64_t n;

    if (!cache)
        return NULL;
    cache->in_memory = path == NULL;
    cache->fd = open_file(path);
    cache->index = open_index(path);
    n = (path && cache->fd >= 0 ? fitting(cache->fd, size) : size) / LINE_BYTES;
    pthread_mutex_init(&cache->lock, NULL);
    cache->n_slots = cache->n_heads = n < 1 ? 1 : n < NONE ? (uint32_t)n : NONE - 1;
    cache->slots = calloc(cache->n_slots, sizeof(*cache->slots));
    cache->heads = malloc(cache->n_heads * sizeof(*cache->heads));
    if (!cache->slots || !cache->heads || cache->fd < 0 ||
        ftruncate(cache->fd, (off_t)(cache->n_slots * (uint64_t)LINE_BYTES)) < 0)
        return readcache_close(cache);
    memset(cache->heads, 0xff, cache->n_heads * sizeof(*cache->heads)); /* NONE */
    load(cache);
    return cache;
}

struct readcache *readcache_close(struct readcache *cache) {
    if (!cache)
        return NULL;
    if (cache->fd >= 0)
        close(cache->fd);
    if (cache->index >= 0)
        close(cache->index);
    free(cache->slots);
    free(cache->heads);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
    return NULL;
}

/* ------------------------------------------------------------------ reading */

/* Which slot has the blocks, and their sums; NONE. */
static uint32_t look_up(
    struct readcache *cache,
    const struct readcache_key *key,
    uint32_t first,
    uint32_t n,
    uint32_t sums[READ_LINE]
) {
    LOCK_SCOPE(&cache->lock);
    uint32_t i = find(cache, key);

    if (i == NONE || first + n > cache->slots[i].n) {
        cache->misses++;
        return NONE;
    }
    cache->slots[i].recent = true;
    cache->hits++;
    memcpy(sums, cache->slots[i].sums + first, n * sizeof(*sums));
    return i;
}

/* One that is damaged, unless it has become another's meanwhile. */
static void forget(struct readcache *cache, const struct readcache_key *key) {
    LOCK_SCOPE(&cache->lock);
    uint32_t i = find(cache, key);

    if (i != NONE)
        unlink_slot(cache, i);
}

enum readcache_found readcache_get(
    struct readcache *cache,
    const struct readcache_key *key,
    uint32_t first,
    uint32_t n,
    void *data,
    bool may_wait
) {
    uint32_t sums[READ_LINE], i = look_up(cache, key, first, n, sums);
    size_t len = (size_t)n * BLOCK;
    struct iovec iov = {data, len};
    off_t at = (off_t)((uint64_t)i * LINE_BYTES + (uint64_t)first * BLOCK);

    if (i == NONE)
        return READCACHE_MISS;
    if (preadv2(cache->fd, &iov, 1, at, may_wait || cache->in_memory ? 0 : RWF_NOWAIT) !=
        (ssize_t)len) {
        if (!may_wait)
            return READCACHE_WOULD_WAIT;
        forget(cache, key);
        return READCACHE_MISS;
    }
    for (uint32_t b = 0; b < n; b++)
        if (crc32c(0, (uint8_t *)data + (size_t)b * BLOCK, BLOCK) != sums[b]) {
            forget(cache, key);
            return READCACHE_MISS;
        }
    return READCACHE_HIT;
}

bool readcache_has(struct readcache *cache, const struct readcache_key *key, uint32_t n_blocks) {
    LOCK_SCOPE(&cache->lock);
    uint32_t i = find(cache, key);

    return i != NONE && cache->slots[i].n >= n_blocks;
}

/* ------------------------------------------------------------------ writing */

/* A slot to write to, which nobody finds until it is linked; NONE: not now. */
static uint32_t take_slot(struct readcache *cache, const struct readcache_key *key, uint32_t n) {
    LOCK_SCOPE(&cache->lock);
    uint32_t old = find(cache, key);

    if (clock_monotonic_ms() < cache->paused_until_ms)
        return NONE;
    if (old != NONE && cache->slots[old].n >= n)
        return NONE; /* it is there */
    if (old != NONE)
        unlink_slot(cache, old);
    for (uint64_t tries = 0; tries < 2 * (uint64_t)cache->n_slots; tries++) {
        uint32_t i = cache->hand;
        struct slot *slot = &cache->slots[i];

        cache->hand = (i + 1) % cache->n_slots;
        if (slot->busy)
            continue;
        if (slot->used && slot->recent) {
            slot->recent = false;
            continue;
        }
        if (slot->used)
            unlink_slot(cache, i);
        slot->busy = true;
        return i;
    }
    return NONE;
}

static void give_slot(
    struct readcache *cache, uint32_t i, const struct slot *filled, bool written
) {
    LOCK_SCOPE(&cache->lock);
    struct slot *slot = &cache->slots[i];

    slot->busy = false;
    if (!written)
        cache->paused_until_ms = clock_monotonic_ms() + PAUSE_MS;
    if (!written || find(cache, &filled->key) != NONE)
        return;
    *slot = *filled;
    link_slot(cache, i);
}

void readcache_put(
    struct readcache *cache, const struct readcache_key *key, const void *data, uint32_t n
) {
    uint32_t i = take_slot(cache, key, n);
    struct slot filled = {.key = *key, .n = (uint8_t)n};
    size_t len = (size_t)n * BLOCK;
    bool written;

    if (i == NONE)
        return;
    for (uint32_t b = 0; b < n; b++)
        filled.sums[b] = crc32c(0, (const uint8_t *)data + (size_t)b * BLOCK, BLOCK);
    written = pwrite(cache->fd, data, len, (off_t)((uint64_t)i * LINE_BYTES)) == (ssize_t)len;
    if (written)
        note(cache, i, &filled);
    give_slot(cache, i, &filled, written);
}

void readcache_stats(struct readcache *cache, struct readcache_stats *ret) {
    LOCK_SCOPE(&cache->lock);

    *ret = (struct readcache_stats){
        .size = cache->n_slots * (uint64_t)LINE_BYTES,
        .bytes = cache->n_used * (uint64_t)LINE_BYTES,
        .hits = cache->hits,
        .misses = cache->misses,
    };
}
