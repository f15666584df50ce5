/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/limits.h"
#include "daemon/fuse_ops.h"

#define BLOCK 4096 /* bytes; statfs counts in these */

/* --- answered from memory, here and now */

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
    struct stat attr;
    int r = s3pve_files_lookup(session_of(req)->files, parent, name, &attr);
    if (r < 0) {
        fuse_reply_err(req, -r);
        return;
    }
    struct fuse_entry_param entry = entry_of(&attr);
    if (fuse_reply_entry(req, &entry) != 0)
        s3pve_files_forget(session_of(req)->files, attr.st_ino, 1);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)fi;
    struct stat attr;
    int r = s3pve_files_getattr(session_of(req)->files, ino, &attr);
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_attr(req, &attr, NAMES_S);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino) {
    (void)ino;
    struct s3pve_files_stats stats;
    s3pve_files_stats(session_of(req)->files, &stats);
    struct statvfs st = {
        .f_bsize = BLOCK,
        .f_frsize = BLOCK,
        .f_blocks = stats.total_bytes / BLOCK,
        .f_bfree = stats.avail_bytes / BLOCK,
        .f_bavail = stats.avail_bytes / BLOCK,
        .f_files = stats.used_objects + (1u << 30),
        .f_ffree = 1u << 30,
        .f_favail = 1u << 30,
        .f_namemax = LIMIT_KEY_SEGMENT,
    };
    fuse_reply_statfs(req, &st);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name) {
    (void)target, (void)parent, (void)name;
    fuse_reply_err(req, EPERM);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name) {
    (void)ino, (void)new_parent, (void)new_name;
    fuse_reply_err(req, EPERM);
}

/* --- requests to the store */

static void submit(fuse_req_t req, enum job_kind kind, struct job job) {
    job.req = req;
    job.session = session_of(req);
    job_submit(job.session->jobs, &job, kind);
}

static void reply_attr(struct job *job, int result) {
    if (result < 0)
        fuse_reply_err(job->req, -result);
    else
        fuse_reply_attr(job->req, &job->attr, NAMES_S);
}

static void reply_entry(struct job *job, int result) {
    if (result < 0) {
        fuse_reply_err(job->req, -result);
        return;
    }
    struct fuse_entry_param entry = entry_of(&job->attr);
    if (fuse_reply_entry(job->req, &entry) != 0)
        s3pve_files_forget(job->session->files, job->attr.st_ino, 1);
}

/* The times and owners the kernel wants changed, as complete values. */
static int complete_attr(struct session *session, uint64_t ino, struct stat *attr, int set) {
    if (set & FUSE_SET_ATTR_MTIME_NOW)
        clock_gettime(CLOCK_REALTIME, &attr->st_mtim);
    int owner = set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID);
    if (owner != FUSE_SET_ATTR_UID && owner != FUSE_SET_ATTR_GID)
        return 0;

    struct stat now;
    int r = s3pve_files_getattr(session->files, ino, &now);
    if (r < 0)
        return r;
    if (owner == FUSE_SET_ATTR_UID)
        attr->st_gid = now.st_gid;
    else
        attr->st_uid = now.st_uid;
    return 0;
}

static unsigned set_bits(int set) {
    unsigned bits = 0;
    if (set & FUSE_SET_ATTR_MODE)
        bits |= S3PVE_SET_MODE;
    if (set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        bits |= S3PVE_SET_OWNER;
    if (set & FUSE_SET_ATTR_SIZE)
        bits |= S3PVE_SET_SIZE;
    if (set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
        bits |= S3PVE_SET_MTIME;
    return bits;
}

static int work_setattr(struct job *job) {
    struct stat wanted = job->attr;
    int r = complete_attr(job->session, job->ino, &wanted, (int)job->flags);
    if (r < 0)
        return r;
    unsigned bits = set_bits((int)job->flags);
    if (job->fi.fh && bits & S3PVE_SET_SIZE) {
        r = handle_truncate(&job->fi, wanted.st_size);
        bits &= ~S3PVE_SET_SIZE;
    }
    if (r < 0)
        return r;
    return s3pve_files_setattr(job->session->files, job->ino, &wanted, bits, &job->attr);
}

void op_setattr(
    fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set, struct fuse_file_info *fi
) {
    submit(
        req,
        JOB_WRITE,
        (struct job){
            .work = work_setattr,
            .reply = reply_attr,
            .fi = fi ? *fi : (struct fuse_file_info){0},
            .ino = ino,
            .attr = *attr,
            .flags = (unsigned)set,
        }
    );
}

static int work_mkdir(struct job *job) {
    return s3pve_files_mkdir(job->session->files, job->ino, job->name, job->mode, &job->attr);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) {
    submit(
        req,
        JOB_NAME,
        (struct job){
            .work = work_mkdir,
            .reply = reply_entry,
            .ino = parent,
            .name = name,
            .mode = mode,
        }
    );
}

static int work_rmdir(struct job *job) {
    return s3pve_files_rmdir(job->session->files, job->ino, job->name);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name) {
    submit(
        req,
        JOB_NAME,
        (struct job){.work = work_rmdir, .reply = reply_result, .ino = parent, .name = name}
    );
}

static int work_unlink(struct job *job) {
    return s3pve_files_unlink(job->session->files, job->ino, job->name);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
    submit(
        req,
        JOB_NAME,
        (struct job){.work = work_unlink, .reply = reply_result, .ino = parent, .name = name}
    );
}

static int work_rename(struct job *job) {
    return s3pve_files_rename(
        job->session->files, job->ino, job->name, job->ino2, job->name2, job->flags
    );
}

void op_rename(
    fuse_req_t req,
    fuse_ino_t parent,
    const char *name,
    fuse_ino_t new_parent,
    const char *new_name,
    unsigned flags
) {
    submit(
        req,
        JOB_NAME,
        (struct job){
            .work = work_rename,
            .reply = reply_result,
            .ino = parent,
            .name = name,
            .ino2 = new_parent,
            .name2 = new_name,
            .flags = flags,
        }
    );
}

/* An empty file, as mknod(2) makes it: who creates without writing publishes. */
static int work_mknod(struct job *job) {
    struct s3pve_file *file = NULL;
    int flags = O_RDONLY | O_CREAT | O_EXCL;
    int r = s3pve_files_create(
        job->session->files, job->ino, job->name, job->mode, flags, &job->attr, &file
    );
    s3pve_file_close(file);
    return r;
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev) {
    (void)rdev;
    if (!S_ISREG(mode)) {
        fuse_reply_err(req, EPERM);
        return;
    }
    submit(
        req,
        JOB_NAME,
        (struct job){
            .work = work_mknod,
            .reply = reply_entry,
            .ino = parent,
            .name = name,
            .mode = mode,
        }
    );
}
