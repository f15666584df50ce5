/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * images.h - images/ in the mount: volumes as files
 *
 *     images/100/vm-100-disk-0.raw     the volume of that name, live
 *     images/100/tmp_9_100/disk.vmdk   the volume 100/tmp_9_100.disk.vmdk: where an import unpacks
 *
 * A tree of its own beside that of files/, told from it by the inodes (image_is()).  Names and
 * attributes come from memory, which listings keep fresh; see images_tree.h.  Reads and writes go
 * to the volume and are answered when it has done them: nobody waits, see images_io.c.
 */
#ifndef DAEMON_IMAGES_H
#define DAEMON_IMAGES_H

#include <fuse_lowlevel.h>

#include "daemon/kernel.h"
#include "s3pve-volume.h"

#define IMAGES_NAME "images" /* in the mount's root */
#define IMAGES_INO (UINT64_C(1) << 62)

static inline bool image_is(uint64_t ino) {
    return (ino & IMAGES_INO) != 0;
}

struct images;

struct images_options { /* all borrowed */
    struct s3pve_client *client;
    struct s3pve_files *files; /* knows whether the store is there */
    struct s3pve_volumes *volumes;
    struct kernel *kernel;
};

struct images *images_new(const struct images_options *options); /* NULL: no memory or thread */
/** images_stop() - requests that wait are answered with an error; no more are taken */
void images_stop(struct images *images);
/** images_free() - after images_stop(), when the kernel sends nothing more: gives all volumes back,
 *  and stops them where they are at work for longer than a moment.  Returns NULL. */
struct images *images_free(struct images *images);

/** images_changed() - somebody else on this node created, deleted, renamed or resized @volume: the
 *  mount shows it at once.  Any thread; does not wait. */
void images_changed(struct images *images, const char *volume);

unsigned images_n_open(struct images *images);

/** images_root() - the attributes of images/ */
void images_root(struct images *images, struct stat *ret_attr);

/* images_dir.c: names */
void image_lookup_root(fuse_req_t req); /* images/ itself, found in the mount's root */
void image_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void images_forget(struct images *images, uint64_t ino, uint64_t n);
void image_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void image_readdir(
    fuse_req_t req,
    fuse_ino_t ino,
    size_t size,
    off_t offset,
    const struct fuse_file_info *fi,
    bool plus
);
void image_releasedir(fuse_req_t req, const struct fuse_file_info *fi);

/* images_names.c: what changes names */
void image_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void image_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void image_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void image_rename(
    fuse_req_t req,
    fuse_ino_t parent,
    const char *name,
    fuse_ino_t new_parent,
    const char *new_name,
    unsigned flags
);

/* images_file.c: attributes and open files */
void image_getattr(fuse_req_t req, fuse_ino_t ino);
void image_setattr(
    fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set, struct fuse_file_info *fi
);
void image_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void image_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi
);
void image_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void image_release(fuse_req_t req, const struct fuse_file_info *fi);

/* images_io.c */
void image_read(fuse_req_t req, size_t size, off_t offset, const struct fuse_file_info *fi);
void image_write(
    fuse_req_t req, const char *data, size_t size, off_t offset, const struct fuse_file_info *fi
);
void image_flush(fuse_req_t req, const struct fuse_file_info *fi);
void image_fsync(fuse_req_t req, const struct fuse_file_info *fi);
void image_fallocate(
    fuse_req_t req, int mode, off_t offset, off_t length, const struct fuse_file_info *fi
);
void image_lseek(fuse_req_t req, off_t offset, int whence, const struct fuse_file_info *fi);

#endif
