/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Attributes, lengths, and opening.
 *
 * The kernel keeps pages of images, as a shared mapping needs them, and drops them when the file is
 * opened, as well as its length: so whoever opens it sees what was written through NBD, or by
 * another node, which a name's answer a moment ago could not know.  It drops them as well when
 * mtime is another one, so that stands still while a file is open, however much is written.
 *
 * A length that was fixed by whoever made the volume stays: it grows when it is told to, never
 * shrinks, and O_TRUNC makes all of it zeroes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/fuse_ops.h"
#include "daemon/images_tree.h"
#include "daemon/kernel.h"
#include "daemon/process.h"

#define SECTOR 512

static void submit(fuse_req_t req, enum job_kind kind, struct job job) {
    job.req = req;
    job.session = session_of(req);
    job_submit(job.session->jobs, &job, kind);
}

/* --- opening and closing */

/* Without the lock; @image is referenced.  Its volume is held then, and one more has it open. */
static int open_image(struct images *images, struct image *image, const int *cancel) {
    char name[S3PVE_VOLUME_NAME];
    pthread_mutex_lock(&images->lock);
    int r = image->parent && !images->stopped ? image_volume(image->parent, image->name, name)
                                              : -ESTALE;
    bool held = image->volume != NULL;
    if (r == 0) {
        image->n_open++;
        images->n_open++;
    }
    pthread_mutex_unlock(&images->lock);
    if (r < 0 || held)
        return r;

    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = {.timeout_ms = IMAGES_OPEN_MS, .cancel = cancel};
    struct s3pve_volume *volume = NULL;
    if (s3pve_volume_hold(images->options.volumes, name, &call, &volume, &err) < 0)
        r = images_fail("open", name, &err);
    pthread_mutex_lock(&images->lock);
    if (r == 0 && !image->volume)
        image->volume = steal_ptr(&volume);
    pthread_mutex_unlock(&images->lock);
    s3pve_volume_release(volume); /* somebody else was faster */
    return r;
}

static void close_image(struct images *images, struct image *image) {
    LOCK_SCOPE(&images->lock);
    image->n_open--;
    images->n_open--;
    image_idle(images, image);
}

/* As open(2) with these flags. */
static int open_with(struct images *images, struct image *image, int flags, const int *cancel) {
    int r = open_image(images, image, cancel);
    if (r == -ESTALE)
        return r;
    if (r == 0 && flags & O_TRUNC && (flags & O_ACCMODE) != O_RDONLY) {
        struct s3pve_error err = S3PVE_ERROR_INIT;
        struct s3pve_call call = {.timeout_ms = IMAGES_OPEN_MS, .cancel = cancel};
        if (!image->grows)
            r = image_zero_all(images, image, cancel);
        else if (s3pve_volume_truncate(image->volume, 0, &call, &err) < 0)
            r = images_fail("truncate", image->name, &err);
    }
    if (r < 0)
        close_image(images, image);
    return r;
}

static struct image *reference(struct images *images, uint64_t ino) {
    LOCK_SCOPE(&images->lock);
    struct image *image = image_by_ino(images, ino);
    if (image)
        image->n_lookup++;
    return image;
}

/* One that was opened: how the kernel shall treat it, and what it will say with each request.
 * Return: 0, or -ENOMEM and it is closed. */
static int take_handle(struct job *job, struct image *image) {
    struct fuse_file_info *fi = &job->fi;
    bool read_only = (fi->flags & O_ACCMODE) == O_RDONLY;
    struct image_handle *handle = malloc(sizeof(*handle));
    if (!handle) {
        close_image(job->session->images, image);
        return -ENOMEM;
    }
    handle->image = image;
    handle->opener = read_only ? 0 : process_of(fuse_req_ctx(job->req)->pid);
    fi->fh = (uintptr_t)handle;
    fi->keep_cache = false;
    fi->direct_io = false;
    fi->noflush = read_only;
    return 0;
}

static void drop_handle(struct job *job) {
    struct image_handle *handle = image_handle_of(&job->fi);
    close_image(job->session->images, handle->image);
    free(handle);
}

static int work_open(struct job *job) {
    struct images *images = job->session->images;
    if (__atomic_load_n(&job->session->stopping, __ATOMIC_RELAXED))
        return -EIO;
    struct image *image = reference(images, job->ino);
    if (!image)
        return -ESTALE;
    int r = open_with(images, image, job->fi.flags, &job->cancel);
    images_forget(images, job->ino, 1);
    if (r < 0)
        return r;
    kernel_forget_length(images->options.kernel, job->ino);
    return take_handle(job, image);
}

static void reply_open(struct job *job, int result) {
    if (result < 0) {
        fuse_reply_err(job->req, -result);
        return;
    }
    if (fuse_reply_open(job->req, &job->fi) != 0)
        drop_handle(job);
}

void image_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    submit(
        req, JOB_VOLUME, (struct job){.work = work_open, .reply = reply_open, .ino = ino, .fi = *fi}
    );
}

void image_release(fuse_req_t req, const struct fuse_file_info *fi) {
    struct images *images = session_of(req)->images;
    struct image_handle *handle = image_handle_of(fi);
    struct image *image = handle->image;
    free(handle);
    pthread_mutex_lock(&images->lock);
    if (image->dirty)
        clock_gettime(CLOCK_REALTIME, &image->mtime);
    pthread_mutex_unlock(&images->lock);
    close_image(images, image);
    fuse_reply_err(req, 0);
}

/* --- making */

/* One of this name may be on its way out.  Return: 0, or -EBUSY */
static int wait_for_name(struct images *images, const char *volume) {
    int64_t until = clock_monotonic_ms() + IMAGES_CLOSING_MS;
    LOCK_SCOPE(&images->lock);
    while (image_is_doomed(images, volume) && images_wait_until(images, until))
        continue;
    return image_is_doomed(images, volume) ? -EBUSY : 0;
}

static int make_volume(struct job *job, const char *volume) {
    struct images *images = job->session->images;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = {.timeout_ms = NAME_MS, .cancel = &job->cancel};
    int r = wait_for_name(images, volume);
    if (r < 0)
        return r;
    struct s3pve_client *client = images->options.client;
    if (s3pve_volume_create(client, volume, S3PVE_VOLUME_FILE, &call, &err) == 0)
        return 0;
    return err.code == S3PVE_E_CONFLICT ? -EEXIST : images_fail("create", volume, &err);
}

/* Put it into the tree, with a reference.  NULL: no memory */
static struct image *add_file(struct job *job, struct image *dir) {
    struct images *images = job->session->images;
    LOCK_SCOPE(&images->lock);
    struct image *file = image_child(dir, job->name);
    if (!file)
        file = image_add(images, dir, IMAGE_FILE, job->name);
    if (!file)
        return NULL;
    file->grows = true;
    file->size = 0;
    file->mode = job->mode & 07777;
    image_touch(images, dir);
    file->changed = images->clock;
    file->n_lookup++;
    return file;
}

/* An existing one after all, which the kernel did not know of. */
static struct image *find_file(struct job *job, struct image *dir) {
    struct images *images = job->session->images;
    pthread_mutex_lock(&images->lock);
    struct image *guest = image_guest(dir);
    if (guest)
        guest->listed_ms = guest->failed_ms = 0;
    pthread_mutex_unlock(&images->lock);
    images_refresh(images, dir, &job->cancel);
    LOCK_SCOPE(&images->lock);
    struct image *file = image_child(dir, job->name);
    if (file)
        file->n_lookup++;
    return file;
}

/* Return: 0 and the file with a reference, or a negative errno. */
static int make_file(struct job *job, bool exclusive, struct image **ret_file) {
    struct images *images = job->session->images;
    char volume[S3PVE_VOLUME_NAME];
    struct image *dir = reference(images, job->ino);
    if (!dir)
        return -ENOENT;
    pthread_mutex_lock(&images->lock);
    int r = image_check_name(dir, job->name, false);
    if (r == 0)
        r = image_volume(dir, job->name, volume);
    pthread_mutex_unlock(&images->lock);
    if (r == 0)
        r = make_volume(job, volume);
    struct image *file = NULL;
    if (r == 0)
        file = add_file(job, dir);
    else if (r == -EEXIST && !exclusive)
        file = find_file(job, dir);
    if (file)
        *ret_file = file;
    else if (r == 0)
        r = -ENOMEM;
    images_forget(images, job->ino, 1);
    return file ? 0 : r;
}

static int work_create(struct job *job) {
    struct images *images = job->session->images;
    struct image *file = NULL;
    if (__atomic_load_n(&job->session->stopping, __ATOMIC_RELAXED))
        return -EIO;
    int r = make_file(job, job->fi.flags & O_EXCL, &file);
    if (r < 0)
        return r;
    r = open_with(images, file, job->fi.flags, &job->cancel);
    if (r < 0) {
        images_forget(images, file->ino, 1);
        return r;
    }
    r = take_handle(job, file);
    LOCK_SCOPE(&images->lock);
    image_stat(file, &job->attr);
    if (r < 0)
        image_unref(images, file, 1);
    return r;
}

static void reply_create(struct job *job, int result) {
    if (result < 0) {
        fuse_reply_err(job->req, -result);
        return;
    }
    struct fuse_entry_param entry = entry_of(&job->attr);
    if (fuse_reply_create(job->req, &entry, &job->fi) != 0) {
        drop_handle(job);
        images_forget(job->session->images, job->attr.st_ino, 1);
    }
}

void image_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi
) {
    submit(
        req,
        JOB_NAME,
        (struct job){
            .work = work_create,
            .reply = reply_create,
            .ino = parent,
            .name = name,
            .mode = mode,
            .fi = *fi,
        }
    );
}

static int work_mknod(struct job *job) {
    struct images *images = job->session->images;
    struct image *file = NULL;
    int r = make_file(job, true, &file);
    if (r < 0)
        return r;
    LOCK_SCOPE(&images->lock);
    image_stat(file, &job->attr);
    return 0;
}

static void reply_entry(struct job *job, int result) {
    if (result < 0) {
        fuse_reply_err(job->req, -result);
        return;
    }
    struct fuse_entry_param entry = entry_of(&job->attr);
    if (fuse_reply_entry(job->req, &entry) != 0)
        images_forget(job->session->images, job->attr.st_ino, 1);
}

void image_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) {
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

/* --- length */

/* Of one that is open.  Return: 0, or a negative errno. */
static int set_length(
    struct images *images, struct image *image, uint64_t size, const int *cancel
) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = {.timeout_ms = IMAGES_OPEN_MS, .cancel = cancel};
    uint64_t now = s3pve_volume_size(image->volume);
    char name[S3PVE_VOLUME_NAME];
    if (size == now)
        return 0;
    if (image->grows) {
        if (s3pve_volume_truncate(image->volume, size, &call, &err) < 0)
            return images_fail("truncate", image->name, &err);
        pthread_mutex_lock(&images->lock);
        image->dirty = true;
        pthread_mutex_unlock(&images->lock);
        return 0;
    }
    if (size < now)
        return -EPERM;
    pthread_mutex_lock(&images->lock);
    int r = image->parent ? image_volume(image->parent, image->name, name) : -ESTALE;
    pthread_mutex_unlock(&images->lock);
    if (r < 0 || size % SECTOR)
        return r < 0 ? r : -EINVAL;
    if (s3pve_volumes_resize(images->options.volumes, name, size, &call, &err) < 0)
        return images_fail("resize", name, &err);
    return 0;
}

static int set_length_of(struct job *job, struct image *image, off_t size) {
    struct images *images = job->session->images;
    if (size < 0)
        return -EINVAL;
    int r = open_image(images, image, &job->cancel);
    if (r == -ESTALE && !job->fi.fh)
        return r;
    if (r == -ESTALE) /* unlinked, but who asks has it open */
        return set_length(images, image, (uint64_t)size, &job->cancel);
    if (r == 0)
        r = set_length(images, image, (uint64_t)size, &job->cancel);
    close_image(images, image);
    return r;
}

/* --- attributes */

void image_getattr(fuse_req_t req, fuse_ino_t ino) {
    struct images *images = session_of(req)->images;
    struct stat attr;
    pthread_mutex_lock(&images->lock);
    struct image *image = image_by_ino(images, ino);
    if (image)
        image_stat(image, &attr);
    pthread_mutex_unlock(&images->lock);
    if (image)
        fuse_reply_attr(req, &attr, NAMES_S);
    else
        fuse_reply_err(req, ESTALE);
}

/* All but the length, which are remembered here and nowhere else. */
static void set_attributes(struct image *image, const struct stat *wanted, unsigned set) {
    if (set & FUSE_SET_ATTR_MODE)
        image->mode = wanted->st_mode & 07777;
    if (set & FUSE_SET_ATTR_UID)
        image->uid = wanted->st_uid;
    if (set & FUSE_SET_ATTR_GID)
        image->gid = wanted->st_gid;
    if (set & FUSE_SET_ATTR_MTIME_NOW)
        clock_gettime(CLOCK_REALTIME, &image->mtime);
    else if (set & FUSE_SET_ATTR_MTIME)
        image->mtime = wanted->st_mtim;
}

static int work_setattr(struct job *job) {
    struct images *images = job->session->images;
    struct image *image = reference(images, job->ino);
    int r = 0;
    if (!image)
        return -ESTALE;
    if (job->flags & FUSE_SET_ATTR_SIZE)
        r = set_length_of(job, image, job->attr.st_size);
    pthread_mutex_lock(&images->lock);
    if (r == 0) {
        set_attributes(image, &job->attr, job->flags);
        image_stat(image, &job->attr);
    }
    image_unref(images, image, 1);
    pthread_mutex_unlock(&images->lock);
    return r;
}

static void reply_attr(struct job *job, int result) {
    if (result < 0)
        fuse_reply_err(job->req, -result);
    else
        fuse_reply_attr(job->req, &job->attr, NAMES_S);
}

void image_setattr(
    fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set, struct fuse_file_info *fi
) {
    submit(
        req,
        JOB_VOLUME,
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

/* --- fallocate(2): space is not reserved in a bucket, but lengths and zeroes are as it promises */

static int work_grow(struct job *job) {
    struct image *image = image_of(&job->fi);
    uint64_t end = (uint64_t)job->offset + job->len;
    if (s3pve_volume_size(image->volume) >= end)
        return 0;
    return set_length(job->session->images, image, end, &job->cancel);
}

static void reply_grown(struct job *job, int result) {
    if (result < 0 || !(job->flags & FALLOC_FL_ZERO_RANGE))
        fuse_reply_err(job->req, -result);
    else
        image_zero(job->req, &job->fi, (uint64_t)job->offset, job->len, false);
}

void image_fallocate(
    fuse_req_t req, int mode, off_t offset, off_t length, const struct fuse_file_info *fi
) {
    const int keep = FALLOC_FL_KEEP_SIZE;
    uint64_t at = (uint64_t)offset, len = (uint64_t)length;
    if (mode == (FALLOC_FL_PUNCH_HOLE | keep) || mode == (FALLOC_FL_ZERO_RANGE | keep)) {
        image_zero(req, fi, at, len, mode & FALLOC_FL_PUNCH_HOLE);
    } else if (mode == keep) {
        fuse_reply_err(req, 0);
    } else if (mode == 0 || mode == FALLOC_FL_ZERO_RANGE) {
        submit(
            req,
            JOB_VOLUME,
            (struct job){
                .work = work_grow,
                .reply = reply_grown,
                .offset = offset,
                .len = (size_t)length,
                .flags = (unsigned)mode,
                .fi = *fi,
            }
        );
    } else {
        fuse_reply_err(req, EOPNOTSUPP);
    }
}
