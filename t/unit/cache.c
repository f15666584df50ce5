/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "files/cache.h"
#include "tap.h"

static char folder[256];
static unsigned char block[CACHE_BLOCK], got[CACHE_BLOCK];

static void fill(unsigned seed, uint64_t no) {
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (unsigned char)(i * 13 + (i >> 9) + seed * 101 + no * 17);
}

static void put(struct cache *cache, const struct version *version, unsigned seed, uint64_t no) {
    fill(seed, no);
    cache_put(cache, version, no, block);
}

static bool get(struct cache *cache, const struct version *version, unsigned seed, uint64_t no) {
    memset(got, 0, sizeof(got));
    if (!cache_get(cache, version, no, got))
        return false;
    fill(seed, no);
    return memcmp(got, block, cachefile_block_len(version->size, no)) == 0;
}

/* The only file there, for breaking it. */
static void only_file(char path[600]) {
    DIR *dir = opendir(folder);
    struct dirent *entry;

    path[0] = '\0';
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] != '.')
            snprintf(path, 600, "%s/%s", folder, entry->d_name);
    }
    closedir(dir);
}

static void clear_folder(void) {
    char path[600];

    for (only_file(path); *path; only_file(path))
        unlink(path);
}

static void keeping(void) {
    struct version v1 = {"template/iso/a.iso", "e1", MIB(3) + 5};
    struct version v2 = {"template/iso/a.iso", "e2", MIB(3) + 5};
    struct cache *cache = cache_open(folder, MIB(64));

    ok(cache, "a cache opens in an empty folder");
    ok(!get(cache, &v1, 1, 0), "nothing is there at first");
    put(cache, &v1, 1, 2);
    put(cache, &v1, 1, 3);
    ok(get(cache, &v1, 1, 2), "a block comes back");
    ok(get(cache, &v1, 1, 3), "... also the short one at the end");
    ok(!get(cache, &v1, 1, 1), "its neighbour is not there");
    ok(!get(cache, &v2, 1, 2), "another version does not get it");
    is_int((long long)cache_bytes(cache), (long long)MIB(1) + 5, "bytes are counted");
    cache_close(cache);

    cache = cache_open(folder, MIB(64));
    ok(get(cache, &v1, 1, 2), "it survives a restart");
    ok(get(cache, &v1, 1, 3), "... all of it");
    is_int((long long)cache_bytes(cache), (long long)MIB(1) + 5, "... and the count");
    cache_close(cache);
}

static void room(void) {
    struct version v = {"big", "e", MIB(100)};
    struct cache *cache;
    struct stat st;
    char path[600];
    unsigned n = 0;

    clear_folder();
    cache = cache_open(folder, MIB(4));
    for (uint64_t no = 0; no < 4; no++)
        put(cache, &v, 1, no);
    ok(get(cache, &v, 1, 0), "the first is used again");
    put(cache, &v, 1, 50);
    put(cache, &v, 1, 51);
    is_int((long long)cache_bytes(cache), (long long)MIB(4), "never more than its size");
    ok(get(cache, &v, 1, 0), "what was used lately stays");
    ok(!get(cache, &v, 1, 1) && !get(cache, &v, 1, 2), "what was not goes");
    ok(get(cache, &v, 1, 50) && get(cache, &v, 1, 51), "for what came");
    only_file(path);
    stat(path, &st);
    ok(st.st_blocks * 512 < (long long)MIB(5), "and its space on the disk is given back");

    cache_set_size(cache, MIB(1));
    for (uint64_t no = 0; no < 100; no++)
        n += get(cache, &v, 1, no);
    is_int(n, 1, "a smaller size takes effect at once");
    cache_set_size(cache, 0);
    only_file(path);
    is_str(path, "", "with size 0 no file is left");
    put(cache, &v, 1, 0);
    ok(!get(cache, &v, 1, 0), "... and nothing is kept");
    cache_close(cache);
}

static void again(void) {
    struct version v = {"again", "e", MIB(4)};
    struct cache *cache;
    unsigned n = 0;

    clear_folder();
    cache = cache_open(folder, MIB(4));
    for (uint64_t no = 0; no < 4; no++)
        put(cache, &v, 1, no);
    put(cache, &v, 1, 3);
    for (uint64_t no = 0; no < 4; no++)
        n += get(cache, &v, 1, no);
    is_int(n, 4, "what is there already needs no room when it comes again");
    is_int((long long)cache_yield(cache, MIB(2)), (long long)MIB(2), "two are given up");
    ok(!get(cache, &v, 1, 0) && !get(cache, &v, 1, 1), "... the oldest");
    is_int((long long)cache_yield(cache, MIB(9)), (long long)MIB(2), "more than there is: all");
    is_int((long long)cache_yield(cache, 1), 0, "... and then none");
    is_int((long long)cache_yield(NULL, 1), 0, "no cache has none to give");
    cache_close(cache);
}

static void vanished(void) {
    struct version v = {"k", "e", MIB(3)};
    struct cache *cache;

    clear_folder();
    cache = cache_open(folder, MIB(8));
    put(cache, &v, 1, 0);
    clear_folder();
    ok(!get(cache, &v, 1, 0), "somebody clears the folder: a miss");
    put(cache, &v, 1, 1);
    put(cache, &v, 1, 2);
    ok(get(cache, &v, 1, 2), "... and soon the file is kept again");
    put(cache, &v, 1, 0);
    ok(get(cache, &v, 1, 0), "... with the block that was lost");
    cache_close(cache);
}

static void reopen_after(void (*damage)(const char *path), const char *what) {
    struct version v = {"k", "e", MIB(2)};
    struct cache *cache;
    char path[600];

    clear_folder();
    cache = cache_open(folder, MIB(64));
    put(cache, &v, 1, 0);
    put(cache, &v, 1, 1);
    cache_close(cache);
    only_file(path);
    damage(path);
    cache = cache_open(folder, MIB(64));
    ok(!get(cache, &v, 1, 1), "%s is a miss", what);
    put(cache, &v, 1, 1);
    ok(get(cache, &v, 1, 1), "... and can be put again");
    cache_close(cache);
}

static void flip(const char *path, off_t offset) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    unsigned char c = 0;

    if (pread(fd, &c, 1, offset) == 1) {
        c ^= 0x40;
        ok(pwrite(fd, &c, 1, offset) == 1, "(one bit is flipped)");
    }
    close(fd);
}

static void flip_data(const char *path) {
    flip(path, 8192 + MIB(1) + 1234);
}

static void flip_index(const char *path) {
    flip(path, 4096 + 8);
}

static void flip_header(const char *path) {
    flip(path, 50);
}

static void cut_data(const char *path) {
    ok(truncate(path, 8192 + MIB(1) + 4096) == 0, "(cut in the block)");
}

static void cut_header(const char *path) {
    ok(truncate(path, 100) == 0, "(cut in the header)");
}

static void empty_file(const char *path) {
    ok(truncate(path, 0) == 0, "(cut to nothing)");
}

static void zero_data(const char *path) {
    static const unsigned char zeroes[4096];
    int fd = open(path, O_RDWR | O_CLOEXEC);

    ok(pwrite(fd, zeroes, 4096, 8192 + MIB(1) + 8192) == 4096, "(a page never written)");
    close(fd);
}

/* Block 0's bytes and sum in block 1's place: right for another, wrong here. */
static void swap_blocks(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint64_t entry;

    ok(pread(fd, got, sizeof(got), 8192) == (ssize_t)sizeof(got) &&
           pwrite(fd, got, sizeof(got), 8192 + MIB(1)) == (ssize_t)sizeof(got) &&
           pread(fd, &entry, 8, 4096) == 8 && pwrite(fd, &entry, 8, 4104) == 8,
       "(block 0 is put in place of 1)");
    close(fd);
}

static void damage(void) {
    reopen_after(flip_data, "a flipped bit in the data");
    reopen_after(flip_index, "a flipped bit in the index");
    reopen_after(flip_header, "a flipped bit in the header");
    reopen_after(cut_data, "a file cut in the block");
    reopen_after(cut_header, "a file cut in the header");
    reopen_after(empty_file, "an empty file");
    reopen_after(zero_data, "a page of zeroes in the block");
    reopen_after(swap_blocks, "a block in another's place");
}

static void strangers(void) {
    char path[600];
    struct cache *cache;
    int fd;

    clear_folder();
    snprintf(path, sizeof(path), "%s/note.txt", folder);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    cache = cache_open(folder, MIB(8));
    ok(access(path, F_OK) < 0, "a file that is none of the cache's is cleared away");
    cache_close(cache);
    ok(!cache_open("/proc/nowhere/cache", MIB(8)), "a folder that cannot be is no cache");
    ok(!cache_get(NULL, &(struct version){"k", "e", 5}, 0, got), "no cache has nothing");
    cache_put(NULL, &(struct version){"k", "e", 5}, 0, got);
    cache_close(NULL);
}

static void emptied(void) {
    struct version v = {"k", "e", MIB(8)};
    struct cache *cache;
    char path[600];

    clear_folder();
    cache = cache_open(folder, MIB(64));
    put(cache, &v, 1, 0);
    only_file(path);
    ok(truncate(path, 8192) == 0 && !get(cache, &v, 1, 0), "a file of one block, damaged, ...");
    only_file(path);
    is_str(path, "", "... goes with it");
    put(cache, &v, 1, 0);
    ok(get(cache, &v, 1, 0), "... and can come again");
    cache_close(cache);
}

/* Somebody removes the folder, alone or with the one it is in. */
static void removed(void) {
    struct version v = {"k", "e", MIB(3)};
    char above[256], within[300];
    struct cache *cache;
    struct stat st;

    snprintf(above, sizeof(above), "%s", folder);
    snprintf(within, sizeof(within), "%s/blocks", folder);
    clear_folder();
    snprintf(folder, sizeof(folder), "%.250s", within);
    cache = cache_open(folder, MIB(8));
    for (int i = 0; i < 2; i++) {
        struct version other = {i ? "second" : "first", "e", MIB(1)};

        put(cache, &v, 1, 0);
        put(cache, &v, 1, 1);
        ok(!cache_was_remade(cache), "a folder that is there is not made");
        clear_folder();
        rmdir(folder);
        if (i == 1)
            rmdir(above);
        ok(!get(cache, &v, 1, 0), "the folder is removed: a miss");
        put(cache, &other, 1, 0);
        ok(get(cache, &other, 1, 0), "... and it is made again for the next block");
        ok(cache_was_remade(cache), "... which is told");
        ok(!cache_was_remade(cache), "... once");
        is_int((long long)cache_bytes(cache), (long long)MIB(1), "what was there counts no longer");
        ok(stat(folder, &st) == 0 && (st.st_mode & 0777) == 0700, "it is nobody else's to read");
        put(cache, &v, 1, 0);
        ok(get(cache, &v, 1, 0), "what was lost comes again");
    }
    cache_close(cache);
    clear_folder();
    rmdir(folder);
    snprintf(folder, sizeof(folder), "%s", above);
}

/* Where the folder was there is something else, so that it cannot be made again. */
static void no_folder(void) {
    struct version v = {"k", "e", MIB(2)};
    struct cache *cache;

    clear_folder();
    cache = cache_open(folder, MIB(8));
    rmdir(folder);
    close(open(folder, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    put(cache, &v, 1, 0);
    ok(!get(cache, &v, 1, 0), "where nothing can be written, nothing is kept, and nothing fails");
    ok(!cache_was_remade(cache), "... nor is anything said to have been made");
    cache_close(cache);
    unlink(folder);
    mkdir(folder, 0700);
}

/* The disk takes no more in the middle of a block: the kernel cuts the write short. */
static void full_disk(void) {
    struct version v = {"k", "e", MIB(20)};
    struct rlimit before, small = {MIB(3), MIB(3)};
    struct cache *cache;

    clear_folder();
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    cache = cache_open(folder, MIB(64));
    put(cache, &v, 1, 0);
    setrlimit(RLIMIT_FSIZE, &small);
    put(cache, &v, 1, 2);
    put(cache, &v, 1, 10);
    ok(!get(cache, &v, 1, 2), "a block that was cut short is a miss");
    ok(!get(cache, &v, 1, 10), "... and so is one that could not be written at all");
    ok(get(cache, &v, 1, 0), "what was there before still is");
    is_int((long long)cache_bytes(cache), (long long)MIB(1), "... and counts alone");
    setrlimit(RLIMIT_FSIZE, &before);
    put(cache, &v, 1, 3);
    ok(!get(cache, &v, 1, 3), "for a while nothing more is tried");
    cache_close(cache);
    cache = cache_open(folder, MIB(64));
    ok(get(cache, &v, 1, 0) && !get(cache, &v, 1, 2), "a restart finds no more than that");
    cache_close(cache);
}

int main(void) {
    snprintf(folder, sizeof(folder), "%s/s3pve-cache-XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(folder))
        return 1;
    keeping();
    room();
    again();
    vanished();
    damage();
    strangers();
    emptied();
    removed();
    no_folder();
    full_disk();
    clear_folder();
    rmdir(folder);
    return done_testing();
}
