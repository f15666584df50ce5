/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/images.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/images_tree.h"
#include "daemon/log.h"

/* --- failures */

static int errno_of(const struct s3pve_error *err) {
    switch (err->code) {
    case S3PVE_E_NOT_FOUND: return ENOENT;
    case S3PVE_E_CONFLICT: return EBUSY;
    case S3PVE_E_CANCELLED: return EINTR;
    case S3PVE_E_NO_SPACE: return ENOSPC;
    case S3PVE_E_NOMEM: return ENOMEM;
    case S3PVE_E_TIMEOUT: return EIO;
    default: return err->errnum ? err->errnum : EIO;
    }
}

int images_fail(const char *what, const char *volume, const struct s3pve_error *err) {
    bool answer = err->code == S3PVE_E_NOT_FOUND || err->code == S3PVE_E_CANCELLED;
    enum s3pve_log_level level = answer ? S3PVE_LOG_DEBUG : S3PVE_LOG_WARNING;
    log_say(level, "images", "%s %s: %s", what, volume, err->message);
    return -errno_of(err);
}

/* --- the reaper: gives back what nobody has open, and deletes what was unlinked */

static void wait_ms(struct images *images, pthread_cond_t *cond, int64_t ms) {
    struct timespec until = clock_in_ms(CLOCK_REALTIME, ms);
    pthread_cond_timedwait(cond, &images->lock, &until);
}

bool images_wait_until(struct images *images, int64_t until_ms) {
    int64_t left = until_ms - clock_monotonic_ms();
    if (left > 0)
        wait_ms(images, &images->changed, left);
    return left > 0;
}

void image_idle(struct images *images, struct image *image) {
    if (image->n_open || image->n_busy)
        return;
    image->closing = true;
    pthread_cond_signal(&images->wake);
}

/* One that nobody uses any more; it may be opened again whenever the lock is free. */
static void give_back(struct images *images, struct image *image) {
    struct s3pve_volume *volume = steal_ptr(&image->volume);
    if (!volume)
        return;
    image->size = s3pve_volume_size(volume);
    pthread_mutex_unlock(&images->lock);
    s3pve_volume_release(volume);
    pthread_mutex_lock(&images->lock);
}

/* Return: whether it is done with; else it is tried again. */
static bool delete_doomed(struct images *images, struct image *image) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = {.timeout_ms = NAME_MS};
    pthread_mutex_unlock(&images->lock);
    int r = s3pve_volumes_delete(images->options.volumes, image->doomed, &call, &err);
    if (r < 0)
        r = images_fail("delete", image->doomed, &err);
    pthread_mutex_lock(&images->lock);
    if (r < 0 && r != -ENOENT)
        return false;

    struct image **p = &images->doomed;
    while (*p != image)
        p = &(*p)->next;
    *p = image->next;
    image->next = NULL;
    free(steal_ptr(&image->doomed));
    return true;
}

/* With the lock held, which is let go now and then. */
static void reap(struct images *images, struct image *image) {
    struct image_io *flush = NULL;
    image->n_lookup++; /* it is not freed meanwhile */
    if (image->dirty && image->volume && !images->stopped) {
        image->dirty = false;
        flush = image_flush_self(images, image); /* comes back here when it is done */
    }
    image->closing = false;
    if (flush) {
        pthread_mutex_unlock(&images->lock);
        image_io_submit(flush);
        pthread_mutex_lock(&images->lock);
    } else {
        give_back(images, image);
        bool unused = !image->n_open && !image->n_busy && !image->volume;
        if (image->doomed && unused && !delete_doomed(images, image)) {
            image->closing = true; /* later */
            image->failed_ms = clock_monotonic_ms();
        }
    }
    pthread_cond_broadcast(&images->changed);
    image_unref(images, image, 1);
}

static struct image *find_closing(struct images *images, bool *ret_later) {
    int64_t now = clock_monotonic_ms();
    for (unsigned i = 0; i < images->max_nodes; i++) {
        struct image *image = images->nodes[i];
        if (!image || !image->closing || image->n_open || image->n_busy)
            continue;
        if (!image->failed_ms || now - image->failed_ms >= IMAGES_AGAIN_MS)
            return image;
        *ret_later = true;
    }
    return NULL;
}

static void *reaper(void *arg) {
    struct images *images = arg;
    LOCK_SCOPE(&images->lock);
    while (!images->ended) {
        bool later = false;
        struct image *image = find_closing(images, &later);
        image_io_drop(images, false);
        if (image)
            reap(images, image);
        else if (later || images->pending)
            wait_ms(images, &images->wake, IMAGES_LOOK_MS);
        else
            pthread_cond_wait(&images->wake, &images->lock);
    }
    return NULL;
}

/* --- beginning and end */

static struct images *release(struct images *images) {
    image_tree_clear(images);
    pages_clear(&images->pages);
    pthread_cond_destroy(&images->wake);
    pthread_cond_destroy(&images->changed);
    pthread_mutex_destroy(&images->lock);
    pthread_mutex_destroy(&images->pages_lock);
    free(images);
    return NULL;
}

struct images *images_new(const struct images_options *options) {
    struct images *images = calloc(1, sizeof(*images));
    if (!images)
        return NULL;
    images->options = *options;
    images->notify = kernel_notify(options->kernel);
    pthread_mutex_init(&images->lock, NULL);
    pthread_mutex_init(&images->pages_lock, NULL);
    pthread_cond_init(&images->changed, NULL);
    pthread_cond_init(&images->wake, NULL);
    if (image_tree_init(images) < 0 || pthread_create(&images->reaper, NULL, reaper, images) != 0)
        return release(images);
    return images;
}

void images_stop(struct images *images) {
    LOCK_SCOPE(&images->lock);
    images->stopped = true;
    image_io_drop(images, true);
}

/* What the kernel will not close any more. */
static void close_all(struct images *images) {
    for (unsigned i = 0; i < images->max_nodes; i++) {
        struct image *image = images->nodes[i];
        if (!image || (!image->n_open && !image->volume))
            continue;
        image->n_open = 0;
        image_idle(images, image);
    }
}

static bool is_holding(struct images *images) {
    for (unsigned i = 0; i < images->max_nodes; i++) {
        if (images->nodes[i] && images->nodes[i]->volume)
            return true;
    }
    return false;
}

static bool wait_given_back(struct images *images) {
    int64_t until = clock_monotonic_ms() + IMAGES_END_MS;
    while (is_holding(images) && images_wait_until(images, until))
        continue;
    return !is_holding(images);
}

struct images *images_free(struct images *images) {
    if (!images)
        return NULL;
    pthread_mutex_lock(&images->lock);
    close_all(images);
    if (!wait_given_back(images)) {
        s3pve_volumes_stop(images->options.volumes); /* which ends what is under way */
        wait_given_back(images);
    }
    images->ended = true;
    bool busy = images->n_busy > 0;
    pthread_cond_broadcast(&images->wake);
    pthread_mutex_unlock(&images->lock);

    pthread_join(images->reaper, NULL);
    return busy ? NULL : release(images); /* else what is under way still needs it */
}

unsigned images_n_open(struct images *images) {
    LOCK_SCOPE(&images->lock);
    return images->n_open;
}

/* --- others' changes */

void images_root(struct images *images, struct stat *ret_attr) {
    LOCK_SCOPE(&images->lock);
    image_stat(images->root, ret_attr);
}

void images_changed(struct images *images, const char *volume) {
    char name[S3PVE_VOLUME_NAME];
    size_t len = strcspn(volume, "/");
    if (len >= sizeof(name) || volume[len] != '/')
        return;
    memcpy(name, volume, len);
    name[len] = '\0';

    uint64_t ino = 0, dir_ino = 0;
    pthread_mutex_lock(&images->lock);
    struct image *guest = image_child(images->root, name);
    images->root->listed_ms = 0;
    images->root->changed = ++images->clock;
    if (guest) {
        struct image *file = image_child(guest, volume + len + 1);
        guest->listed_ms = guest->failed_ms = 0;
        guest->changed = images->clock;
        dir_ino = guest->ino;
        ino = file ? file->ino : 0;
    }
    pthread_mutex_unlock(&images->lock);

    if (dir_ino)
        images->notify.inval_entry(images->notify.ctx, dir_ino, volume + len + 1);
    if (ino)
        images->notify.inval_inode(images->notify.ctx, ino);
}
