/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* images_names.c - what changes the names in images/ */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/fuse_ops.h"
#include "daemon/images_tree.h"

/* Who just closed it has it open a moment longer, as the kernel tells of that when it likes. */
static void wait_closed(struct images *images, struct image *image) {
    int64_t until = clock_monotonic_ms() + IMAGES_CLOSING_MS;
    while (image_is_used(image) && images_wait_until(images, until))
        continue;
}

static struct s3pve_call name_call(struct job *job) {
    return (struct s3pve_call){.timeout_ms = NAME_MS, .cancel = &job->cancel};
}

static void submit(fuse_req_t req, struct job job) {
    job.req = req;
    job.session = session_of(req);
    job_submit(job.session->jobs, &job, JOB_NAME);
}

/* A directory as the store has it now, with a reference.  Return: 0, or a negative errno. */
static int hold_dir(struct job *job, uint64_t ino, struct image **ret_dir) {
    struct images *images = job->session->images;
    pthread_mutex_lock(&images->lock);
    struct image *dir = image_by_ino(images, ino);
    if (dir)
        dir->n_lookup++;
    pthread_mutex_unlock(&images->lock);
    if (!dir)
        return -ENOENT;
    if (dir->kind != IMAGE_ROOT) {
        int r = images_refresh(images, dir, &job->cancel);
        if (r < 0) {
            images_forget(images, ino, 1);
            return r;
        }
    }
    *ret_dir = dir;
    return 0;
}

/* --- directories */

static int make_dir(struct images *images, struct job *job, struct image *dir) {
    LOCK_SCOPE(&images->lock);
    int r = image_check_name(dir, job->name, true);
    if (r < 0)
        return r;
    struct image *child = image_child(dir, job->name);
    if (child && image_is_there(child))
        return -EEXIST;
    if (!child)
        child =
            image_add(images, dir, dir->kind == IMAGE_ROOT ? IMAGE_GUEST : IMAGE_FOLDER, job->name);
    if (!child)
        return -ENOMEM;
    child->kept = true;
    child->mode = job->mode & 07777;
    child->n_lookup++;
    image_stat(child, &job->attr);
    return 0;
}

/* A guest's directory is there when it has volumes, whether anybody looked or not. */
static int list_guest(struct job *job) {
    struct images *images = job->session->images;
    pthread_mutex_lock(&images->lock);
    struct image *dir = image_by_ino(images, job->ino);
    bool wanted = dir && dir->kind == IMAGE_ROOT && image_check_name(dir, job->name, true) == 0;
    struct image *guest = wanted ? image_child(dir, job->name) : NULL;
    if (wanted && !guest)
        guest = image_add(images, dir, IMAGE_GUEST, job->name);
    if (guest)
        guest->n_lookup++;
    pthread_mutex_unlock(&images->lock);
    if (!guest)
        return 0;
    int r = images_refresh(images, guest, &job->cancel);
    pthread_mutex_lock(&images->lock);
    image_unref(images, guest, 1);
    pthread_mutex_unlock(&images->lock);
    return r;
}

static int work_mkdir(struct job *job) {
    struct images *images = job->session->images;
    struct image *dir = NULL;
    int r = list_guest(job);
    if (r == 0)
        r = hold_dir(job, job->ino, &dir);
    if (r < 0)
        return r;
    r = make_dir(images, job, dir);
    images_forget(images, job->ino, 1);
    return r;
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

void image_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) {
    submit(
        req,
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
    struct images *images = job->session->images;
    int r = list_guest(job);
    if (r < 0)
        return r;
    LOCK_SCOPE(&images->lock);
    struct image *dir = image_by_ino(images, job->ino);
    struct image *child = dir ? image_child(dir, job->name) : NULL;
    if (!child || !image_is_there(child))
        return -ENOENT;
    if (child->kind == IMAGE_FILE)
        return -ENOTDIR;
    for (struct image *i = child->children; i; i = i->next) {
        if (image_is_there(i))
            return -ENOTEMPTY;
    }
    child->kept = false; /* the kernel knows it as removed, and makes a new one of the same name */
    if (!child->children && !child->listing)
        image_detach(child);
    image_collect(images, child);
    return 0;
}

void image_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name) {
    submit(
        req, (struct job){.work = work_rmdir, .reply = reply_result, .ino = parent, .name = name}
    );
}

/* --- files */

/* One that a guest is about to use stays.  But swtpm begins with removing its file, and then opens
 * that name: it gets an empty one, of the size it had.  Return: 0, 1: that, or a negative errno */
static int delete (struct job *job, const char *volume, bool grows) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = name_call(job);
    struct images *images = job->session->images;
    if (s3pve_volumes_delete(images->options.volumes, volume, &call, &err) == 0)
        return 0;
    if (err.code == S3PVE_E_CONFLICT && !grows && images_clear_small(images, volume, &call))
        return 1;
    return images_fail("delete", volume, &err);
}

/* With the lock held: it has no name any more, and its volume goes when nobody uses it. */
static int doom(struct images *images, struct image *file, const char *volume) {
    file->doomed = strdup(volume);
    if (!file->doomed)
        return -ENOMEM;
    image_touch(images, file->parent);
    image_detach(file);
    file->next = images->doomed;
    images->doomed = file;
    image_idle(images, file);
    return 0;
}

/* With the lock held, which is let go: delete the volume of a file nobody has open. */
static int delete_closed(struct job *job, struct image *file, const char *volume) {
    struct images *images = job->session->images;
    file->n_lookup++;
    pthread_mutex_unlock(&images->lock);
    int r = delete (job, volume, file->grows);
    pthread_mutex_lock(&images->lock);
    if (r == 0 && file->parent) {
        image_touch(images, file->parent);
        image_detach(file);
    }
    image_unref(images, file, 1);
    return r < 0 ? r : 0;
}

static int work_unlink(struct job *job) {
    struct images *images = job->session->images;
    LOCK_SCOPE(&images->lock);
    struct image *dir = image_by_ino(images, job->ino);
    struct image *file = dir ? image_child(dir, job->name) : NULL;
    char volume[S3PVE_VOLUME_NAME];
    if (!file || !image_is_there(file))
        return -ENOENT;
    if (file->kind != IMAGE_FILE)
        return -EISDIR;
    int r = image_volume(dir, job->name, volume);
    if (r < 0)
        return r;
    file->n_lookup++;
    wait_closed(images, file);
    if (!file->parent)
        r = -ENOENT; /* somebody was faster */
    else
        r = image_is_used(file) ? doom(images, file, volume) : delete_closed(job, file, volume);
    image_unref(images, file, 1);
    return r;
}

void image_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
    submit(
        req, (struct job){.work = work_unlink, .reply = reply_result, .ino = parent, .name = name}
    );
}

/* --- renaming */

struct names {
    struct image *dir, *new_dir, *file, *target;
    char volume[S3PVE_VOLUME_NAME], new_volume[S3PVE_VOLUME_NAME];
};

/* With the lock held.  Return: 0, or a negative errno. */
static int find_names(struct job *job, struct names *names) {
    struct images *images = job->session->images;
    names->dir = image_by_ino(images, job->ino);
    names->new_dir = image_by_ino(images, job->ino2);
    names->file = names->dir ? image_child(names->dir, job->name) : NULL;
    names->target = names->new_dir ? image_child(names->new_dir, job->name2) : NULL;
    if (!names->file || !names->new_dir || !image_is_there(names->file))
        return -ENOENT;
    if (names->file->kind != IMAGE_FILE)
        return -EPERM;
    int r = image_check_name(names->new_dir, job->name2, false);
    if (r == 0)
        r = image_volume(names->dir, job->name, names->volume);
    if (r == 0)
        r = image_volume(names->new_dir, job->name2, names->new_volume);
    if (r < 0 || !names->target)
        return r;
    if (names->target->kind != IMAGE_FILE)
        return -EISDIR;
    return job->flags & RENAME_NOREPLACE ? -EEXIST : 0;
}

static int rename_volume(struct job *job, const struct names *names) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = name_call(job);
    struct images *images = job->session->images;
    struct s3pve_volumes *volumes = images->options.volumes;
    pthread_mutex_unlock(&images->lock);
    int r = s3pve_volumes_rename(volumes, names->volume, names->new_volume, &call, &err);
    if (r < 0)
        r = images_fail("rename", names->volume, &err);
    pthread_mutex_lock(&images->lock);
    return r;
}

/* With the lock held, which is let go meanwhile.  All nodes have references. */
static int move(struct job *job, const struct names *names) {
    struct images *images = job->session->images;
    struct image *file = names->file, *target = names->target;
    wait_closed(images, file);
    if (target)
        wait_closed(images, target);
    if (image_is_used(file) || (target && image_is_used(target)))
        return -EBUSY;
    int r = target && target->parent ? delete_closed(job, target, names->new_volume) : 0;
    if (r == 0)
        r = rename_volume(job, names);
    if (r < 0 || file->parent != names->dir)
        return r;
    char *name = strdup(job->name2);
    image_touch(images, names->dir);
    image_touch(images, names->new_dir);
    image_detach(file);
    if (!name)
        return 0; /* the next listing has it */
    free(file->name);
    file->name = name;
    if (image_is_base(name))
        file->mode &= ~0222u;
    file->changed = images->clock;
    image_attach(names->new_dir, file);
    return 0;
}

static int rename_held(struct job *job) {
    struct images *images = job->session->images;
    struct names names = {0};
    LOCK_SCOPE(&images->lock);
    int r = find_names(job, &names);
    if (r < 0 || names.file == names.target)
        return r;
    struct image *all[] = {names.file, names.target};
    for (int i = 0; i < 2; i++) {
        if (all[i])
            all[i]->n_lookup++;
    }
    r = move(job, &names);
    for (int i = 0; i < 2; i++) {
        if (all[i])
            image_unref(images, all[i], 1);
    }
    return r;
}

static int work_rename(struct job *job) {
    struct images *images = job->session->images;
    struct image *dir = NULL, *new_dir = NULL;
    int r = hold_dir(job, job->ino, &dir);
    if (r < 0)
        return r;
    r = hold_dir(job, job->ino2, &new_dir);
    if (r == 0) {
        r = rename_held(job);
        images_forget(images, job->ino2, 1);
    }
    images_forget(images, job->ino, 1);
    return r;
}

void image_rename(
    fuse_req_t req,
    fuse_ino_t parent,
    const char *name,
    fuse_ino_t new_parent,
    const char *new_name,
    unsigned flags
) {
    if (flags & ~(unsigned)RENAME_NOREPLACE) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    submit(
        req,
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
