/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Open files.  A descriptor's life, as the kernel tells it:
 *
 *     create or open -> read, write ... -> flush at every close(2) of every copy -> release
 *
 * A file is published in the flush that process.h judges to be the last, because only a flush can
 * fail in the writer's face.  Release makes up for a last flush that did not look like one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "daemon/fuse_ops.h"
#include "daemon/log.h"
#include "daemon/process.h"

struct handle {
    struct session *session; /* borrowed */
    struct s3pve_file *file; /* owned */
    uint64_t ino;
    bool writable;
    struct handle *next, **self; /* among the session's, under its lock */

    pthread_mutex_t lock; /* guards what follows */
    pid_t opener, writer; /* processes */
    pid_t writer_tid;     /* the thread that is known to be the writer's */
    bool changed;         /* and not yet published */
    bool spoiled;         /* its writer was killed: never publish */
};

static struct handle *handle_of(const struct fuse_file_info *fi) {
    return (struct handle *)(uintptr_t)fi->fh;
}

static void handle_add(struct session *session, struct handle *handle) {
    LOCK_SCOPE(&session->lock);
    handle->next = session->handles;
    handle->self = &session->handles;
    if (handle->next)
        handle->next->self = &handle->next;
    session->handles = handle;
    session->n_handles++;
}

/* Takes a file that was just opened; NULL without memory. */
static struct handle *handle_new(struct job *job, struct s3pve_file *file, uint64_t ino) {
    struct handle *handle = calloc(1, sizeof(*handle));
    if (!handle) {
        s3pve_file_close(file);
        return NULL;
    }
    handle->session = job->session;
    handle->file = file;
    handle->ino = ino;
    handle->writable = (job->fi.flags & O_ACCMODE) != O_RDONLY;
    handle->opener = handle->writable ? process_of(fuse_req_ctx(job->req)->pid) : 0;
    handle->changed = (job->fi.flags & (O_CREAT | O_TRUNC)) != 0;
    pthread_mutex_init(&handle->lock, NULL);
    handle_add(job->session, handle);
    return handle;
}

static void handle_free(struct handle *handle) {
    struct session *session = handle->session;
    pthread_mutex_lock(&session->lock);
    *handle->self = handle->next;
    if (handle->next)
        handle->next->self = handle->self;
    session->n_handles--;
    pthread_mutex_unlock(&session->lock);

    s3pve_file_close(handle->file);
    pthread_mutex_destroy(&handle->lock);
    free(handle);
}

void handles_drop(struct session *session) {
    while (session->handles)
        handle_free(session->handles);
}

static void submit(
    fuse_req_t req, const struct fuse_file_info *fi, enum job_kind kind, struct job job
) {
    job.req = req;
    job.session = session_of(req);
    job.fi = *fi;
    job_submit(job.session->jobs, &job, kind);
}

/* Readers shall not queue behind uploads. */
static enum job_kind kind_of(const struct fuse_file_info *fi) {
    return handle_of(fi)->writable ? JOB_WRITE : JOB_READ;
}

/* --- opening */

/* How the kernel shall treat it.  What is only written passes by the page cache: a backup would
 * push everything else out of it.  What is only read needs no flush at its close. */
static void set_modes(struct fuse_file_info *fi, const struct s3pve_file *file, bool keep_cache) {
    fi->keep_cache = keep_cache;
    fi->direct_io = (fi->flags & O_ACCMODE) == O_WRONLY || s3pve_file_is_direct(file);
    fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY;
}

static int work_open(struct job *job) {
    struct s3pve_file *file = NULL;
    bool keep_cache = false;
    if (__atomic_load_n(&job->session->stopping, __ATOMIC_RELAXED))
        return -EIO;
    int r = s3pve_file_open(job->session->files, job->ino, job->fi.flags, &file, &keep_cache);
    if (r < 0)
        return r;
    set_modes(&job->fi, file, keep_cache);
    job->result = handle_new(job, file, job->ino);
    return job->result ? 0 : -ENOMEM;
}

static void reply_open(struct job *job, int result) {
    if (result < 0) {
        fuse_reply_err(job->req, -result);
        return;
    }
    job->fi.fh = (uintptr_t)job->result;
    if (fuse_reply_open(job->req, &job->fi) != 0)
        handle_free(job->result);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    bool read_only = (fi->flags & O_ACCMODE) == O_RDONLY;
    enum job_kind kind = read_only ? JOB_READ : JOB_WRITE;
    submit(req, fi, kind, (struct job){.work = work_open, .reply = reply_open, .ino = ino});
}

static int work_create(struct job *job) {
    struct s3pve_file *file = NULL;
    struct s3pve_files *files = job->session->files;
    if (__atomic_load_n(&job->session->stopping, __ATOMIC_RELAXED))
        return -EIO;
    int flags = job->fi.flags | O_CREAT;
    int r = s3pve_files_create(files, job->ino, job->name, job->mode, flags, &job->attr, &file);
    if (r < 0)
        return r;
    set_modes(&job->fi, file, false);
    job->fi.flags = flags;
    job->result = handle_new(job, file, job->attr.st_ino);
    if (!job->result)
        s3pve_files_forget(files, job->attr.st_ino, 1);
    return job->result ? 0 : -ENOMEM;
}

static void reply_create(struct job *job, int result) {
    if (result < 0) {
        fuse_reply_err(job->req, -result);
        return;
    }
    struct fuse_entry_param entry = entry_of(&job->attr);
    job->fi.fh = (uintptr_t)job->result;
    if (fuse_reply_create(job->req, &entry, &job->fi) != 0) {
        handle_free(job->result);
        s3pve_files_forget(job->session->files, job->attr.st_ino, 1);
    }
}

void op_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi
) {
    submit(
        req,
        fi,
        JOB_NAME,
        (struct job){
            .work = work_create,
            .reply = reply_create,
            .ino = parent,
            .name = name,
            .mode = mode,
        }
    );
}

/* --- reading */

static pthread_key_t read_buffer_key;
static pthread_once_t read_buffer_once = PTHREAD_ONCE_INIT;

static void read_buffer_init(void) {
    pthread_key_create(&read_buffer_key, free);
}

/* One buffer a thread, as large as the kernel ever asks for: it goes to the kernel as it is. */
static void *read_buffer(void) {
    pthread_once(&read_buffer_once, read_buffer_init);
    void *buffer = pthread_getspecific(read_buffer_key);
    if (!buffer && (buffer = malloc(FUSE_WRITE)))
        pthread_setspecific(read_buffer_key, buffer);
    return buffer;
}

static int work_read(struct job *job) {
    job->result = read_buffer();
    if (!job->result)
        return -ENOMEM;
    size_t len = job->len < FUSE_WRITE ? job->len : FUSE_WRITE;
    struct s3pve_file *file = handle_of(&job->fi)->file;
    return (int)s3pve_file_read(file, job->result, len, (uint64_t)job->offset);
}

static void reply_read(struct job *job, int result) {
    if (result < 0)
        fuse_reply_err(job->req, -result);
    else
        fuse_reply_buf(job->req, job->result, (size_t)result);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi) {
    (void)ino;
    submit(
        req,
        fi,
        JOB_READ,
        (struct job){.work = work_read, .reply = reply_read, .len = size, .offset = offset}
    );
}

/* --- writing */

/* Remembers who wrote last; a program's threads are one writer. */
static void note_writer(struct handle *handle, pid_t tid) {
    LOCK_SCOPE(&handle->lock);
    handle->changed = true;
    if (handle->writer_tid == tid)
        return;
    handle->writer_tid = tid;
    handle->writer = process_of(tid);
}

static int work_write(struct job *job) {
    struct handle *handle = handle_of(&job->fi);
    note_writer(handle, fuse_req_ctx(job->req)->pid);
    return (int)s3pve_file_write(handle->file, job->data, job->len, (uint64_t)job->offset);
}

static void reply_write(struct job *job, int result) {
    if (result < 0)
        fuse_reply_err(job->req, -result);
    else
        fuse_reply_write(job->req, (size_t)result);
}

void op_write(
    fuse_req_t req,
    fuse_ino_t ino,
    const char *data,
    size_t size,
    off_t offset,
    struct fuse_file_info *fi
) {
    (void)ino;
    submit(
        req,
        fi,
        JOB_WRITE,
        (struct job){
            .work = work_write,
            .reply = reply_write,
            .data = data,
            .len = size,
            .offset = offset,
        }
    );
}

int handle_truncate(const struct fuse_file_info *fi, off_t size) {
    struct handle *handle = handle_of(fi);
    pthread_mutex_lock(&handle->lock);
    handle->changed = true;
    pthread_mutex_unlock(&handle->lock);
    return size < 0 ? -EINVAL : s3pve_file_truncate(handle->file, (uint64_t)size);
}

static int work_fsync(struct job *job) {
    return s3pve_file_fsync(handle_of(&job->fi)->file);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi) {
    (void)ino, (void)datasync;
    submit(
        req,
        fi,
        kind_of(fi),
        (struct job){.work = work_fsync, .reply = reply_result, .must_run = true}
    );
}

/* Space is not reserved in a bucket; but the file grows as posix_fallocate(3) promises. */
static int work_fallocate(struct job *job) {
    struct s3pve_files *files = job->session->files;
    struct stat attr;
    int r = s3pve_files_getattr(files, job->ino, &attr);
    off_t end = job->offset + (off_t)job->len;
    if (r < 0 || attr.st_size >= end)
        return r;
    return handle_truncate(&job->fi, end);
}

void op_fallocate(
    fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi
) {
    if (mode != 0) {
        fuse_reply_err(req, EOPNOTSUPP);
        return;
    }
    struct job job = {
        .work = work_fallocate,
        .reply = reply_result,
        .ino = ino,
        .offset = offset,
        .len = (size_t)length,
        .must_run = true,
    };
    submit(req, fi, JOB_WRITE, job);
}

/* A file in a bucket has no holes. */
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence) {
    struct stat attr;
    int r = s3pve_files_getattr(session_of(req)->files, ino, &attr);
    if (r < 0)
        fuse_reply_err(req, -r);
    else if (whence != SEEK_DATA && whence != SEEK_HOLE)
        fuse_reply_err(req, EINVAL);
    else if (offset < 0 || offset >= attr.st_size)
        fuse_reply_err(req, ENXIO);
    else
        fuse_reply_lseek(req, whence == SEEK_DATA ? offset : attr.st_size);
}

/* --- closing */

/* What the handle knows of its users; false when this close has nothing to publish. */
static bool closing_of(struct handle *handle, struct closing *ret_closing) {
    LOCK_SCOPE(&handle->lock);
    *ret_closing = (struct closing){
        .dev = handle->session->dev,
        .ino = handle->ino,
        .opener = handle->opener,
        .writer = handle->writer,
    };
    return handle->changed || handle->spoiled;
}

/* Takes the duty to publish: Return: 1 when there is something, 0, or -EIO for what is spoiled. */
static int take_changed(struct handle *handle, bool killed) {
    LOCK_SCOPE(&handle->lock);
    if (killed)
        handle->spoiled = true;
    bool changed = handle->changed;
    if (handle->spoiled)
        return changed ? -EIO : 0;
    handle->changed = false;
    return changed;
}

static int work_flush(struct job *job) {
    struct handle *handle = handle_of(&job->fi);
    struct closing closing;
    if (!closing_of(handle, &closing))
        return s3pve_file_flush(handle->file); /* says again how it went */

    enum closing_kind kind = closing_judge(&closing, fuse_req_ctx(job->req)->pid);
    if (kind == CLOSING_EARLY)
        return 0;
    int r = take_changed(handle, kind == CLOSING_KILLED);
    return r > 0 ? s3pve_file_flush(handle->file) : r;
}

void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)ino;
    if (!handle_of(fi)->writable) {
        fuse_reply_err(req, 0);
        return;
    }
    submit(
        req,
        fi,
        kind_of(fi),
        (struct job){.work = work_flush, .reply = reply_result, .must_run = true}
    );
}

static int work_release(struct job *job) {
    struct handle *handle = handle_of(&job->fi);
    int r = handle->writable ? take_changed(handle, false) : 0;
    if (r > 0)
        r = s3pve_file_flush(handle->file);
    else if (r < 0)
        log_say(
            S3PVE_LOG_WARNING,
            "close",
            "inode %llu: its writer was killed, nothing is kept of it",
            (unsigned long long)handle->ino
        );
    handle_free(handle);
    return r;
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)ino;
    submit(
        req,
        fi,
        kind_of(fi),
        (struct job){.work = work_release, .reply = reply_result, .must_run = true}
    );
}
