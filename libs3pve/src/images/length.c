/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/error.h"
#include "images/length_private.h"
#include "volume/swap.h"

/* ------------------------------------------------------ the file beside the journal */

#define MAGIC "VDLEN\0\0\1"

static int open_note(const char *state_dir, const char *uuid, int flags) {
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/%s/length", state_dir, uuid) >= (int)sizeof(path))
        return -1;
    return open(path, flags | O_CLOEXEC, 0600);
}

static bool read_note(const char *state_dir, const char *uuid, struct length_note *ret_note) {
    int fd = open_note(state_dir, uuid, O_RDONLY);
    bool read = fd >= 0 && pread(fd, ret_note, sizeof(*ret_note), 0) == sizeof(*ret_note) &&
                memcmp(ret_note->magic, MAGIC, sizeof(ret_note->magic)) == 0;

    if (fd >= 0)
        close(fd);
    return read;
}

/* If it is of the root's last epoch, so that nobody else had the volume since. */
static bool note_length(
    const char *state_dir, const char *uuid, const struct root *root, uint64_t *ret_length
) {
    struct length_note note;

    if (root->owner.state == ROOT_CLOSED || !root->n_epochs || !read_note(state_dir, uuid, &note) ||
        note.nonce != root->epochs[root->n_epochs - 1].nonce || note.length > root->size)
        return false;
    *ret_length = note.length;
    return true;
}

static int map_note(
    const struct s3pve_volume *volume, struct length *length, struct s3pve_error *err
) {
    int fd = open_note(volume->all->state_dir, volume->uuid, O_RDWR | O_CREAT);
    struct length_note *note = MAP_FAILED;

    /* There may be no room for it when it is needed. */
    if (fd >= 0 && (errno = posix_fallocate(fd, 0, sizeof(*note))) == 0)
        note = mmap(NULL, sizeof(*note), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (note == MAP_FAILED)
        return error_set(
            err,
            S3PVE_E_IO,
            "%s/%s/length: %s",
            volume->all->state_dir,
            volume->uuid,
            strerror(errno)
        );
    note->length = length->now;
    note->nonce = runtime_nonce(volume->runtime); /* from here on it is believed */
    memcpy(note->magic, MAGIC, sizeof(note->magic));
    length->note = note;
    return 0;
}

/*
 * That the root says so before the volume is claimed, which begins another epoch, means that it
 * cannot be lost in between.
 */
int length_recall(struct s3pve_volume *volume, struct idle *idle, struct s3pve_error *err) {
    const struct root *root = &idle->root;
    uint64_t length;

    if (!idle_is_file(root) || !note_length(volume->all->state_dir, volume->uuid, root, &length) ||
        length == idle_length(root))
        return 0;
    if (json_object_set_new(root->json, "length", json_integer((json_int_t)length)) < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a volume");
    return root_swap(&store_ops, &idle->store, &idle->root, idle->etag, err);
}

uint64_t length_known(struct s3pve_volumes *all, const char *name, const struct root *root) {
    const struct s3pve_volume *volume;
    char uuid[STATE_UUID];
    uint64_t length;

    pthread_mutex_lock(&all->lock);
    volume = table_find(all, name);
    if (volume && volume->length) {
        length = length_now(volume->length);
        pthread_mutex_unlock(&all->lock);
        return length;
    }
    pthread_mutex_unlock(&all->lock);
    state_uuid(root->uuid, uuid);
    return note_length(all->state_dir, uuid, root, &length) ? length : idle_length(root);
}

/* ------------------------------------------------------------------------- opening */

static struct length *length_new(const struct idle *idle) {
    struct length *length = calloc(1, sizeof(*length));

    if (!length)
        return NULL;
    pthread_mutex_init(&length->lock, NULL);
    pthread_cond_init(&length->changed, NULL);
    length->now = length->stored = idle_length(&idle->root);
    length->last = &length->first;
    return length;
}

int length_open(
    struct s3pve_volume *volume,
    const struct idle *idle,
    struct limit *limit,
    struct s3pve_error *err
) {
    struct length *length;
    uint64_t room = runtime_size(volume->runtime);

    if (!idle_is_file(&idle->root))
        return 0;
    length = length_new(idle);
    if (!length)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a file");
    volume->length = length;
    if (map_note(volume, length, err) < 0)
        return -1;
    /* Writes that were not answered may have left something behind its end. */
    if (idle->root.owner.state == ROOT_CLOSED || length->now == room)
        return 0;
    return length_zero(volume, length->now, room - length->now, limit, err);
}

void length_close(struct s3pve_volume *volume) {
    struct length *length = volume->length;

    if (!length)
        return;
    pthread_mutex_lock(&volume->all->lock);
    volume->length = NULL;
    pthread_mutex_unlock(&volume->all->lock);
    pthread_mutex_lock(&length->lock);
    while (length->working)
        pthread_cond_wait(&length->changed, &length->lock);
    pthread_mutex_unlock(&length->lock);
    if (length->note)
        munmap(length->note, sizeof(*length->note));
    pthread_cond_destroy(&length->changed);
    pthread_mutex_destroy(&length->lock);
    free(length);
}

/* ------------------------------------------------------------------------ its value */

uint64_t length_now(struct length *length) {
    LOCK_SCOPE(&length->lock);

    return length->now;
}

int64_t length_dirty_ms(struct length *length) {
    LOCK_SCOPE(&length->lock);

    return length->now == length->stored ? 0 : length->since_ms;
}

/* With the lock held. */
static void change(struct length *length, uint64_t now) {
    if (length->now == length->stored)
        length->since_ms = clock_monotonic_ms();
    length->now = now;
    __atomic_store_n(&length->note->length, now, __ATOMIC_RELAXED);
}

void length_extend(struct length *length, uint64_t end) {
    LOCK_SCOPE(&length->lock);

    if (end > length->now)
        change(length, end);
}

struct storing {
    struct length *length;
    uint64_t *value; /* what was last tried */
};

static int set_member(struct root *root, const void *arg, struct s3pve_error *err) {
    const struct storing *storing = arg;

    *storing->value = length_now(storing->length);
    if (idle_length(root) == *storing->value)
        return 1;
    if (json_object_set_new(root->json, "length", json_integer((json_int_t)*storing->value)) < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a file's length");
    return 0;
}

int length_store(
    struct s3pve_volume *volume, const struct runtime_wait *wait, struct s3pve_error *err
) {
    struct length *length = volume->length;
    uint64_t value = 0;
    struct storing storing = {length, &value};

    if (!length || !length_dirty_ms(length))
        return 0;
    if (runtime_change_root(volume->runtime, set_member, &storing, wait, err) < 0)
        return -1;
    LOCK_SCOPE(&length->lock);
    length->stored = value;
    length->since_ms = clock_monotonic_ms();
    return 0;
}

void length_sync(struct length *length) {
    msync(length->note, sizeof(*length->note), MS_SYNC);
}

/* ---------------------------------------------------------------------- by hand */

int length_grow(
    struct s3pve_volume *volume,
    uint64_t end,
    const struct runtime_wait *wait,
    struct s3pve_error *err
) {
    uint64_t room = runtime_size(volume->runtime), want = room * 2;

    if (end <= room)
        return 0;
    if (end > VOLUME_BYTES_MAX)
        return error_set(err, S3PVE_E_INVALID, "a file cannot be that long");
    if (want < end)
        want = (end + FILE_ROOM - 1) / FILE_ROOM * FILE_ROOM;
    if (want > VOLUME_BYTES_MAX)
        want = VOLUME_BYTES_MAX;
    return runtime_grow(volume->runtime, want, wait, err);
}

int length_set(
    struct s3pve_volume *volume, uint64_t size, struct limit *limit, struct s3pve_error *err
) {
    struct length *length = volume->length;
    struct runtime_wait wait = limit_wait(limit);
    uint64_t now;

    if (!length)
        return error_set(err, S3PVE_E_INVALID, "it is no file: it can be resized, and only grows");
    now = length_now(length);
    if (size < now && length_zero(volume, size, now - size, limit, err) < 0)
        return -1;
    if (length_grow(volume, size, &wait, err) < 0)
        return -1;
    LOCK_SCOPE(&length->lock);
    change(length, size);
    return 0;
}
