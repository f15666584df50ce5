/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "files/cacheindex.h"

#define FIRST_BUCKETS 1024

static uint64_t mix(uint64_t h) {
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdull;
    return h ^ h >> 29;
}

static struct cachedfile **file_bucket(struct cacheindex *index, const char *name) {
    return &index->files
                [(strtoul((char[9]){name[0], name[1], name[2], name[3], 0}, NULL, 16)) %
                 CACHEINDEX_FILES];
}

struct cachedfile *cacheindex_file(struct cacheindex *index, const char *name) {
    struct cachedfile *file = *file_bucket(index, name);

    while (file && strcmp(file->name, name) != 0)
        file = file->next;
    return file;
}

bool cachedfile_is(const struct cachedfile *file, const struct version *version) {
    return file->size == version->size && strcmp(file->etag, version->etag) == 0 &&
           strcmp(file->key, version->key) == 0;
}

static struct cachedblock **block_bucket(
    struct cacheindex *index, const struct cachedfile *file, uint64_t no
) {
    return &index->buckets[mix((uintptr_t)file ^ mix(no)) & (index->n_buckets - 1)];
}

struct cachedblock *cacheindex_find(
    struct cacheindex *index, const struct cachedfile *file, uint64_t no
) {
    struct cachedblock *block = *block_bucket(index, file, no);

    while (block && (block->file != file || block->no != no))
        block = block->next;
    return block;
}

static void lru_remove(struct cacheindex *index, struct cachedblock *block) {
    if (block->newer)
        block->newer->older = block->older;
    else
        index->newest = block->older;
    if (block->older)
        block->older->newer = block->newer;
    else
        index->oldest = block->newer;
}

static void lru_add(struct cacheindex *index, struct cachedblock *block) {
    block->newer = NULL;
    block->older = index->newest;
    if (index->newest)
        index->newest->newer = block;
    else
        index->oldest = block;
    index->newest = block;
}

static void grow_table(struct cacheindex *index) {
    struct cachedblock **buckets, **old = index->buckets;
    size_t n_old = index->n_buckets;

    if (index->n_blocks < n_old)
        return;
    buckets = calloc(n_old * 2, sizeof(struct cachedblock *));
    if (!buckets)
        return;
    index->buckets = buckets;
    index->n_buckets = n_old * 2;
    for (size_t i = 0; i < n_old; i++) {
        for (struct cachedblock *block = old[i], *next; block; block = next) {
            struct cachedblock **bucket = block_bucket(index, block->file, block->no);

            next = block->next;
            block->next = *bucket;
            *bucket = block;
        }
    }
    free(old);
}

bool cacheindex_add(struct cacheindex *index, struct cachedfile *file, uint64_t no, uint32_t sum) {
    struct cachedblock *block = calloc(1, sizeof(*block)), **bucket;

    if (!block)
        return false;
    grow_table(index);
    *block = (struct cachedblock){.file = file, .no = no, .sum = sum};
    bucket = block_bucket(index, file, no);
    block->next = *bucket;
    *bucket = block;
    lru_add(index, block);
    index->n_blocks++;
    index->bytes += cachefile_block_len(file->size, no);
    file->n_blocks++;
    return true;
}

void cacheindex_remove(struct cacheindex *index, struct cachedblock *block) {
    struct cachedblock **p = block_bucket(index, block->file, block->no);

    while (*p != block)
        p = &(*p)->next;
    *p = block->next;
    lru_remove(index, block);
    index->n_blocks--;
    index->bytes -= cachefile_block_len(block->file->size, block->no);
    block->file->n_blocks--;
    free(block);
}

static void file_free(struct cachedfile *file) {
    free(file->key);
    free(file->etag);
    free(file);
}

struct cachedfile *cacheindex_add_file(
    struct cacheindex *index, const struct version *version, uint64_t seed
) {
    struct cachedfile *file = calloc(1, sizeof(*file)), **bucket;

    if (!file)
        return NULL;
    *file = (struct cachedfile){.size = version->size, .seed = seed};
    cachefile_name(version, file->name);
    file->key = strdup(version->key);
    file->etag = strdup(version->etag);
    if (!file->key || !file->etag) {
        file_free(file);
        return NULL;
    }
    bucket = file_bucket(index, file->name);
    file->next = *bucket;
    *bucket = file;
    return file;
}

void cacheindex_remove_file(struct cacheindex *index, struct cachedfile *file) {
    struct cachedfile **p = file_bucket(index, file->name);

    for (uint64_t no = 0; file->n_blocks && no < cachefile_n_blocks(file->size); no++) {
        struct cachedblock *block = cacheindex_find(index, file, no);

        if (block)
            cacheindex_remove(index, block);
    }
    while (*p != file)
        p = &(*p)->next;
    *p = file->next;
    file_free(file);
}

void cacheindex_touch(struct cacheindex *index, struct cachedblock *block) {
    lru_remove(index, block);
    lru_add(index, block);
}

int cacheindex_init(struct cacheindex *index) {
    *index = (struct cacheindex){.n_buckets = FIRST_BUCKETS};
    index->buckets = calloc(FIRST_BUCKETS, sizeof(struct cachedblock *));
    return index->buckets ? 0 : -1;
}

void cacheindex_clear(struct cacheindex *index) {
    while (index->oldest)
        cacheindex_remove(index, index->oldest);
    for (size_t i = 0; i < CACHEINDEX_FILES; i++) {
        for (struct cachedfile *file = index->files[i], *next; file; file = next) {
            next = file->next;
            file_free(file);
        }
    }
    free(index->buckets);
    *index = (struct cacheindex){0};
}
