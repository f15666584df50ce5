/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * images_tree.h - what is in images/, as far as we know, and what its files share
 *
 *     root -> guests (100) -> files, and folders (tmp_9_100) -> files
 *
 * A guest or a folder is there when somebody made it or when there is something in it; the bucket
 * knows only volumes.  A node stays while the kernel knows its inode, somebody has it open, or its
 * volume is at work for it, with or without a name.
 *
 * images->lock guards all of it, and is never held while anybody waits.
 */
#ifndef DAEMON_IMAGES_TREE_H
#define DAEMON_IMAGES_TREE_H

#include "base/cleanup.h"
#include "daemon/images.h"
#include "nbd/pages.h"

enum image_kind { IMAGE_ROOT, IMAGE_GUEST, IMAGE_FOLDER, IMAGE_FILE };

struct image {
    uint64_t ino;
    enum image_kind kind;
    char *name;                    /* owned */
    struct image *parent;          /* NULL: the root, or it has no name any more */
    struct image *children, *next; /* next: in the parent's list, or among the doomed */
    uint64_t n_lookup;             /* references: the kernel's, and ours while we wait */
    mode_t mode;                   /* permissions */
    uid_t uid;
    gid_t gid;
    struct timespec mtime;
    uint64_t changed; /* when we did, by images->clock: an older listing does not know */

    /* Guests, folders, the root. */
    bool kept;         /* somebody made it */
    bool listing;      /* somebody asks the store */
    int64_t listed_ms; /* monotonic; 0: never, or not since it changed */
    int64_t failed_ms; /* the store did not say; 0: it did */
    bool known;        /* it was listed once */

    /* Files. */
    uint64_t size;           /* while nobody has it open */
    bool grows;              /* S3PVE_VOLUME_FILE */
    bool seen;               /* by the listing that is looked through */
    char *doomed;            /* owned; the volume to delete when nobody uses it: it is unlinked */
    unsigned n_open, n_busy; /* descriptors, requests */
    struct s3pve_volume *volume; /* held while it is open */
    bool dirty;                  /* written to since the last flush */
    bool closing;                /* for the reaper */
};

/* A descriptor and its copies. */
struct image_handle {
    struct image *image;
    pid_t opener; /* a process; 0: nobody who could write */
};

static inline struct image_handle *image_handle_of(const struct fuse_file_info *fi) {
    return (struct image_handle *)(uintptr_t)fi->fh;
}

static inline struct image *image_of(const struct fuse_file_info *fi) {
    return image_handle_of(fi)->image;
}

struct image_io;

struct images {
    struct images_options options;
    struct s3pve_files_notify notify;
    pthread_t reaper;

    pthread_mutex_t pages_lock; /* guards .pages */
    struct pages pages;

    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t changed; /* a listing ended, a file was closed, a volume deleted */
    pthread_cond_t wake;    /* the reaper's */
    struct image **nodes;   /* by the low bits of an inode's number */
    unsigned n_nodes, n_free, max_nodes;
    uint64_t serial; /* of the next inode */
    uint64_t clock;  /* of changes */
    struct image *root;
    struct image *doomed;     /* without a name, to be deleted */
    struct image_io *pending; /* requests somebody waits for */
    unsigned n_open, n_busy;
    bool stopped, ended;
};

/* --- images_tree.c; all with the lock held */

int image_tree_init(struct images *images); /* Return: 0, or -ENOMEM */
void image_tree_clear(struct images *images);

struct image *image_by_ino(struct images *images, uint64_t ino); /* NULL: unknown */
struct image *image_child(struct image *dir, const char *name);  /* NULL: none */
/* NULL: no memory, or LIMIT.  A guest's or folder's child in it; it has no reference yet. */
struct image *image_add(
    struct images *images, struct image *dir, enum image_kind kind, const char *name
);
void image_detach(struct image *image); /* it has no name any more */
void image_attach(struct image *dir, struct image *image);
/* Free it if nothing needs it: nameless, or a folder that is not there. */
void image_collect(struct images *images, struct image *image);
void image_unref(struct images *images, struct image *image, uint64_t n);

bool image_is_base(const char *name);          /* what guests are cloned from: not to be changed */
bool image_is_used(const struct image *image); /* somebody has it open, or just had */
bool image_is_doomed(struct images *images, const char *volume);
bool image_is_there(const struct image *image);
/* The guest a folder or file belongs to; itself.  NULL: of the root, and of what has no name. */
struct image *image_guest(struct image *image);

/* Which kind a new name in @dir is; a folder's or a file's.  Return: 0, -EPERM, -ENAMETOOLONG ...
 */
int image_check_name(const struct image *dir, const char *name, bool folder);
/* The volume of file @name in @dir.  Return: 0, or -ENAMETOOLONG */
int image_volume(const struct image *dir, const char *name, char volume[S3PVE_VOLUME_NAME]);
void image_stat(const struct image *image, struct stat *ret_attr);

/* We changed something in @dir: listings that run are older. */
void image_touch(struct images *images, struct image *dir);

/* --- images_list.c */

/* Is what we know of @dir good enough to answer?  With the lock held. */
bool images_is_fresh(struct images *images, const struct image *dir);
/* See to it that it is, as far as the store lets us.  Without the lock; @dir is referenced.
 * Return: 0, or -EIO: nothing is known. */
int images_refresh(struct images *images, struct image *dir, const int *cancel);

/* --- images.c */

/* Log it, and say it in errno: always negative. */
int images_fail(const char *what, const char *volume, const struct s3pve_error *err);
/* Nobody has it open any more, or a request of it is done.  With the lock held. */
void image_idle(struct images *images, struct image *image);
/* Wait, with the lock held, until something changed.  Return: false when it is so late already. */
bool images_wait_until(struct images *images, int64_t until_ms);

/* --- images_io.c */

struct image_io *image_flush_self(struct images *images, struct image *image); /* lock held */
void image_io_submit(struct image_io *io);                                     /* not held */
/* Answer requests whose process was killed; with @all, every one.  With the lock held. */
void image_io_drop(struct images *images, bool all);
/* From @offset on, as far as the file goes, and answer @req. */
void image_zero(
    fuse_req_t req, const struct fuse_file_info *fi, uint64_t offset, uint64_t len, bool unmap
);
/* Make all of it zeroes, and wait; Return: 0, or a negative errno */
int image_zero_all(struct images *images, struct image *image, const int *cancel);

/* --- images_clear.c */

/** images_clear_small() - make all of a disk zeroes, if it is no larger than a TPM's state. Return:
 *  whether it was done */
bool images_clear_small(struct images *images, const char *name, const struct s3pve_call *call);

#endif
