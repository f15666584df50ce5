/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "files/local.h"

static void path_of(const struct s3pve_files *files, uint64_t ino, char ret_path[4096]) {
    snprintf(ret_path, 4096, "%s/local/%llu", files->state_dir, (unsigned long long)ino);
}

/* With `lock` held: nobody can reach its bytes any more. */
static void free_bytes(struct s3pve_files *files, const struct node *node) {
    atomic_fetch_sub(&files->local_bytes, node->size);
}

int local_open(struct s3pve_files *files, struct node *node, int flags) {
    char path[4096];
    int fd;

    path_of(files, node->ino, path);
    flags &= O_ACCMODE | O_APPEND | O_TRUNC | O_CREAT;
    fd = open(path, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    LOCK_SCOPE(&files->lock);
    node->n_readers++;
    if (flags & O_TRUNC) {
        free_bytes(files, node);
        node->size = 0;
    }
    return fd;
}

void local_close(struct s3pve_files *files, struct node *node, int fd) {
    close(fd);
    LOCK_SCOPE(&files->lock);
    if (--node->n_readers == 0 && !node->parent)
        free_bytes(files, node);
}

/* Count @size against LOCAL_MAX.  Return: 0, or -ENOSPC. */
static int grow(struct s3pve_files *files, struct node *node, uint64_t size) {
    uint64_t more;

    LOCK_SCOPE(&files->lock);
    more = size > node->size ? size - node->size : 0;
    if (atomic_load(&files->local_bytes) + more > LOCAL_MAX)
        return -ENOSPC;
    atomic_fetch_add(&files->local_bytes, more);
    node->size += more;
    node->mtime_s = clock_wall_s();
    return 0;
}

ssize_t local_write(
    struct s3pve_files *files,
    struct node *node,
    int fd,
    const void *buf,
    size_t len,
    uint64_t offset
) {
    ssize_t n;
    int rc = grow(files, node, offset + len);

    if (rc < 0)
        return rc;
    n = pwrite(fd, buf, len, (off_t)offset);
    return n < 0 ? -errno : n;
}

int local_truncate(struct s3pve_files *files, struct node *node, uint64_t size) {
    char path[4096];
    int rc = grow(files, node, size);

    if (rc < 0)
        return rc;
    path_of(files, node->ino, path);
    if (truncate(path, (off_t)size) < 0)
        return -errno;
    LOCK_SCOPE(&files->lock);
    atomic_fetch_sub(&files->local_bytes, node->size - size);
    node->size = size;
    return 0;
}

void local_remove(struct s3pve_files *files, const struct node *node) {
    char path[4096];

    path_of(files, node->ino, path);
    unlink(path);
    if (node->n_readers == 0)
        free_bytes(files, node);
}

void local_empty(struct s3pve_files *files) {
    char path[4096];
    DIR *dir;
    struct dirent *entry;

    snprintf(path, sizeof(path), "%s/local", files->state_dir);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
}
