/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* file_io.c - open files, once they are open */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "files/file.h"
#include "files/local.h"

/* ---------------------------------------------------------------- reading */

/* Held, since another thread may replace it: a writer that reads what it has published itself needs
 * the version of now.  Who reads alone has one version, whole, until somebody changes it. */
static struct reader *current_reader(struct s3pve_file *file) {
    struct node *node = file->node;
    struct reader *old = NULL;

    LOCK_SCOPE(&file->lock);
    if (!file->stream)
        return reader_hold(file->reader);
    pthread_mutex_lock(&file->files->lock);
    if (!file->reader || !reader_is_of(file->reader, node)) {
        old = file->reader;
        file->reader = node->is_published ? reader_new(file->files, node, false) : NULL;
    }
    pthread_mutex_unlock(&file->files->lock);
    reader_close(old);
    return reader_hold(file->reader);
}

/* Is another writing what @file reads?  Then nobody knows whose size and end these are. */
static bool is_changing(const struct s3pve_file *file) {
    LOCK_SCOPE(&file->files->lock);
    return file->is_direct && (!reader_is_of(file->reader, file->node) ||
                               (file->node->stream && !file->node->stream->is_settled));
}

_public_ ssize_t s3pve_file_read(struct s3pve_file *file, void *buf, size_t len, uint64_t offset) {
    struct reader *reader;
    ssize_t rc = -EAGAIN;

    if (!file->can_read)
        return -EBADF;
    if (file->fd >= 0) {
        rc = pread(file->fd, buf, len, (off_t)offset);
        return rc < 0 ? -errno : rc;
    }
    if (file->stream)
        rc = stream_read(file->stream, buf, len, offset);
    if (rc != -EAGAIN || is_changing(file))
        return rc != -EAGAIN ? rc : -EIO;
    reader = current_reader(file);
    rc = reader ? reader_read(reader, buf, len, offset) : -EIO;
    reader_release(reader);
    return rc;
}

/* ---------------------------------------------------------------- writing and closing */

_public_ ssize_t
s3pve_file_write(struct s3pve_file *file, const void *buf, size_t len, uint64_t offset) {
    int rc;

    if (file->fd >= 0)
        return local_write(file->files, file->node, file->fd, buf, len, offset);
    if (!file->stream)
        return -EBADF;
    rc = file->appends ? stream_append(file->stream, buf, len)
                       : stream_write(file->stream, buf, len, offset);
    return rc < 0 ? rc : (ssize_t)len;
}

_public_ int s3pve_file_truncate(struct s3pve_file *file, uint64_t size) {
    if (file->fd >= 0)
        return local_truncate(file->files, file->node, size);
    return file->stream ? stream_truncate(file->stream, size) : -EBADF;
}

_public_ bool s3pve_file_is_direct(const struct s3pve_file *file) {
    return file->is_direct;
}

_public_ int s3pve_file_flush(struct s3pve_file *file) {
    return file->stream ? stream_flush(file->stream) : 0;
}

/* What is being written is durable once close(2) says so, and not before: an object cannot be
 * there by halves.  What went wrong so far is told. */
_public_ int s3pve_file_fsync(struct s3pve_file *file) {
    if (file->fd >= 0)
        return fsync(file->fd) < 0 ? -errno : 0;
    return file->stream ? stream_error(file->stream) : 0;
}

_public_ struct s3pve_file *s3pve_file_close(struct s3pve_file *file) {
    struct s3pve_files *files;

    if (!file)
        return NULL;
    files = file->files;
    reader_close(file->reader);
    if (file->stream)
        stream_close(file->stream);
    if (file->fd >= 0)
        local_close(files, file->node, file->fd);
    pthread_mutex_lock(&files->lock);
    files->n_open--;
    file->node->n_readers -= file->is_reader;
    tree_unpin(&files->tree, file->node);
    pthread_mutex_unlock(&files->lock);
    pthread_mutex_destroy(&file->lock);
    free(file);
    return NULL;
}
