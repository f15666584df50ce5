/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>

#include "files/cacheindex.h"
#include "tap.h"

#define N_BLOCKS 5000 /* more than the table begins with, and than it first grows to */

static struct cacheindex cache_index;

static struct cachedfile *add_file(const char *key, uint64_t size) {
    return cacheindex_add_file(&cache_index, &(struct version){key, "e", size}, 1);
}

static unsigned n_found(const struct cachedfile *file) {
    unsigned n = 0;

    for (uint64_t no = 0; no < N_BLOCKS; no++) {
        const struct cachedblock *block = cacheindex_find(&cache_index, file, no);

        n += block && block->file == file && block->no == no && block->sum == (uint32_t)no * 7;
    }
    return n;
}

static void growing(void) {
    struct cachedfile *a = add_file("a", MIB(N_BLOCKS)), *b = add_file("b", MIB(N_BLOCKS) - 5);
    bool added = true;

    for (uint64_t no = 0; no < N_BLOCKS; no++) {
        added = added && cacheindex_add(&cache_index, a, no, (uint32_t)no * 7) &&
                cacheindex_add(&cache_index, b, no, (uint32_t)no * 7);
    }
    ok(added && n_found(a) == N_BLOCKS && n_found(b) == N_BLOCKS, "the index of many blocks grows");
    ok(cache_index.n_buckets >= cache_index.n_blocks / 2, "... so that it stays quick");
    is_int(
        (long long)cache_index.bytes,
        (long long)MIB(2 * N_BLOCKS) - 5,
        "each counts as long as it is"
    );

    cacheindex_touch(&cache_index, cacheindex_find(&cache_index, a, 0));
    ok(cache_index.newest->file == a && cache_index.newest->no == 0, "the last used is the newest");
    ok(cache_index.oldest->file == b && cache_index.oldest->no == 0, "... and the next the oldest");
    cacheindex_remove(&cache_index, cache_index.oldest);
    ok(!cacheindex_find(&cache_index, b, 0) && n_found(b) == N_BLOCKS - 1, "one goes");

    cacheindex_remove_file(&cache_index, a);
    is_int(n_found(b), N_BLOCKS - 1, "a file goes with its blocks, and no others");
    is_int((long long)cache_index.n_blocks, N_BLOCKS - 1, "... which is counted");
    cacheindex_remove_file(&cache_index, b);
    is_int((long long)cache_index.bytes, 0, "with the last, none is left");
    ok(!cache_index.oldest && !cache_index.newest, "... in any order");
}

static void many_files(void) {
    struct version version = {.etag = "e", .size = 3};
    char key[16], name[CACHEFILE_NAME];
    unsigned n = 0;

    for (int i = 0; i < 3 * CACHEINDEX_FILES; i++) {
        snprintf(key, sizeof(key), "f%d", i);
        cacheindex_add(&cache_index, add_file(key, 3), 0, 1);
    }
    for (int i = 0; i < 3 * CACHEINDEX_FILES; i++) {
        struct cachedfile *file;

        snprintf(key, sizeof(key), "f%d", i);
        version.key = key;
        cachefile_name(&version, name);
        file = cacheindex_file(&cache_index, name);
        n += file && cachedfile_is(file, &version);
        if (file && i % 3 == 0)
            cacheindex_remove_file(&cache_index, file);
    }
    is_int(n, 3 * CACHEINDEX_FILES, "more files than buckets are all found");
    is_int((long long)cache_index.n_blocks, 2 * CACHEINDEX_FILES, "... and go from between others");
}

int main(void) {
    is_int(cacheindex_init(&cache_index), 0, "an index");
    growing();
    many_files();
    cacheindex_clear(&cache_index);
    ok(!cache_index.buckets && !cache_index.bytes, "cleared, it has nothing");
    return done_testing();
}
