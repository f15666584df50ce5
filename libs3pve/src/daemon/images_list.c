/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What other nodes did to images/: a guest's volumes are listed when somebody looks and the last
 * listing is old.  Whoever looks lists; who comes meanwhile waits for him.
 *
 * What we changed while a listing ran it may not know: it takes nothing away then, adds nothing,
 * and does not count as one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/images_tree.h"

struct found {
    struct s3pve_volume_info *infos; /* owned */
    size_t n, max;
};

static int collect(void *ctx, const struct s3pve_volume_info *info) {
    struct found *found = ctx;
    if (found->n == found->max) {
        size_t max = found->max ? found->max * 2 : 16;
        struct s3pve_volume_info *infos = realloc(found->infos, max * sizeof(*infos));
        if (!infos)
            return -ENOMEM;
        found->infos = infos;
        found->max = max;
    }
    found->infos[found->n++] = *info;
    return 0;
}

/* --- from a listing into the tree */

/* "100/tmp_9_100.disk.vmdk" is 100, tmp_9_100, disk.vmdk; the folder is "" where there is none. */
struct place {
    char name[S3PVE_VOLUME_NAME]; /* cut into these */
    const char *guest, *folder, *file;
};

static bool find_place(const char *volume, struct place *place) {
    snprintf(place->name, sizeof(place->name), "%s", volume);
    char *slash = strchr(place->name, '/');
    if (!slash)
        return false;
    *slash = '\0';
    place->guest = place->name;
    place->folder = "";
    place->file = slash + 1;
    char *dot = strchr(slash + 1, '.');
    if (dot && strncmp(place->file, "tmp_", 4) == 0) {
        *dot = '\0';
        place->folder = place->file;
        place->file = dot + 1;
    }
    return true;
}

static struct image *child_or_new(
    struct images *images, struct image *dir, enum image_kind kind, const char *name
) {
    struct image *image = image_child(dir, name);
    return image ? image : image_add(images, dir, kind, name);
}

static void update(struct image *file, const struct s3pve_volume_info *info) {
    file->seen = true;
    if (file->n_open || file->volume)
        return; /* we know better */
    file->size = info->size;
    file->grows = info->is_file;
}

static void merge_one(struct images *images, const struct s3pve_volume_info *info, uint64_t began) {
    struct place place;
    if (!find_place(info->name, &place) || image_is_doomed(images, info->name))
        return;
    struct image *dir = child_or_new(images, images->root, IMAGE_GUEST, place.guest);
    if (dir && *place.folder)
        dir = child_or_new(images, dir, IMAGE_FOLDER, place.folder);
    if (!dir)
        return;
    struct image *file = image_child(dir, place.file);
    if (!file && image_guest(dir)->changed <= began) {
        file = image_add(images, dir, IMAGE_FILE, place.file);
        if (file && info->created)
            file->mtime = (struct timespec){.tv_sec = info->created};
    }
    if (file && file->changed <= began)
        update(file, info);
    image_collect(images, dir);
}

static void forget_seen(struct image *dir) {
    for (struct image *i = dir->children; i; i = i->next) {
        i->seen = false;
        forget_seen(i);
    }
}

/* Files that are not there any more. */
static void drop_unseen(struct images *images, struct image *dir, uint64_t began) {
    for (struct image *i = dir->children, *next; i; i = next) {
        next = i->next;
        if (i->kind != IMAGE_FILE) {
            drop_unseen(images, i, began);
        } else if (!i->seen && i->changed <= began && !i->n_open && !i->volume) {
            image_detach(i);
            image_collect(images, i);
        }
    }
    if (dir->kind != IMAGE_ROOT)
        image_collect(images, dir);
}

static void mark_listed(struct image *dir, uint64_t began) {
    dir->known = true;
    dir->failed_ms = 0;
    dir->listed_ms = dir->changed <= began ? clock_monotonic_ms() : 0;
}

static void merge(
    struct images *images, struct image *dir, const struct found *found, uint64_t began
) {
    forget_seen(dir);
    for (size_t i = 0; i < found->n; i++)
        merge_one(images, &found->infos[i], began);
    mark_listed(dir, began);
    if (dir->kind == IMAGE_ROOT) {
        for (struct image *guest = dir->children; guest; guest = guest->next)
            mark_listed(guest, began);
    }
    dir->n_lookup++; /* it is looked at a moment longer */
    drop_unseen(images, dir, began);
    dir->n_lookup--;
}

/* --- when */

static bool is_offline(struct images *images) {
    struct s3pve_files_stats stats;
    s3pve_files_stats(images->options.files, &stats);
    return !stats.online;
}

bool images_is_fresh(struct images *images, const struct image *dir) {
    int64_t now = clock_monotonic_ms();
    if (dir->listed_ms && now - dir->listed_ms < DIR_TTL_MS)
        return true;
    if (!dir->known)
        return false;
    return (dir->failed_ms && now - dir->failed_ms < LISTING_AGAIN_MS) || is_offline(images);
}

static int list(struct images *images, struct image *dir, const int *cancel) {
    _free_ struct s3pve_volume_info *infos = NULL;
    struct found found = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = {
        .timeout_ms = dir->known ? LISTING_WAIT_MS : LISTING_FIRST_MS,
        .cancel = cancel,
    };
    uint64_t vmid = dir->kind == IMAGE_GUEST ? strtoull(dir->name, NULL, 10) : 0;
    uint64_t began = images->clock;

    pthread_mutex_unlock(&images->lock);
    int r = s3pve_volumes_list(images->options.volumes, vmid, collect, &found, &call, &err);
    infos = found.infos;
    if (r < 0)
        images_fail("list", dir->name, &err);
    pthread_mutex_lock(&images->lock);
    if (r == 0)
        merge(images, dir, &found, began);
    else
        dir->failed_ms = clock_monotonic_ms();
    return r;
}

int images_refresh(struct images *images, struct image *dir, const int *cancel) {
    LOCK_SCOPE(&images->lock);
    struct image *at = dir->kind == IMAGE_FOLDER ? image_guest(dir) : dir;
    if (!at)
        return 0; /* removed meanwhile, and empty */
    at->n_lookup++;
    while (at->listing) /* whoever does that has a deadline */
        pthread_cond_wait(&images->changed, &images->lock);
    int r = 0;
    if (!images_is_fresh(images, at)) {
        at->listing = true;
        r = list(images, at, cancel);
        at->listing = false;
        pthread_cond_broadcast(&images->changed);
    }
    bool known = at->known;
    image_unref(images, at, 1);
    return known ? 0 : r == 0 ? 0 : -EIO;
}
