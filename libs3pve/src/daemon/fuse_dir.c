/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "daemon/fuse_ops.h"

/*
 * An entry's offset is the number of the one after it: where to go on reading.
 *
 * The entries are asked for by the first read and not by opendir(3): df(1) and others open a
 * directory only to hold on to it, and must not wait for the store to list it.
 */
struct dir_handle {
    pthread_mutex_t lock;  /* guards .dir; threads may share a descriptor */
    struct s3pve_dir *dir; /* owned; NULL until the first read */
};

static struct dir_handle *handle_of(const struct fuse_file_info *fi) {
    return (struct dir_handle *)(uintptr_t)fi->fh;
}

static void handle_free(struct dir_handle *handle) {
    s3pve_dir_close(handle->dir);
    pthread_mutex_destroy(&handle->lock);
    free(handle);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)ino; /* the kernel knows that it is a directory */
    struct dir_handle *handle = calloc(1, sizeof(*handle));
    if (!handle) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    pthread_mutex_init(&handle->lock, NULL);
    fi->fh = (uintptr_t)handle;
    if (fuse_reply_open(req, fi) != 0)
        handle_free(handle);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)ino;
    handle_free(handle_of(fi));
    fuse_reply_err(req, 0);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi) {
    (void)ino, (void)datasync, (void)fi;
    fuse_reply_err(req, 0); /* what was done to names is in the bucket already */
}

struct reply {
    fuse_req_t req;
    fuse_ino_t ino;
    bool plus;  /* with attributes */
    char *data; /* borrowed */
    size_t size, len;
};

/* The kernel counts a reference for each name it is given this way, but for "." and "..". */
static struct fuse_entry_param reference(
    struct session *session, fuse_ino_t parent, const char *name, const struct stat *attr
) {
    struct stat now;
    if (is_images(session, parent, name)) /* no reference: it is looked up when it is wanted */
        return (struct fuse_entry_param){.attr = *attr};
    bool plain = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    if (!plain && s3pve_files_lookup(session->files, parent, name, &now) == 0)
        return entry_of(&now);
    return (struct fuse_entry_param){.attr = *attr}; /* ino 0: a name and a type, nothing more */
}

/* One entry more for the reply; Return: its size, or 0 when there is no room. */
static size_t add_entry(
    struct reply *reply, const char *name, const struct stat *attr, off_t next
) {
    char *at = reply->data + reply->len;
    size_t room = reply->size - reply->len;
    if (!reply->plus) {
        size_t need = fuse_add_direntry(reply->req, at, room, name, attr, next);
        return need <= room ? need : 0;
    }

    struct session *session = session_of(reply->req);
    struct fuse_entry_param entry = reference(session, reply->ino, name, attr);
    size_t need = fuse_add_direntry_plus(reply->req, at, room, name, &entry, next);
    if (need <= room)
        return need;
    if (entry.ino)
        s3pve_files_forget(session->files, entry.ino, 1);
    return 0;
}

/* Return: 0, or a negative errno. */
static int fill(struct reply *reply, struct dir_handle *handle, off_t offset) {
    LOCK_SCOPE(&handle->lock);
    if (offset == 0)
        handle->dir = s3pve_dir_close(handle->dir); /* rewinddir(3) wants to see what is new */
    if (!handle->dir) {
        int r = s3pve_dir_open(session_of(reply->req)->files, reply->ino, &handle->dir);
        if (r < 0)
            return r;
    }

    const char *name;
    struct stat attr;
    for (; s3pve_dir_entry(handle->dir, (size_t)offset, &name, &attr) == 0; offset++) {
        if (is_images(session_of(reply->req), reply->ino, name))
            images_root(session_of(reply->req)->images, &attr);
        size_t len = add_entry(reply, name, &attr, offset + 1);
        if (len == 0)
            break;
        reply->len += len;
    }
    return 0;
}

static void read_entries(struct reply *reply, off_t offset, const struct fuse_file_info *fi) {
    reply->size = reply->size < FUSE_WRITE ? reply->size : FUSE_WRITE;
    _free_ char *data = malloc(reply->size);
    reply->data = data;
    int r = data ? fill(reply, handle_of(fi), offset) : -ENOMEM;
    if (r < 0)
        fuse_reply_err(reply->req, -r);
    else
        fuse_reply_buf(reply->req, data, reply->len);
}

void op_readdir(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi
) {
    read_entries(&(struct reply){.req = req, .ino = ino, .size = size}, offset, fi);
}

void op_readdirplus(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi
) {
    read_entries(&(struct reply){.req = req, .ino = ino, .size = size, .plus = true}, offset, fi);
}
