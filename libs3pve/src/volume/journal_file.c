/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "core/error.h"
#include "volume/journal_file.h"
#include "volume/spare.h"

#define HEAD (2 * (uint64_t)BLOCK) /* bytes before the ring */
#define FILL MIB(1)                /* zeroes in one write */
#define NAME "journal"
#define NAME_NEW "journal.new"
#define ENTER_TRIES 5

struct journal_file {
    char *path; /* owned; of the folder, for messages */
    int folder, lock, fd;
    uint64_t ring_len;
    uint32_t *sums; /* owned; of the ring's blocks, as they were written; 0: not known */
};

static void close_fd(int fd) {
    if (fd >= 0)
        close(fd);
}

static int fail(const struct journal_file *file, const char *what, struct s3pve_error *err) {
    int errnum = errno;
    enum s3pve_code code = errnum == ENOSPC || errnum == EDQUOT ? S3PVE_E_NO_SPACE : S3PVE_E_IO;

    error_set(err, code, "%s/" NAME ": %s: %s", file->path, what, strerror(errnum));
    return -1;
}

/* ------------------------------------------------------------------- making */

/* The last of the node's disk is not ours: what fills it breaks more than one volume. */
static int check_space(struct journal_file *file, struct s3pve_error *err) {
    uint64_t kept, free_bytes;
    struct statvfs fs;

    for (bool dropped = false;; dropped = true) {
        if (fstatvfs(file->folder, &fs) < 0)
            return fail(file, "statvfs", err);
        kept = (uint64_t)fs.f_blocks / 100 * JOURNAL_KEEP_FREE_PCT * fs.f_frsize;
        free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
        if (free_bytes >= kept + file->ring_len)
            return 0;
        if (dropped)
            break;
        spare_drop_all(file->folder);
    }
    return error_set(
        err,
        S3PVE_E_NO_SPACE,
        "%s: no room for a journal of %" PRIu64 " MiB: %" PRIu64 " MiB are free, of which %" PRIu64
        " MiB are left alone",
        file->path,
        file->ring_len >> 20,
        free_bytes >> 20,
        kept >> 20
    );
}

/* Zeroes, and not just reserved space: the first sync of each stretch would have to convert it. */
static int fill(struct journal_file *file, int fd, struct s3pve_error *err) {
    _free_ uint8_t *zeroes = calloc(1, FILL);
    uint64_t at = 0, end = HEAD + file->ring_len;

    if (!zeroes)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a journal");
    while (at < end) {
        ssize_t n = pwrite(fd, zeroes, end - at < FILL ? end - at : FILL, (off_t)at);

        if (n < 0)
            return fail(file, "cannot be made", err);
        sync_file_range(fd, (off_t)at, n, SYNC_FILE_RANGE_WRITE);
        at += (uint64_t)n;
    }
    return fdatasync(fd) < 0 ? fail(file, "cannot be synced", err) : 0;
}

static int make_new(struct journal_file *file, struct s3pve_error *err) {
    int fd, rc;

    if (spare_take(file->folder, NAME_NEW, HEAD + file->ring_len, HEAD)) {
        fd = openat(file->folder, NAME_NEW, O_RDWR | O_CLOEXEC);
        return fd < 0 ? fail(file, "cannot be opened", err) : fd;
    }
    if (check_space(file, err) < 0)
        return -1;
    fd = openat(file->folder, NAME_NEW, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(file, "cannot be made", err);
    rc = fill(file, fd, err);
    if (rc == 0)
        return fd;
    close(fd);
    return -1;
}

static int make(struct journal_file *file, struct s3pve_error *err) {
    int fd = make_new(file, err);

    if (fd >= 0 && renameat(file->folder, NAME_NEW, file->folder, NAME) == 0 &&
        fsync(file->folder) == 0) {
        file->fd = fd;
        return 0;
    }
    if (fd >= 0) {
        fail(file, "cannot be named", err);
        close(fd);
    }
    unlinkat(file->folder, NAME_NEW, 0);
    return -1;
}

/* ------------------------------------------------------------------ opening */

/* The folder, which must itself survive what the journal in it survives. */
static int enter(struct journal_file *file, struct s3pve_error *err) {
    int above;

    if (mkdir(file->path, 0700) == 0) {
        file->folder = open(file->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        above = file->folder < 0 ? -1 : openat(file->folder, "..", O_RDONLY | O_CLOEXEC);
        if (above < 0 || fsync(above) < 0)
            fail(file, "its folder cannot be synced", err);
        if (above >= 0)
            close(above);
    } else if (errno == EEXIST) {
        file->folder = open(file->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return file->folder < 0 ? fail(file, "its folder", err) : 0;
}

static int lock(struct journal_file *file, struct s3pve_error *err) {
    file->lock = openat(file->folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file->lock < 0)
        return fail(file, "its lock", err);
    if (flock(file->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return fail(file, "its lock", err);
    return error_set(
        err, S3PVE_E_CONFLICT, "%s: another process of this node has the volume open", file->path
    );
}

/* The one that is there, or none.  Something else by its name is not ours to remove. */
static int find(struct journal_file *file, struct s3pve_error *err) {
    struct stat st;

    file->fd = openat(file->folder, NAME, O_RDWR | O_CLOEXEC);
    if (file->fd < 0)
        return errno == ENOENT ? 0 : fail(file, "open", err);
    if (fstat(file->fd, &st) < 0)
        return fail(file, "stat", err);
    if (!S_ISREG(st.st_mode) || st.st_size <= (off_t)HEAD || st.st_size % BLOCK)
        return error_set(
            err, S3PVE_E_CORRUPT, "%s/" NAME ": not as long as a journal can be", file->path
        );
    file->ring_len = (uint64_t)st.st_size - HEAD;
    return 0;
}

static bool is_gone(int fd) {
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 0;
}

/* Whoever removes a folder has it locked; what we lock must be what others will find. */
static int enter_and_lock(struct journal_file *file, struct s3pve_error *err) {
    for (int i = 0; i < ENTER_TRIES; i++) {
        int rc;

        if (enter(file, err) < 0)
            return -1;
        rc = lock(file, err);
        if (!is_gone(file->folder) && !is_gone(file->lock))
            return rc;
        close_fd(file->lock);
        close_fd(file->folder);
        file->lock = file->folder = -1;
    }
    return error_set(err, S3PVE_E_CONFLICT, "%s: it is being removed", file->path);
}

static int open_in(struct journal_file *file, struct s3pve_error *err) {
    if (enter_and_lock(file, err) < 0 || find(file, err) < 0)
        return -1;
    return file->fd < 0 ? check_space(file, err) : 0;
}

int journal_file_open(
    const char *folder, uint64_t ring_len, struct journal_file **ret_file, struct s3pve_error *err
) {
    struct journal_file *file = malloc(sizeof(*file));

    if (!file)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a journal");
    *file = (struct journal_file
    ){.path = strdup(folder), .folder = -1, .lock = -1, .fd = -1, .ring_len = ring_len};
    if (!file->path || open_in(file, err) < 0) {
        journal_file_close(file);
        return -1;
    }
    file->sums = calloc(file->ring_len / BLOCK, sizeof(*file->sums));
    if (!file->sums) {
        journal_file_close(file);
        return error_set(err, S3PVE_E_NOMEM, "no memory for a journal");
    }
    *ret_file = file;
    return 0;
}

struct journal_file *journal_file_close(struct journal_file *file) {
    if (!file)
        return NULL;
    close_fd(file->fd);
    close_fd(file->folder);
    close_fd(file->lock); /* last: with it goes the lock */
    free(file->path);
    free(file->sums);
    free(file);
    return NULL;
}

uint64_t journal_file_ring_len(const struct journal_file *file) {
    return file->ring_len;
}

/* -------------------------------------------------------------------- bytes */

static int read_at(
    struct journal_file *file, uint64_t at, void *data, size_t len, struct s3pve_error *err
) {
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(file->fd, (uint8_t *)data + done, len - done, (off_t)(at + done));

        if (n < 0)
            return fail(file, "read", err);
        if (n == 0)
            return error_set(err, S3PVE_E_CORRUPT, "%s/" NAME ": cut short", file->path);
        done += (size_t)n;
    }
    return 0;
}

int journal_file_superblocks(
    struct journal_file *file, uint8_t blocks[2 * BLOCK], struct s3pve_error *err
) {
    if (file->fd < 0) {
        memset(blocks, 0, HEAD);
        return 0;
    }
    return read_at(file, 0, blocks, HEAD, err);
}

int journal_file_write_superblock(
    struct journal_file *file, const struct superblock *superblock, struct s3pve_error *err
) {
    uint8_t block[BLOCK];
    struct iovec iov = {block, BLOCK};
    ssize_t n;

    if (file->fd < 0 && make(file, err) < 0)
        return -1;
    superblock_encode(superblock, block);
    n = pwritev2(file->fd, &iov, 1, (off_t)(superblock->generation % 2 * BLOCK), RWF_DSYNC);
    return n == BLOCK ? 0 : fail(file, "write of its superblock", err);
}

int journal_file_read(
    struct journal_file *file, uint64_t place, void *data, size_t len, struct s3pve_error *err
) {
    return read_at(file, HEAD + place, data, len, err);
}

void journal_file_note(
    struct journal_file *file, uint64_t place, const uint32_t *sums, uint32_t n
) {
    memcpy(file->sums + place / BLOCK, sums, n * sizeof(*sums));
}

bool journal_file_is_right(const struct journal_file *file, uint64_t place, const void *data) {
    uint32_t sum = file->sums[place / BLOCK];

    return !sum || crc32c(0, data, BLOCK) == sum;
}

static bool are_right(
    const struct journal_file *file, uint64_t place, const uint8_t *data, uint32_t n
) {
    for (uint32_t i = 0; i < n; i++)
        if (!journal_file_is_right(file, place + (uint64_t)i * BLOCK, data + (size_t)i * BLOCK))
            return false;
    return true;
}

int journal_file_get(
    struct journal_file *file, uint64_t place, void *data, uint32_t n, struct s3pve_error *err
) {
    if (journal_file_read(file, place, data, (size_t)n * BLOCK, err) < 0)
        return -1;
    if (are_right(file, place, data, n))
        return 0;
    return error_set(
        err, S3PVE_E_CORRUPT, "%s/" NAME ": a block is not what was written", file->path
    );
}

bool journal_file_peek(struct journal_file *file, uint64_t place, void *data, uint32_t n) {
    struct iovec iov = {data, (size_t)n * BLOCK};
    ssize_t got = preadv2(file->fd, &iov, 1, (off_t)(HEAD + place), RWF_NOWAIT);

    return got == (ssize_t)n * BLOCK && are_right(file, place, data, n);
}

/* What was written of them is no longer in @iov.  Return: where the rest begins. */
static size_t advance(struct iovec *iov, size_t n_iov, size_t n) {
    size_t i = 0;

    while (i < n_iov && n >= iov[i].iov_len)
        n -= iov[i++].iov_len;
    if (n) {
        iov[i].iov_base = (uint8_t *)iov[i].iov_base + n;
        iov[i].iov_len -= n;
    }
    return i;
}

int journal_file_write(
    struct journal_file *file, uint64_t place, struct iovec *iov, size_t n, struct s3pve_error *err
) {
    uint64_t at = HEAD + place;

    while (n > 0) {
        size_t i;
        ssize_t written = pwritev(file->fd, iov, n < JOURNAL_IOV ? (int)n : JOURNAL_IOV, (off_t)at);

        if (written <= 0)
            return fail(file, "write", err);
        at += (uint64_t)written;
        i = advance(iov, n, (size_t)written);
        iov += i;
        n -= i;
    }
    return 0;
}

int journal_file_sync(struct journal_file *file, struct s3pve_error *err) {
    return fdatasync(file->fd) < 0 ? fail(file, "sync", err) : 0;
}

void journal_file_write_back(struct journal_file *file) {
    sync_file_range(file->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* ------------------------------------------------------------------- ending */

int journal_file_set_aside(struct journal_file *file, uint64_t jseq, struct s3pve_error *err) {
    char name[96];

    snprintf(name, sizeof(name), NAME "-lost-%016" PRIx64 "-%" PRId64, jseq, clock_wall_s());
    if (renameat(file->folder, NAME, file->folder, name) < 0)
        return fail(file, "cannot be set aside", err);
    close(file->fd);
    file->fd = -1;
    memset(file->sums, 0, file->ring_len / BLOCK * sizeof(*file->sums));
    return make(file, err);
}

void journal_file_remove(struct journal_file *file) {
    if (!spare_keep(file->folder, NAME))
        unlinkat(file->folder, NAME, 0);
}
