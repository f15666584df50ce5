/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "daemon/fuse_ops.h"
#include "daemon/images_tree.h"

void images_forget(struct images *images, uint64_t ino, uint64_t n) {
    LOCK_SCOPE(&images->lock);
    struct image *image = image_by_ino(images, ino);
    if (image)
        image_unref(images, image, n);
}

/* --- finding */

static void reply_entry(struct images *images, fuse_req_t req, const struct stat *attr) {
    struct fuse_entry_param entry = entry_of(attr);
    if (fuse_reply_entry(req, &entry) != 0)
        images_forget(images, attr->st_ino, 1);
}

void image_lookup_root(fuse_req_t req) {
    struct images *images = session_of(req)->images;
    struct stat attr;
    pthread_mutex_lock(&images->lock);
    images->root->n_lookup++;
    image_stat(images->root, &attr);
    pthread_mutex_unlock(&images->lock);
    reply_entry(images, req, &attr);
}

/* Which directory must have been listed lately for @name to be found, or not, in @dir; with a
 * reference.  A guest that nobody heard of is put into the tree to be listed. */
static struct image *dir_to_list(struct images *images, struct image *dir, const char *name) {
    struct image *at = dir;
    if (dir->kind == IMAGE_ROOT) {
        at = image_child(dir, name);
        if (!at && image_check_name(dir, name, true) == 0)
            at = image_add(images, dir, IMAGE_GUEST, name);
    } else if (dir->kind == IMAGE_FOLDER) {
        at = image_guest(dir);
    }
    if (at)
        at->n_lookup++;
    return at;
}

/* Return: 0, -ENOENT, or 1: it should be listed first, and *ret_at has a reference. */
static int find(
    struct images *images,
    uint64_t parent,
    const char *name,
    struct stat *ret_attr,
    struct image **ret_at
) {
    LOCK_SCOPE(&images->lock);
    struct image *dir = image_by_ino(images, parent);
    struct image *at = dir ? dir_to_list(images, dir, name) : NULL;
    if (!at)
        return -ENOENT;
    if (ret_at && !images_is_fresh(images, at)) {
        *ret_at = at;
        return 1;
    }
    struct image *child = image_child(dir, name);
    if (child && !image_is_there(child))
        child = NULL;
    if (child) {
        child->n_lookup++;
        image_stat(child, ret_attr);
    }
    image_unref(images, at, 1);
    return child ? 0 : -ENOENT;
}

static int work_lookup(struct job *job) {
    struct images *images = job->session->images;
    struct image *at = job->result;
    int r = images_refresh(images, at, &job->cancel);
    pthread_mutex_lock(&images->lock);
    image_unref(images, at, 1);
    pthread_mutex_unlock(&images->lock);
    return r < 0 ? r : find(images, job->ino, job->name, &job->attr, NULL);
}

static void reply_lookup(struct job *job, int result) {
    if (result < 0)
        fuse_reply_err(job->req, -result);
    else
        reply_entry(job->session->images, job->req, &job->attr);
}

void image_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
    struct session *session = session_of(req);
    struct job job = {
        .req = req,
        .session = session,
        .work = work_lookup,
        .reply = reply_lookup,
        .ino = parent,
        .name = name,
        .must_run = true,
    };
    struct image *at = NULL;
    int r = find(session->images, parent, name, &job.attr, &at);
    if (r <= 0) {
        reply_lookup(&job, r);
        return;
    }
    job.result = at;
    job_submit(session->jobs, &job, JOB_NAME);
}

/* --- reading directories: a copy of the names, made by the first read */

struct image_dir {
    pthread_mutex_t lock; /* guards what follows; threads may share a descriptor */
    struct dir_entry {
        uint64_t ino; /* for d_ino; it may be gone by now */
        mode_t mode;
        char *name; /* owned */
    } * entries;
    size_t n;
};

static void dir_clear(struct image_dir *dir) {
    for (size_t i = 0; i < dir->n; i++)
        free(dir->entries[i].name);
    free(dir->entries);
    dir->entries = NULL;
    dir->n = 0;
}

void image_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)ino;
    struct image_dir *dir = calloc(1, sizeof(*dir));
    if (!dir) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    pthread_mutex_init(&dir->lock, NULL);
    fi->fh = (uintptr_t)dir;
    if (fuse_reply_open(req, fi) != 0) {
        pthread_mutex_destroy(&dir->lock);
        free(dir);
    }
}

void image_releasedir(fuse_req_t req, const struct fuse_file_info *fi) {
    struct image_dir *dir = (struct image_dir *)(uintptr_t)fi->fh;
    dir_clear(dir);
    pthread_mutex_destroy(&dir->lock);
    free(dir);
    fuse_reply_err(req, 0);
}

static bool push(struct image_dir *dir, const struct image *image, const char *name) {
    mode_t type = image->kind == IMAGE_FILE ? S_IFREG : S_IFDIR;
    char *copy = strdup(name);
    if (!copy)
        return false;
    dir->entries[dir->n++] = (struct dir_entry){image->ino, type, copy};
    return true;
}

static int copy_names(struct images *images, uint64_t ino, struct image_dir *dir) {
    LOCK_SCOPE(&images->lock);
    struct image *image = image_by_ino(images, ino);
    size_t n = 2;
    for (struct image *i = image ? image->children : NULL; i; i = i->next)
        n++;
    dir->entries = image ? calloc(n, sizeof(*dir->entries)) : NULL;
    if (!dir->entries)
        return image ? -ENOMEM : -ENOENT;
    if (!push(dir, image, ".") || !push(dir, image->parent ? image->parent : image, ".."))
        return -ENOMEM;
    for (struct image *i = image->children; i; i = i->next) {
        if (image_is_there(i) && !push(dir, i, i->name))
            return -ENOMEM;
    }
    return 0;
}

/* Return: 0, or a negative errno. */
static int read_names(
    struct images *images, uint64_t ino, struct image_dir *dir, const int *cancel
) {
    pthread_mutex_lock(&images->lock);
    struct image *image = image_by_ino(images, ino);
    if (image)
        image->n_lookup++;
    pthread_mutex_unlock(&images->lock);
    if (!image)
        return -ENOENT;
    int r = images_refresh(images, image, cancel);
    dir_clear(dir);
    if (r == 0)
        r = copy_names(images, ino, dir);
    images_forget(images, ino, 1);
    return r;
}

/* The kernel counts a reference for each name it is given with attributes, but for the dots. */
static size_t add_plus(struct job *job, const struct dir_entry *entry, char *at, size_t room) {
    struct images *images = job->session->images;
    struct fuse_entry_param param = {.attr = {.st_ino = entry->ino, .st_mode = entry->mode}};
    if (entry->name[0] != '.') {
        LOCK_SCOPE(&images->lock);
        struct image *image = image_by_ino(images, entry->ino);
        if (image) {
            struct stat attr;
            image_stat(image, &attr);
            param = entry_of(&attr);
            image->n_lookup++;
        }
    }
    off_t next = job->offset + 1;
    size_t need = fuse_add_direntry_plus(job->req, at, room, entry->name, &param, next);
    if (need > room && param.ino)
        images_forget(images, param.ino, 1);
    return need;
}

static size_t add_entry(struct job *job, const struct dir_entry *entry, char *at, size_t room) {
    if (job->flags)
        return add_plus(job, entry, at, room);
    struct stat attr = {.st_ino = entry->ino, .st_mode = entry->mode};
    return fuse_add_direntry(job->req, at, room, entry->name, &attr, job->offset + 1);
}

/* .offset: of the next name; .flags: with attributes; what is left in .result is the reply. */
static int work_readdir(struct job *job) {
    struct image_dir *dir = (struct image_dir *)(uintptr_t)job->fi.fh;
    LOCK_SCOPE(&dir->lock);
    if (job->offset == 0 || !dir->entries) {
        int r = read_names(job->session->images, job->ino, dir, &job->cancel);
        if (r < 0)
            return r;
    }
    char *data = job->result = malloc(job->len);
    size_t len = 0;
    if (!data)
        return -ENOMEM;
    for (; job->offset >= 0 && (size_t)job->offset < dir->n; job->offset++) {
        size_t need = add_entry(job, &dir->entries[job->offset], data + len, job->len - len);
        if (need > job->len - len)
            break;
        len += need;
    }
    return (int)len;
}

static void reply_readdir(struct job *job, int result) {
    if (result < 0)
        fuse_reply_err(job->req, -result);
    else
        fuse_reply_buf(job->req, job->result, (size_t)result);
    free(job->result);
}

void image_readdir(
    fuse_req_t req,
    fuse_ino_t ino,
    size_t size,
    off_t offset,
    const struct fuse_file_info *fi,
    bool plus
) {
    struct session *session = session_of(req);
    struct job job = {
        .req = req,
        .session = session,
        .work = work_readdir,
        .reply = reply_readdir,
        .ino = ino,
        .len = size < FUSE_WRITE ? size : FUSE_WRITE,
        .offset = offset,
        .fi = *fi,
        .flags = plus,
    };
    job_submit(session->jobs, &job, JOB_NAME);
}
