/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* cacheindex.h - which blocks are on the disk, least recently used last; memory only, no lock */
#ifndef FILES_CACHEINDEX_H
#define FILES_CACHEINDEX_H

#include "files/cachefile.h"

#define CACHEINDEX_FILES 1024 /* buckets for files */

/* One version of one object. */
struct cachedfile {
    struct cachedfile *next; /* chain of its bucket */
    char name[CACHEFILE_NAME];
    char *key, *etag; /* owned */
    uint64_t size, seed;
    uint64_t n_blocks; /* of them in the index */
};

struct cachedblock {
    struct cachedblock *next; /* chain of its bucket */
    struct cachedblock *newer, *older;
    struct cachedfile *file;
    uint64_t no;
    uint32_t sum;
};

struct cacheindex {
    struct cachedfile *files[CACHEINDEX_FILES];
    struct cachedblock **buckets;
    size_t n_buckets, n_blocks;
    struct cachedblock *newest, *oldest;
    uint64_t bytes; /* of all blocks */
};

int cacheindex_init(struct cacheindex *index); /* 0, or -1 without memory */
void cacheindex_clear(struct cacheindex *index);

struct cachedfile *cacheindex_file(struct cacheindex *index, const char *name);
bool cachedfile_is(const struct cachedfile *file, const struct version *version);
struct cachedfile *cacheindex_add_file(
    struct cacheindex *index, const struct version *version, uint64_t seed
);
/* With all its blocks. */
void cacheindex_remove_file(struct cacheindex *index, struct cachedfile *file);

struct cachedblock *cacheindex_find(
    struct cacheindex *index, const struct cachedfile *file, uint64_t no
);
bool cacheindex_add(struct cacheindex *index, struct cachedfile *file, uint64_t no, uint32_t sum);
void cacheindex_touch(struct cacheindex *index, struct cachedblock *block); /* the newest now */
void cacheindex_remove(struct cacheindex *index, struct cachedblock *block);

#endif
