/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Which of the mount's two trees a request is for: images/ and what is below, which are volumes
 * (image_...), or files (op_...).  Requests for open files and directories name the inode, too.
 */
#include <errno.h>
#include <string.h>

#include "daemon/fuse_ops.h"
#include "daemon/images.h"

bool is_images(const struct session *session, uint64_t parent, const char *name) {
    return session->images && parent == S3PVE_ROOT_INO && strcmp(name, IMAGES_NAME) == 0;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
    if (image_is(parent))
        image_lookup(req, parent, name);
    else if (is_images(session_of(req), parent, name))
        image_lookup_root(req);
    else
        op_lookup(req, parent, name);
}

static void forget_one(struct session *session, uint64_t ino, uint64_t n) {
    if (image_is(ino))
        images_forget(session->images, ino, n);
    else
        s3pve_files_forget(session->files, ino, n);
}

static void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n) {
    forget_one(session_of(req), ino, n);
    fuse_reply_none(req);
}

static void on_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets) {
    for (size_t i = 0; i < count; i++)
        forget_one(session_of(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    if (image_is(ino))
        image_getattr(req, ino);
    else
        op_getattr(req, ino, fi);
}

static void on_setattr(
    fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set, struct fuse_file_info *fi
) {
    (image_is(ino) ? image_setattr : op_setattr)(req, ino, attr, set, fi);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) {
    if (is_images(session_of(req), parent, name))
        fuse_reply_err(req, EEXIST);
    else
        (image_is(parent) ? image_mkdir : op_mkdir)(req, parent, name, mode);
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name) {
    if (is_images(session_of(req), parent, name))
        fuse_reply_err(req, EBUSY); /* as any directory that is always there */
    else
        (image_is(parent) ? image_rmdir : op_rmdir)(req, parent, name);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
    (image_is(parent) ? image_unlink : op_unlink)(req, parent, name);
}

static void on_rename(
    fuse_req_t req,
    fuse_ino_t parent,
    const char *name,
    fuse_ino_t new_parent,
    const char *new_name,
    unsigned flags
) {
    struct session *session = session_of(req);
    bool fixed = is_images(session, parent, name) || is_images(session, new_parent, new_name);
    if (fixed)
        fuse_reply_err(req, EBUSY);
    else if (image_is(parent) != image_is(new_parent))
        fuse_reply_err(req, EXDEV);
    else
        (image_is(parent) ? image_rename : op_rename
        )(req, parent, name, new_parent, new_name, flags);
}

static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev) {
    if (!image_is(parent))
        op_mknod(req, parent, name, mode, rdev);
    else if (S_ISREG(mode))
        image_mknod(req, parent, name, mode);
    else
        fuse_reply_err(req, EPERM);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (image_is(ino) ? image_open : op_open)(req, ino, fi);
}

static void on_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi
) {
    (image_is(parent) ? image_create : op_create)(req, parent, name, mode, fi);
}

static void on_read(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi
) {
    if (image_is(ino))
        image_read(req, size, offset, fi);
    else
        op_read(req, ino, size, offset, fi);
}

static void on_write(
    fuse_req_t req,
    fuse_ino_t ino,
    const char *data,
    size_t size,
    off_t offset,
    struct fuse_file_info *fi
) {
    if (image_is(ino))
        image_write(req, data, size, offset, fi);
    else
        op_write(req, ino, data, size, offset, fi);
}

static void on_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    if (image_is(ino))
        image_flush(req, fi);
    else
        op_flush(req, ino, fi);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi) {
    if (image_is(ino))
        image_fsync(req, fi);
    else
        op_fsync(req, ino, datasync, fi);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    if (image_is(ino))
        image_release(req, fi);
    else
        op_release(req, ino, fi);
}

static void on_fallocate(
    fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi
) {
    if (image_is(ino))
        image_fallocate(req, mode, offset, length, fi);
    else
        op_fallocate(req, ino, mode, offset, length, fi);
}

/* A file of the other tree has no holes: the kernel is told so for each of them, as ENOSYS would
 * be for all. */
static void on_lseek(
    fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi
) {
    if (image_is(ino))
        image_lseek(req, offset, whence, fi);
    else
        op_lseek(req, ino, offset, whence);
}

static void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (image_is(ino) ? image_opendir : op_opendir)(req, ino, fi);
}

static void on_readdir(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi
) {
    if (image_is(ino))
        image_readdir(req, ino, size, offset, fi, false);
    else
        op_readdir(req, ino, size, offset, fi);
}

static void on_readdirplus(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi
) {
    if (image_is(ino))
        image_readdir(req, ino, size, offset, fi, true);
    else
        op_readdirplus(req, ino, size, offset, fi);
}

static void on_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    if (image_is(ino))
        image_releasedir(req, fi);
    else
        op_releasedir(req, ino, fi);
}

/* Locks and flock stay with the kernel, access(2) is judged by it; what is missing is ENOSYS. */
const struct fuse_lowlevel_ops fuse_operations = {
    .init = op_init,
    .lookup = on_lookup,
    .forget = on_forget,
    .forget_multi = on_forget_multi,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .mknod = on_mknod,
    .mkdir = on_mkdir,
    .unlink = on_unlink,
    .rmdir = on_rmdir,
    .symlink = op_symlink,
    .link = op_link,
    .rename = on_rename,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .flush = on_flush,
    .release = on_release,
    .fsync = on_fsync,
    .opendir = on_opendir,
    .readdir = on_readdir,
    .readdirplus = on_readdirplus,
    .releasedir = on_releasedir,
    .fsyncdir = op_fsyncdir,
    .statfs = op_statfs,
    .create = on_create,
    .fallocate = on_fallocate,
    .lseek = on_lseek,
};
