/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/error.h"
#include "files/files.h"
#include "files/spool.h"

#define YIELD_STEP CACHE_BLOCK
#define TOO_MANY "they may have 64 GiB together" /* SPOOL_MAX */
#define YIELD_MORE MIB(64) /* the cache may have grown by half of that since it looked */

/* Not every file system has nameless files. */
static int open_nameless(const char *folder) {
    char path[4096];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    if (snprintf(path, sizeof(path), "%s/XXXXXX", folder) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

/* Return: a descriptor, or -errno. */
static int open_below(const char *dir) {
    char folder[4096];
    int fd;

    if (snprintf(folder, sizeof(folder), "%s/spool", dir) >= (int)sizeof(folder))
        return -ENAMETOOLONG;
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = open_nameless(folder);
    return fd < 0 ? -errno : fd;
}

/* The cache is the place for what is large; but it may be missing, or go at any time. */
int spool_open(struct s3pve_files *files, struct spool *ret_spool) {
    int fd = files->cache_dir ? open_below(files->cache_dir) : -ENOENT;

    if (fd < 0)
        fd = open_below(files->state_dir);
    if (fd < 0)
        return fd;
    *ret_spool = (struct spool){.fd = fd};
    return 0;
}

/* A node whose disk is full does not work any more, whatever it is full of. */
static bool has_space(const struct spool *spool, uint64_t bytes) {
    struct statvfs fs;

    if (fstatvfs(spool->fd, &fs) < 0)
        return true;
    return fs.f_bavail >= fs.f_blocks / 100 * CACHE_KEEP_FREE_PCT + bytes / fs.f_frsize;
}

/* The cache takes all that the disk has; but what it has can be had again.  Where its space is of
 * no use, on another file system, it does not lose all for nothing. */
int spool_make_room(struct s3pve_files *files, const struct spool *spool, uint64_t bytes) {
    uint64_t given = 0, step = 1;

    while (step && !has_space(spool, bytes)) {
        step = given < bytes + YIELD_MORE ? blocks_yield(files->blocks, YIELD_STEP) : 0;
        given += step;
    }
    return step ? 0 : -ENOSPC;
}

static int charge(struct s3pve_files *files, struct spool *spool, uint64_t size) {
    uint64_t more = size > spool->charged ? size - spool->charged : 0;

    if (atomic_fetch_add(&files->spool_bytes, more) + more > SPOOL_MAX) {
        atomic_fetch_sub(&files->spool_bytes, more);
        return -ENOSPC;
    }
    spool->charged += more;
    return 0;
}

/* Nobody expects that of a storage with room for ever: why, is to be found. */
static int is_full(struct s3pve_files *files, const char *why) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    error_set(&err, S3PVE_E_NO_SPACE, "no room for files written out of order: %s", why);
    return files_fail(files, "spool", files->cache_dir ? files->cache_dir : files->state_dir, &err);
}

int spool_write(
    struct s3pve_files *files, struct spool *spool, const void *buf, size_t len, uint64_t offset
) {
    const char *p = buf;

    if (charge(files, spool, offset + len) < 0)
        return is_full(files, TOO_MANY);
    if (spool_make_room(files, spool, len) < 0) /* also below its size: that may be a hole */
        return is_full(files, "the node's disk is full but for its last 5%");
    while (len) {
        ssize_t n = pwrite(spool->fd, p, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
        offset += (size_t)n;
    }
    return 0;
}

int spool_truncate(struct s3pve_files *files, struct spool *spool, uint64_t size) {
    if (charge(files, spool, size) < 0)
        return is_full(files, TOO_MANY);
    return ftruncate(spool->fd, (off_t)size) < 0 ? -errno : 0;
}

ssize_t spool_read(const struct spool *spool, void *buf, size_t len, uint64_t offset) {
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(spool->fd, (char *)buf + done, len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

void spool_close(struct s3pve_files *files, struct spool *spool) {
    if (spool->fd >= 0)
        close(spool->fd);
    atomic_fetch_sub(&files->spool_bytes, spool->charged);
    *spool = SPOOL_INIT;
}
