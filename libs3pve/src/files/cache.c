/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * cache.c - blocks go in and out
 *
 * The lock is not held while the disk works, but for making a new file.  A block dropped while
 * somebody reads it fails its sum, which is a miss.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "files/cache.h"
#include "files/cacheindex.h"

#define PAUSE_MS 60000 /* without writing, after the disk was full */
#define SPACE_EVERY 32 /* blocks written between two looks at the free space */

struct cache {
    char *path; /* owned */
    int folder; /* always the same number */

    pthread_mutex_t lock; /* guards everything below */
    struct cacheindex index;
    uint64_t size;
    int64_t paused_until_ms;
    unsigned until_look; /* blocks */
    bool is_tight;       /* the file system is nearly full: grow no more */
    bool cannot_punch;
    bool was_remade;
};

/* ---------------------------------------------------------------- making room */

/* What is to be done on the disk once the lock is free. */
struct victim {
    char name[CACHEFILE_NAME];
    uint64_t size, no;
    bool whole_file;
};

/* Takes the oldest block out of the index.  Return: false when there is none. */
static bool choose_victim(struct cache *cache, struct victim *ret_victim) {
    struct cachedblock *block = cache->index.oldest;
    struct cachedfile *file;

    if (!block)
        return false;
    file = block->file;
    *ret_victim = (struct victim){.size = file->size, .no = block->no};
    memcpy(ret_victim->name, file->name, sizeof(ret_victim->name));
    cacheindex_remove(&cache->index, block);
    if (cache->cannot_punch || file->n_blocks == 0) {
        ret_victim->whole_file = true;
        cacheindex_remove_file(&cache->index, file);
    }
    return true;
}

static void drop_victim(struct cache *cache, const struct victim *victim) {
    int rc = 0;

    if (victim->whole_file)
        unlinkat(cache->folder, victim->name, 0);
    else
        rc = cachefile_drop(cache->folder, victim->name, victim->size, victim->no);
    if (rc == -EOPNOTSUPP) {
        LOCK_SCOPE(&cache->lock);
        cache->cannot_punch = true;
    }
}

/* Until @more bytes fit; on a file system that is nearly full, one goes for each that comes.
 * Return: false when they never will. */
static bool make_room(struct cache *cache, uint64_t more) {
    struct victim victim;
    bool one_for_one = true, found = true;

    while (found) {
        pthread_mutex_lock(&cache->lock);
        one_for_one = one_for_one && more && cache->is_tight;
        if (cache->index.bytes + more <= cache->size && !one_for_one) {
            pthread_mutex_unlock(&cache->lock);
            return true;
        }
        one_for_one = false;
        found = choose_victim(cache, &victim);
        pthread_mutex_unlock(&cache->lock);
        if (found)
            drop_victim(cache, &victim);
    }
    return false;
}

static void look_at_space(struct cache *cache) {
    struct statvfs fs;
    bool due;

    pthread_mutex_lock(&cache->lock);
    due = cache->until_look == 0 || cache->is_tight;
    cache->until_look = due ? SPACE_EVERY : cache->until_look - 1;
    pthread_mutex_unlock(&cache->lock);
    if (!due || fstatvfs(cache->folder, &fs) < 0)
        return;
    LOCK_SCOPE(&cache->lock);
    cache->is_tight = fs.f_bavail < fs.f_blocks / 100 * CACHE_KEEP_FREE_PCT;
}

/* ---------------------------------------------------------------- taking over what is there */

struct scan {
    struct cache *cache;
    struct cachedfile *file;
};

static void scan_block(
    void *ctx, const struct cachefile_header *header, uint64_t no, uint32_t sum
) {
    struct scan *scan = ctx;
    struct version version = {header->key, header->etag, header->size};

    if (!scan->file)
        scan->file = cacheindex_add_file(&scan->cache->index, &version, header->seed);
    if (scan->file)
        cacheindex_add(&scan->cache->index, scan->file, no, sum);
}

struct found {
    char name[CACHEFILE_NAME];
    int64_t mtime_s;
};

static int by_age(const void *a, const void *b) {
    const struct found *x = a, *y = b;

    return (x->mtime_s > y->mtime_s) - (x->mtime_s < y->mtime_s);
}

static struct found *list_folder(struct cache *cache, size_t *ret_n) {
    struct found *found = NULL;
    size_t n = 0, room = 0;
    int fd = openat(cache->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    struct stat st;

    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= CACHEFILE_NAME ||
            fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (n == room) {
            struct found *more = realloc(found, (room ? room * 2 : 64) * sizeof(*found));

            if (!more)
                break;
            found = more;
            room = room ? room * 2 : 64;
        }
        found[n].mtime_s = st.st_mtime;
        memcpy(found[n++].name, entry->d_name, strlen(entry->d_name) + 1);
    }
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    *ret_n = n;
    return found;
}

static void take_over(struct cache *cache) {
    size_t n = 0;
    _free_ struct found *found = list_folder(cache, &n);

    if (n)
        qsort(found, n, sizeof(*found), by_age);
    for (size_t i = 0; i < n; i++) {
        struct scan scan = {.cache = cache};
        struct cachefile_header header;

        if (cachefile_scan(cache->folder, found[i].name, &header, scan_block, &scan) < 0 ||
            !scan.file || strcmp(scan.file->name, found[i].name) != 0) {
            if (scan.file)
                cacheindex_remove_file(&cache->index, scan.file);
            unlinkat(cache->folder, found[i].name, 0);
        }
    }
    make_room(cache, 0);
}

/* ---------------------------------------------------------------- the face */

/* Return: a descriptor, or -1. */
static int open_folder(const char *path) {
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return -1;
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

struct cache *cache_open(const char *folder, uint64_t size) {
    struct cache *cache = calloc(1, sizeof(*cache));

    if (!cache)
        return NULL;
    pthread_mutex_init(&cache->lock, NULL);
    cache->size = size;
    cache->folder = open_folder(folder);
    cache->path = strdup(folder);
    if (cache->folder < 0 || !cache->path || cacheindex_init(&cache->index) < 0)
        return cache_close(cache);
    take_over(cache);
    return cache;
}

struct cache *cache_close(struct cache *cache) {
    if (!cache)
        return NULL;
    cacheindex_clear(&cache->index);
    if (cache->folder >= 0)
        close(cache->folder);
    free(cache->path);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
    return NULL;
}

void cache_set_size(struct cache *cache, uint64_t size) {
    if (!cache)
        return;
    pthread_mutex_lock(&cache->lock);
    cache->size = size;
    pthread_mutex_unlock(&cache->lock);
    make_room(cache, 0);
}

uint64_t cache_yield(struct cache *cache, uint64_t bytes) {
    struct victim victim;
    uint64_t given = 0;
    bool found = cache != NULL;

    while (found && given < bytes) {
        pthread_mutex_lock(&cache->lock);
        given += cache->index.bytes;
        found = choose_victim(cache, &victim);
        given -= cache->index.bytes;
        cache->is_tight = true;
        pthread_mutex_unlock(&cache->lock);
        if (found)
            drop_victim(cache, &victim);
    }
    return given;
}

bool cache_has(struct cache *cache, const struct version *version, uint64_t no) {
    char name[CACHEFILE_NAME];
    struct cachedfile *file;

    if (!cache)
        return false;
    cachefile_name(version, name);
    LOCK_SCOPE(&cache->lock);
    file = cacheindex_file(&cache->index, name);
    return file && cachedfile_is(file, version) && cacheindex_find(&cache->index, file, no);
}

/* Where a block is, and what its sum must be; it becomes the newest. */
static bool look_up(
    struct cache *cache,
    const struct version *version,
    const char *name,
    uint64_t no,
    struct cachedblock *ret_block,
    uint64_t *ret_seed
) {
    struct cachedfile *file;
    struct cachedblock *block;

    LOCK_SCOPE(&cache->lock);
    file = cacheindex_file(&cache->index, name);
    if (!file || !cachedfile_is(file, version))
        return false;
    block = cacheindex_find(&cache->index, file, no);
    if (!block)
        return false;
    cacheindex_touch(&cache->index, block);
    *ret_block = *block;
    *ret_seed = file->seed;
    return true;
}

/* With the lock held: a file without blocks would never be chosen to go. */
static void drop_if_empty(struct cache *cache, const char *name) {
    struct cachedfile *file = cacheindex_file(&cache->index, name);

    if (!file || file->n_blocks)
        return;
    cacheindex_remove_file(&cache->index, file);
    unlinkat(cache->folder, name, 0);
}

static void forget(struct cache *cache, const char *name, uint64_t no) {
    struct cachedfile *file;
    struct cachedblock *block;

    LOCK_SCOPE(&cache->lock);
    file = cacheindex_file(&cache->index, name);
    block = file ? cacheindex_find(&cache->index, file, no) : NULL;
    if (block)
        cacheindex_remove(&cache->index, block);
    drop_if_empty(cache, name);
}

bool cache_get(struct cache *cache, const struct version *version, uint64_t no, void *buf) {
    char name[CACHEFILE_NAME];
    struct cachedblock block;
    uint64_t seed;

    if (!cache)
        return false;
    cachefile_name(version, name);
    if (!look_up(cache, version, name, no, &block, &seed))
        return false;
    if (cachefile_get(cache->folder, name, version->size, no, buf) &&
        cachefile_sum(seed, no, buf, cachefile_block_len(version->size, no)) == block.sum)
        return true;
    forget(cache, name, no);
    return false;
}

/* With the lock held: the file for @version, made anew when there is none or another's. */
static struct cachedfile *file_for(struct cache *cache, const struct version *version) {
    char name[CACHEFILE_NAME];
    struct cachedfile *file;
    uint64_t seed;

    cachefile_name(version, name);
    file = cacheindex_file(&cache->index, name);
    if (file && cachedfile_is(file, version))
        return file;
    if (file)
        cacheindex_remove_file(&cache->index, file);
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed) ||
        cachefile_create(cache->folder, name, version, seed) < 0)
        return NULL;
    return cacheindex_add_file(&cache->index, version, seed);
}

static bool is_removed(const struct cache *cache) {
    struct stat ours, there;

    return fstat(cache->folder, &ours) == 0 &&
           (stat(cache->path, &there) < 0 || there.st_dev != ours.st_dev ||
            there.st_ino != ours.st_ino);
}

/* With the lock held: a folder that somebody removed is made again, and the one that it is in.
 * Others may be using the descriptor.  Return: false when that is not what was wrong, or cannot be.
 */
static bool make_again(struct cache *cache) {
    _free_ char *above = strdup(cache->path);
    char *slash = above ? strrchr(above, '/') : NULL;
    int fd;

    if (!slash || !is_removed(cache))
        return false;
    *slash = '\0';
    mkdir(above, 0700);
    fd = open_folder(cache->path);
    if (fd < 0)
        return false;
    dup3(fd, cache->folder, O_CLOEXEC);
    close(fd);
    while (cache->index.oldest)
        cacheindex_remove_file(&cache->index, cache->index.oldest->file);
    return cache->was_remade = true;
}

static bool begin_put(
    struct cache *cache,
    const struct version *version,
    uint64_t no,
    char ret_name[CACHEFILE_NAME],
    uint64_t *ret_seed
) {
    struct cachedfile *file;

    LOCK_SCOPE(&cache->lock);
    if (clock_monotonic_ms() < cache->paused_until_ms)
        return false;
    file = file_for(cache, version);
    if (!file && make_again(cache))
        file = file_for(cache, version);
    if (!file) {
        cache->paused_until_ms = clock_monotonic_ms() + PAUSE_MS;
        return false;
    }
    if (cacheindex_find(&cache->index, file, no))
        return false;
    memcpy(ret_name, file->name, CACHEFILE_NAME);
    *ret_seed = file->seed;
    return true;
}

static void end_put(struct cache *cache, const struct version *version, uint64_t no, uint32_t sum) {
    char name[CACHEFILE_NAME];
    struct cachedfile *file;

    cachefile_name(version, name);
    LOCK_SCOPE(&cache->lock);
    file = cacheindex_file(&cache->index, name);
    if (file && cachedfile_is(file, version) && !cacheindex_find(&cache->index, file, no))
        cacheindex_add(&cache->index, file, no, sum);
}

/* Its file is gone: dropped in between, or the folder was cleared.  The next block makes another.
 */
static void forget_file(struct cache *cache, const char *name, uint64_t seed) {
    struct cachedfile *file;

    LOCK_SCOPE(&cache->lock);
    file = cacheindex_file(&cache->index, name);
    if (file && file->seed == seed)
        cacheindex_remove_file(&cache->index, file);
}

void cache_put(struct cache *cache, const struct version *version, uint64_t no, const void *data) {
    char name[CACHEFILE_NAME];
    uint64_t seed;
    uint32_t sum;
    size_t len;
    int rc;

    if (!cache || cache_has(cache, version, no)) /* before anything has to go for it */
        return;
    len = cachefile_block_len(version->size, no);
    look_at_space(cache);
    if (!make_room(cache, len) || !begin_put(cache, version, no, name, &seed))
        return;
    sum = cachefile_sum(seed, no, data, len);
    rc = cachefile_put(cache->folder, name, version->size, no, data, sum);
    if (rc == 0) {
        end_put(cache, version, no, sum);
        return;
    }
    if (rc == -ENOENT) {
        forget_file(cache, name, seed);
        return;
    }
    cachefile_drop(cache->folder, name, version->size, no);
    LOCK_SCOPE(&cache->lock);
    cache->paused_until_ms = clock_monotonic_ms() + PAUSE_MS;
    drop_if_empty(cache, name);
}

bool cache_was_remade(struct cache *cache) {
    bool was_remade;

    if (!cache)
        return false;
    LOCK_SCOPE(&cache->lock);
    was_remade = cache->was_remade;
    cache->was_remade = false;
    return was_remade;
}

uint64_t cache_bytes(struct cache *cache) {
    if (!cache)
        return 0;
    LOCK_SCOPE(&cache->lock);
    return cache->index.bytes;
}

uint64_t cache_size(struct cache *cache) {
    if (!cache)
        return 0;
    LOCK_SCOPE(&cache->lock);
    return cache->size;
}
