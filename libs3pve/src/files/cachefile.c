/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "files/cachefile.h"

#define HEADER_SIZE 4096
#define MAGIC "s3pveBC1"
#define PRESENT (1ull << 32)
#define INDEX_STEP 8192 /* entries read at once */

/* Little-endian; text is the key and the ETag, one after the other. */
struct disk_header {
    char magic[8];
    uint32_t sum; /* of all that follows */
    uint32_t block_size;
    uint64_t size;
    uint64_t seed;
    uint32_t key_len, etag_len;
    char text[HEADER_SIZE - 40];
};

_Static_assert(sizeof(struct disk_header) == HEADER_SIZE, "the header is a page");

static void close_fd(const int *fd) {
    if (*fd >= 0)
        close(*fd);
}

static uint64_t hash(uint64_t h, const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        h = (h ^ *p) * 0x100000001b3ull;
    return (h ^ 0xff) * 0x100000001b3ull;
}

void cachefile_name(const struct version *version, char ret_name[CACHEFILE_NAME]) {
    uint64_t a = hash(hash(0xcbf29ce484222325ull, version->key), version->etag);
    uint64_t b = hash(hash(a ^ 0x9e3779b97f4a7c15ull, version->etag), version->key);

    snprintf(
        ret_name, CACHEFILE_NAME, "%016llx%016llx.blk", (unsigned long long)a, (unsigned long long)b
    );
}

uint64_t cachefile_n_blocks(uint64_t size) {
    return (size + CACHE_BLOCK - 1) / CACHE_BLOCK;
}

size_t cachefile_block_len(uint64_t size, uint64_t no) {
    uint64_t left = size - no * CACHE_BLOCK;

    return left < CACHE_BLOCK ? (size_t)left : CACHE_BLOCK;
}

uint32_t cachefile_sum(uint64_t seed, uint64_t no, const void *data, size_t len) {
    uint64_t start[2] = {htole64(seed), htole64(no)};

    return crc32c(crc32c(0, start, sizeof(start)), data, len);
}

static off_t index_offset(uint64_t no) {
    return (off_t)(HEADER_SIZE + no * sizeof(uint64_t));
}

static off_t data_offset(uint64_t size, uint64_t no) {
    uint64_t begin = HEADER_SIZE + cachefile_n_blocks(size) * sizeof(uint64_t);

    return (off_t)((begin + 4095) / 4096 * 4096 + no * CACHE_BLOCK);
}

static uint32_t header_sum(const struct disk_header *header) {
    return crc32c(0, &header->block_size, HEADER_SIZE - offsetof(struct disk_header, block_size));
}

int cachefile_create(int folder, const char *name, const struct version *version, uint64_t seed) {
    struct disk_header header = {.magic = MAGIC};
    size_t key_len = strlen(version->key), etag_len = strlen(version->etag);
    _cleanup_(close_fd) int fd = -1;
    ssize_t n;

    if (key_len > LIMIT_KEY || etag_len > 128)
        return -ENAMETOOLONG;
    header.block_size = htole32(CACHE_BLOCK);
    header.size = htole64(version->size);
    header.seed = htole64(seed);
    header.key_len = htole32((uint32_t)key_len);
    header.etag_len = htole32((uint32_t)etag_len);
    memcpy(header.text, version->key, key_len);
    memcpy(header.text + key_len, version->etag, etag_len);
    header.sum = htole32(header_sum(&header));

    unlinkat(folder, name, 0);
    fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    n = pwrite(fd, &header, sizeof(header), 0);
    return n == sizeof(header) ? 0 : n < 0 ? -errno : -ENOSPC;
}

static int write_index(int fd, uint64_t no, uint64_t entry) {
    uint64_t disk = htole64(entry);
    ssize_t n = pwrite(fd, &disk, sizeof(disk), index_offset(no));

    return n == sizeof(disk) ? 0 : n < 0 ? -errno : -ENOSPC;
}

int cachefile_put(
    int folder, const char *name, uint64_t size, uint64_t no, const void *data, uint32_t sum
) {
    _cleanup_(close_fd) int fd = openat(folder, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    size_t len = cachefile_block_len(size, no);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = pwrite(fd, data, len, data_offset(size, no));
    if (n != (ssize_t)len)
        return n < 0 ? -errno : -ENOSPC;
    return write_index(fd, no, PRESENT | sum);
}

bool cachefile_get(int folder, const char *name, uint64_t size, uint64_t no, void *buf) {
    _cleanup_(close_fd) int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    size_t len = cachefile_block_len(size, no);

    return fd >= 0 && pread(fd, buf, len, data_offset(size, no)) == (ssize_t)len;
}

int cachefile_drop(int folder, const char *name, uint64_t size, uint64_t no) {
    _cleanup_(close_fd) int fd = openat(folder, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    write_index(fd, no, 0);
    if (fallocate(
            fd,
            FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            data_offset(size, no),
            (off_t)cachefile_block_len(size, no)
        ) < 0)
        return -errno;
    return 0;
}

static int read_header(int fd, struct cachefile_header *ret_header) {
    struct disk_header disk;
    uint32_t key_len, etag_len;

    if (pread(fd, &disk, sizeof(disk), 0) != sizeof(disk) ||
        memcmp(disk.magic, MAGIC, sizeof(disk.magic)) != 0 ||
        le32toh(disk.sum) != header_sum(&disk) || le32toh(disk.block_size) != CACHE_BLOCK)
        return -1;
    key_len = le32toh(disk.key_len);
    etag_len = le32toh(disk.etag_len);
    if (key_len > LIMIT_KEY || etag_len >= sizeof(ret_header->etag) ||
        le64toh(disk.size) > LIMIT_OBJECT)
        return -1;

    *ret_header = (struct cachefile_header){.size = le64toh(disk.size), .seed = le64toh(disk.seed)};
    memcpy(ret_header->key, disk.text, key_len);
    memcpy(ret_header->etag, disk.text + key_len, etag_len);
    return 0;
}

int cachefile_scan(
    int folder,
    const char *name,
    struct cachefile_header *ret_header,
    void (*fn)(void *ctx, const struct cachefile_header *header, uint64_t no, uint32_t sum),
    void *ctx
) {
    _cleanup_(close_fd) int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    _free_ uint64_t *entries = malloc(INDEX_STEP * sizeof(*entries));
    uint64_t no = 0, n_blocks;

    if (fd < 0 || !entries || read_header(fd, ret_header) < 0)
        return -1;
    n_blocks = cachefile_n_blocks(ret_header->size);
    while (no < n_blocks) {
        ssize_t len = pread(fd, entries, INDEX_STEP * sizeof(*entries), index_offset(no));
        uint64_t n = len < 0 ? 0 : (uint64_t)len / sizeof(*entries);

        for (uint64_t i = 0; i < n && no < n_blocks; i++, no++) {
            uint64_t entry = le64toh(entries[i]);

            if (entry >> 32 == 1)
                fn(ctx, ret_header, no, (uint32_t)entry);
        }
        if (n < INDEX_STEP)
            break;
    }
    return 0;
}
