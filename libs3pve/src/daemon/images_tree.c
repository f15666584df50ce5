/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/images_tree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"

#define SLOT_BITS                                                                                  \
    24 /* of an inode's number: its place in ->nodes; the rest is never used twice                 \
        */
#define SLOT_MASK ((1u << SLOT_BITS) - 1)
#define SLOTS_FIRST 256u
#define FOLDER_PREFIX "tmp_" /* of a folder's name; no file's in a guest begins so */
#define SECTOR 512

/* --- nodes by inode */

static bool grow(struct images *images) {
    unsigned max = images->max_nodes ? images->max_nodes * 2 : SLOTS_FIRST;
    if (max > IMAGES_MAX)
        return false;
    struct image **nodes = realloc(images->nodes, max * sizeof(*nodes));
    if (!nodes)
        return false;
    memset(nodes + images->max_nodes, 0, (max - images->max_nodes) * sizeof(*nodes));
    images->nodes = nodes;
    images->n_free += max - images->max_nodes;
    images->max_nodes = max;
    return true;
}

static struct image *node_new(struct images *images, const char *name) {
    if (!images->n_free && !grow(images))
        return NULL;
    struct image *image = calloc(1, sizeof(*image));
    if (!image || !(image->name = strdup(name))) {
        free(image);
        return NULL;
    }
    unsigned slot = (unsigned)(images->serial % images->max_nodes);
    while (images->nodes[slot])
        slot = (slot + 1) % images->max_nodes;
    image->ino = IMAGES_INO | images->serial++ << SLOT_BITS | slot;
    images->nodes[slot] = image;
    images->n_free--;
    return image;
}

static void node_free(struct images *images, struct image *image) {
    images->nodes[image->ino & SLOT_MASK] = NULL;
    images->n_free++;
    free(image->doomed);
    free(image->name);
    free(image);
}

struct image *image_by_ino(struct images *images, uint64_t ino) {
    unsigned slot = (unsigned)(ino & SLOT_MASK);
    struct image *image = slot < images->max_nodes ? images->nodes[slot] : NULL;
    return image && image->ino == ino ? image : NULL;
}

int image_tree_init(struct images *images) {
    images->root = node_new(images, IMAGES_NAME);
    if (!images->root)
        return -ENOMEM;
    images->root->kind = IMAGE_ROOT;
    images->root->mode = 0755;
    images->root->kept = true;
    clock_gettime(CLOCK_REALTIME, &images->root->mtime);
    return 0;
}

void image_tree_clear(struct images *images) {
    for (unsigned i = 0; i < images->max_nodes; i++) {
        if (images->nodes[i])
            node_free(images, images->nodes[i]);
    }
    free(images->nodes);
}

/* --- names */

struct image *image_child(struct image *dir, const char *name) {
    struct image *image = dir->children;
    while (image && strcmp(image->name, name) != 0)
        image = image->next;
    return image;
}

void image_attach(struct image *dir, struct image *image) {
    image->parent = dir;
    image->next = dir->children;
    dir->children = image;
}

bool image_is_base(const char *name) {
    return strncmp(name, "base-", 5) == 0;
}

struct image *image_add(
    struct images *images, struct image *dir, enum image_kind kind, const char *name
) {
    struct image *image = node_new(images, name);
    if (!image)
        return NULL;
    image->kind = kind;
    image->mode = kind != IMAGE_FILE ? 0755 : image_is_base(name) ? 0444 : 0640;
    clock_gettime(CLOCK_REALTIME, &image->mtime);
    image_attach(dir, image);
    return image;
}

void image_detach(struct image *image) {
    if (!image->parent)
        return;
    struct image **p = &image->parent->children;
    while (*p != image)
        p = &(*p)->next;
    *p = image->next;
    image->parent = image->next = NULL;
}

bool image_is_used(const struct image *image) {
    return image->n_open || image->n_busy || image->volume;
}

bool image_is_doomed(struct images *images, const char *volume) {
    struct image *image = images->doomed;
    while (image && strcmp(image->doomed, volume) != 0)
        image = image->next;
    return image != NULL;
}

bool image_is_there(const struct image *image) {
    return image->kind == IMAGE_FILE || image->kept || image->children;
}

void image_collect(struct images *images, struct image *image) {
    if (image->n_lookup || image->n_open || image->n_busy || image->volume || image->doomed ||
        image->listing || image->children || image == images->root)
        return;
    struct image *dir = image->parent;
    if (dir && image_is_there(image))
        return;
    image_detach(image);
    node_free(images, image);
    if (dir)
        image_collect(images, dir);
}

void image_unref(struct images *images, struct image *image, uint64_t n) {
    image->n_lookup -= n < image->n_lookup ? n : image->n_lookup;
    image_collect(images, image);
}

struct image *image_guest(struct image *image) {
    while (image && image->kind != IMAGE_GUEST)
        image = image->parent;
    return image;
}

void image_touch(struct images *images, struct image *dir) {
    struct image *guest = image_guest(dir);
    uint64_t now = ++images->clock;
    clock_gettime(CLOCK_REALTIME, &dir->mtime);
    images->root->changed = now;
    if (guest)
        guest->changed = now;
    dir->kept = true; /* what somebody works in does not go with its last file */
}

/* --- names as volumes have them */

/* A guest's number, as Proxmox VE writes it. */
static bool is_guest(const char *name) {
    size_t len = strspn(name, "0123456789");
    return len > 0 && len <= 10 && name[len] == '\0' && name[0] != '0';
}

static bool is_folder(const char *name) {
    return strncmp(name, FOLDER_PREFIX, strlen(FOLDER_PREFIX)) == 0 && !strchr(name, '.');
}

int image_check_name(const struct image *dir, const char *name, bool folder) {
    if (dir->kind == IMAGE_ROOT)
        return folder && is_guest(name) ? 0 : -EPERM;
    if (folder)
        return dir->kind == IMAGE_GUEST && is_folder(name) ? 0 : -EPERM;
    if (dir->kind == IMAGE_GUEST && strncmp(name, FOLDER_PREFIX, strlen(FOLDER_PREFIX)) == 0)
        return -EPERM;
    char volume[S3PVE_VOLUME_NAME];
    int r = image_volume(dir, name, volume);
    if (r < 0)
        return r;
    return s3pve_volume_check_name(volume, NULL) < 0 ? -EINVAL : 0;
}

int image_volume(const struct image *dir, const char *name, char volume[S3PVE_VOLUME_NAME]) {
    const char *guest = dir->kind == IMAGE_FOLDER ? dir->parent->name : dir->name;
    const char *folder = dir->kind == IMAGE_FOLDER ? dir->name : "";
    int len =
        snprintf(volume, S3PVE_VOLUME_NAME, "%s/%s%s%s", guest, folder, *folder ? "." : "", name);
    return len < S3PVE_VOLUME_NAME ? 0 : -ENAMETOOLONG;
}

/* --- attributes */

void image_stat(const struct image *image, struct stat *ret_attr) {
    bool file = image->kind == IMAGE_FILE;
    uint64_t size = !file ? 0 : image->volume ? s3pve_volume_size(image->volume) : image->size;
    uint64_t sectors = (size + SECTOR - 1) / SECTOR;
    *ret_attr = (struct stat){
        .st_ino = image->ino,
        .st_mode = image->mode | (file ? S_IFREG : S_IFDIR),
        .st_nlink = file ? (image->parent ? 1 : 0) : 2,
        .st_uid = image->uid,
        .st_gid = image->gid,
        .st_size = (off_t)size,
        /* Nobody counts them.  One less than all is what makes cp(1) ask where the holes are. */
        .st_blocks = (blkcnt_t)(sectors > 1 ? sectors - 1 : sectors),
        .st_blksize = 4096,
        .st_atim = image->mtime,
        .st_mtim = image->mtime,
        .st_ctim = image->mtime,
    };
}
