/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* fuse_ops.h - what the files of the FUSE front end share */
#ifndef DAEMON_FUSE_OPS_H
#define DAEMON_FUSE_OPS_H

#include <fuse_lowlevel.h>

#include "daemon/images.h"
#include "daemon/job.h"
#include "s3pve.h"

#define NAMES_S 1.0 /* how long the kernel may believe a name or attributes without asking */

struct session {
    struct s3pve_files *files; /* borrowed */
    struct fuse_session *fuse; /* owned, as are those below */
    struct jobs *jobs;
    struct kernel *kernel;
    struct images *images; /* NULL: without volumes, images/ is a directory like others */
    char *mountpoint;
    pthread_t loop;
    int ended_fd;  /* borrowed */
    int ready_fd;  /* an eventfd: the kernel has greeted us */
    dev_t dev;     /* of the mount */
    bool looping;  /* the thread exists */
    int stopping;  /* atomic: nothing new is opened */
    int unmounted; /* atomic */

    pthread_mutex_t lock; /* guards what follows */
    struct handle *handles;
    unsigned n_handles;
};

/* fuse_dispatch.c: whether it is for these, or for images/ */
extern const struct fuse_lowlevel_ops fuse_operations;
bool is_images(const struct session *session, uint64_t parent, const char *name);

/* fuse.c */
void op_init(void *arg, struct fuse_conn_info *conn);

/* fuse_names.c: what is done to names and inodes */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(
    fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set, struct fuse_file_info *fi
);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(
    fuse_req_t req,
    fuse_ino_t parent,
    const char *name,
    fuse_ino_t new_parent,
    const char *new_name,
    unsigned flags
);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void op_statfs(fuse_req_t req, fuse_ino_t ino);

/* fuse_dir.c */
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi
);
void op_readdirplus(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi
);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

/* fuse_file.c: open files */
void op_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi
);
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_write(
    fuse_req_t req,
    fuse_ino_t ino,
    const char *data,
    size_t size,
    off_t offset,
    struct fuse_file_info *fi
);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fallocate(
    fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi
);

/** handle_truncate() - an open file is cut or grown by its descriptor: closing it will publish */
int handle_truncate(const struct fuse_file_info *fi, off_t size);
/** handles_drop() - close what the kernel will not close any more */
void handles_drop(struct session *session);

/* The answer to a request that has none but success or an errno. */
static inline void reply_result(struct job *job, int result) {
    fuse_reply_err(job->req, result < 0 ? -result : 0);
}

static inline struct session *session_of(fuse_req_t req) {
    return fuse_req_userdata(req);
}

static inline struct fuse_entry_param entry_of(const struct stat *attr) {
    return (struct fuse_entry_param){
        .ino = attr->st_ino,
        .generation = 1,
        .attr = *attr,
        .attr_timeout = NAMES_S,
        .entry_timeout = NAMES_S,
    };
}

#endif
