/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Requests to open images.  The kernel's becomes the volume's, and is answered when that is done: a
 * store that is away for hours costs the memory of what waits, and no thread.
 *
 *     image_read() ... --> submit --> the volume --> on_done() --> the kernel's answer
 *                                                        |
 *                  [the process was killed: answered by image_io_drop()]
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/fuse_ops.h"
#include "daemon/images_tree.h"
#include "daemon/process.h"

#define BLOCK 4096

struct image_io {
    struct s3pve_volume_request request; /* first */
    struct images *images;
    struct image *image;
    fuse_req_t req; /* NULL: nobody waits for an answer */
    void (*answer)(struct image_io *io, int result);
    void *memory; /* from ->pages */
    size_t memory_len;
    int64_t started_ms;
    struct image_io *next, **self; /* among the pending */

    uint64_t at, end; /* what goes on in steps: the next one, and where it ends */
    int whence;       /* lseek(2) */
    bool found;       /* ... what it wants is at .at */
    bool *waited;     /* who waits with images->changed; set when it is done */
    int *result;
};

/* --- memory */

static int take_memory(struct image_io *io, uint64_t offset, size_t len) {
    struct images *images = io->images;
    size_t shift = offset % BLOCK;
    io->memory_len = (shift + len + BLOCK - 1) / BLOCK * BLOCK;
    pthread_mutex_lock(&images->pages_lock);
    io->memory = pages_take(&images->pages, io->memory_len);
    pthread_mutex_unlock(&images->pages_lock);
    if (!io->memory)
        return -ENOMEM;
    io->request.data = (uint8_t *)io->memory + shift;
    return 0;
}

static void io_free(struct image_io *io) {
    struct images *images = io->images;
    if (io->memory) {
        pthread_mutex_lock(&images->pages_lock);
        pages_give(&images->pages, io->memory, io->memory_len);
        pthread_mutex_unlock(&images->pages_lock);
    }
    free(io);
}

/* --- beginning and end of a request */

static void link_pending(struct images *images, struct image_io *io) {
    io->next = images->pending;
    io->self = &images->pending;
    if (io->next)
        io->next->self = &io->next;
    else
        pthread_cond_signal(&images->wake); /* there is something to watch */
    images->pending = io;
}

static void unlink_pending(struct image_io *io) {
    *io->self = io->next;
    if (io->next)
        io->next->self = io->self;
    io->self = NULL;
}

/* With the lock held. */
static void enter(struct image_io *io) {
    io->started_ms = clock_monotonic_ms();
    io->image->n_busy++;
    io->images->n_busy++;
    if (io->req)
        link_pending(io->images, io);
}

/* Return: the kernel's request, if it was not answered yet. */
static fuse_req_t leave(struct image_io *io, int result) {
    struct images *images = io->images;
    LOCK_SCOPE(&images->lock);
    fuse_req_t req = io->self ? io->req : NULL;
    if (io->self)
        unlink_pending(io);
    if (io->waited && *io->waited == false) {
        *io->result = result;
        *io->waited = true;
        pthread_cond_broadcast(&images->changed);
    }
    bool wrote = io->request.op == S3PVE_VOLUME_WRITE || io->request.op == S3PVE_VOLUME_ZERO;
    bool unsafe = io->request.op == S3PVE_VOLUME_FLUSH && result < 0 && io->answer;
    if (wrote || unsafe)
        io->image->dirty = true;
    io->image->n_busy--;
    images->n_busy--;
    image_idle(images, io->image);
    return req;
}

static void finish(struct image_io *io, int result) {
    fuse_req_t req = leave(io, result);
    if (req)
        io->answer(io, result);
    io_free(io);
}

static void on_done(struct s3pve_volume_request *request, const struct s3pve_error *err) {
    struct image_io *io = (struct image_io *)request;
    finish(io, err ? images_fail("request", io->image->name, err) : 0);
}

void image_io_submit(struct image_io *io) {
    s3pve_volume_submit(io->image->volume, &io->request);
}

static void start(struct image_io *io) {
    struct images *images = io->images;
    pthread_mutex_lock(&images->lock);
    bool stopped = images->stopped;
    enter(io);
    pthread_mutex_unlock(&images->lock);
    if (stopped)
        finish(io, -EIO);
    else
        image_io_submit(io);
}

static struct image_io *io_new(
    fuse_req_t req,
    const struct fuse_file_info *fi,
    enum s3pve_volume_op op,
    void (*answer)(struct image_io *io, int result)
) {
    struct image_io *io = calloc(1, sizeof(*io));
    if (!io)
        return NULL;
    io->images = session_of(req)->images;
    io->image = image_of(fi);
    io->req = req;
    io->answer = answer;
    io->request.op = op;
    io->request.done = on_done;
    return io;
}

void image_io_drop(struct images *images, bool all) {
    int64_t old = clock_monotonic_ms() - IMAGES_LOOK_MS;
    for (struct image_io *io = images->pending, *next; io; io = next) {
        next = io->next;
        bool killed = io->started_ms < old && process_is_being_killed(fuse_req_ctx(io->req)->pid);
        if (!killed && !all)
            continue;
        unlink_pending(io);
        fuse_reply_err(io->req, killed ? EINTR : EIO);
    }
}

static void answer_plain(struct image_io *io, int result) {
    fuse_reply_err(io->req, -result);
}

/* --- reading and writing */

static void answer_read(struct image_io *io, int result) {
    if (result < 0)
        fuse_reply_err(io->req, -result);
    else
        fuse_reply_buf(io->req, (char *)io->request.data, io->request.len);
}

void image_read(fuse_req_t req, size_t size, off_t offset, const struct fuse_file_info *fi) {
    struct image *image = image_of(fi);
    uint64_t at = (uint64_t)offset, end = s3pve_volume_size(image->volume);
    if (at >= end) {
        fuse_reply_buf(req, NULL, 0);
        return;
    }
    struct image_io *io = io_new(req, fi, S3PVE_VOLUME_READ, answer_read);
    if (size > end - at)
        size = (size_t)(end - at);
    if (!io || take_memory(io, at, size) < 0) {
        free(io);
        fuse_reply_err(req, ENOMEM);
        return;
    }
    io->request.offset = at;
    io->request.len = size;
    start(io);
}

static void answer_write(struct image_io *io, int result) {
    if (result < 0)
        fuse_reply_err(io->req, -result);
    else
        fuse_reply_write(io->req, io->request.len);
}

void image_write(
    fuse_req_t req, const char *data, size_t size, off_t offset, const struct fuse_file_info *fi
) {
    struct image *image = image_of(fi);
    uint64_t at = (uint64_t)offset, end = s3pve_volume_size(image->volume);
    if (!image->grows && at >= end) {
        fuse_reply_err(req, ENOSPC); /* as at the end of a disk */
        return;
    }
    struct image_io *io = io_new(req, fi, S3PVE_VOLUME_WRITE, answer_write);
    if (!image->grows && size > end - at)
        size = (size_t)(end - at);
    if (!io || take_memory(io, at, size) < 0) {
        free(io);
        fuse_reply_err(req, ENOMEM);
        return;
    }
    memcpy(io->request.data, data, size);
    io->request.offset = at;
    io->request.len = size;
    start(io);
}

/* --- flushing */

void image_fsync(fuse_req_t req, const struct fuse_file_info *fi) {
    struct image_io *io = io_new(req, fi, S3PVE_VOLUME_FLUSH, answer_plain);
    if (!io) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    pthread_mutex_lock(&io->images->lock);
    io->image->dirty = false; /* until a write is answered after this */
    pthread_mutex_unlock(&io->images->lock);
    start(io);
}

/* A copy that a child was given, or that goes with its execve(2), is not the last one while who
 * opened the file has it open himself: he will close it, and shall not wait for them meanwhile. */
static int work_flush(struct job *job) {
    struct image_handle *handle = image_handle_of(&job->fi);
    pid_t closer = process_of(fuse_req_ctx(job->req)->pid);
    return closer && closer != handle->opener &&
           process_can_write(handle->opener, job->session->dev, handle->image->ino);
}

static void reply_flush(struct job *job, int is_copy) {
    if (is_copy)
        fuse_reply_err(job->req, 0);
    else
        image_fsync(job->req, &job->fi);
}

void image_flush(fuse_req_t req, const struct fuse_file_info *fi) {
    struct session *session = session_of(req);
    struct images *images = session->images;
    struct image *image = image_of(fi);
    pthread_mutex_lock(&images->lock);
    bool dirty = image->dirty;
    if (dirty)
        clock_gettime(CLOCK_REALTIME, &image->mtime);
    pthread_mutex_unlock(&images->lock);
    struct job job = {
        .req = req,
        .session = session,
        .work = work_flush,
        .reply = reply_flush,
        .fi = *fi,
        .must_run = true,
    };
    if (dirty)
        job_submit(session->jobs, &job, JOB_VOLUME);
    else
        fuse_reply_err(req, 0);
}

struct image_io *image_flush_self(struct images *images, struct image *image) {
    struct image_io *io = calloc(1, sizeof(*io));
    if (!io)
        return NULL;
    io->images = images;
    io->image = image;
    io->request.op = S3PVE_VOLUME_FLUSH;
    io->request.done = on_done;
    enter(io);
    return io;
}

/* --- holes, in steps: one request would keep others waiting, and its answer would be long */

static void next_step(struct image_io *io) {
    uint64_t left = io->end - io->at;
    io->request.offset = io->at;
    io->request.len = left < IMAGES_STEP ? left : IMAGES_STEP;
    image_io_submit(io);
}

static void on_zeroed(struct s3pve_volume_request *request, const struct s3pve_error *err) {
    struct image_io *io = (struct image_io *)request;
    io->at += request->len;
    if (!err && io->at < io->end)
        next_step(io);
    else
        on_done(request, err);
}

static void start_zero(struct image_io *io, uint64_t at, uint64_t end, bool unmap) {
    io->request.done = on_zeroed;
    io->request.unmap = unmap;
    io->at = at;
    io->end = end;
    io->request.offset = at;
    io->request.len = end - at < IMAGES_STEP ? end - at : IMAGES_STEP;
    start(io);
}

void image_zero(
    fuse_req_t req, const struct fuse_file_info *fi, uint64_t offset, uint64_t len, bool unmap
) {
    struct image *image = image_of(fi);
    uint64_t end = s3pve_volume_size(image->volume);
    if (offset >= end) {
        fuse_reply_err(req, 0);
        return;
    }
    struct image_io *io = io_new(req, fi, S3PVE_VOLUME_ZERO, answer_plain);
    if (!io) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    start_zero(io, offset, len < end - offset ? offset + len : end, unmap);
}

int image_zero_all(struct images *images, struct image *image, const int *cancel) {
    uint64_t end = s3pve_volume_size(image->volume);
    struct image_io *io = end ? calloc(1, sizeof(*io)) : NULL;
    if (!io)
        return end ? -ENOMEM : 0;
    bool done = false;
    int result = -EINTR;
    io->images = images;
    io->image = image;
    io->request.op = S3PVE_VOLUME_ZERO;
    io->waited = &done;
    io->result = &result;
    start_zero(io, 0, end, true);

    LOCK_SCOPE(&images->lock);
    while (!done && !__atomic_load_n(cancel, __ATOMIC_ACQUIRE))
        images_wait_until(images, clock_monotonic_ms() + IMAGES_LOOK_MS);
    if (!done)
        io->waited = NULL;
    return result;
}

static void answer_lseek(struct image_io *io, int result) {
    if (result < 0)
        fuse_reply_err(io->req, -result);
    else
        fuse_reply_lseek(io->req, (off_t)io->at);
}

/* The next piece; what is wanted may begin with it. */
static void on_stretch(struct s3pve_volume_request *request, uint64_t len, bool zero) {
    struct image_io *io = (struct image_io *)request;
    if (!io->found && zero == (io->whence == SEEK_HOLE))
        io->found = true;
    if (!io->found)
        io->at += len;
}

static void on_mapped(struct s3pve_volume_request *request, const struct s3pve_error *err) {
    struct image_io *io = (struct image_io *)request;
    if (err) {
        on_done(request, err);
        return;
    }
    if (!io->found && io->at < io->end) {
        next_step(io);
        return;
    }
    finish(io, io->found || io->whence == SEEK_HOLE ? 0 : -ENXIO);
}

void image_lseek(fuse_req_t req, off_t offset, int whence, const struct fuse_file_info *fi) {
    struct image *image = image_of(fi);
    uint64_t at = (uint64_t)offset, end = s3pve_volume_size(image->volume);
    if ((whence != SEEK_DATA && whence != SEEK_HOLE) || offset < 0 || at >= end) {
        fuse_reply_err(req, whence == SEEK_DATA || whence == SEEK_HOLE ? ENXIO : EINVAL);
        return;
    }
    struct image_io *io = io_new(req, fi, S3PVE_VOLUME_MAP, answer_lseek);
    if (!io) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    io->whence = whence;
    io->request.stretch = on_stretch;
    io->request.done = on_mapped;
    io->at = at;
    io->end = end;
    io->request.offset = at;
    io->request.len = end - at < IMAGES_STEP ? end - at : IMAGES_STEP;
    start(io);
}
