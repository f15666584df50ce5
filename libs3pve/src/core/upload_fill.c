/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* upload_fill.c - bytes into part buffers, full buffers on their way */
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/upload.h"

#define FIRST_ROOM KIB(256) /* most objects are small; the first buffer grows with them */
#define MOVE_EVERY MIB(1)   /* bytes taken between two pushes of the transfers */

static uint64_t size_now(const struct s3pve_upload *upload) {
    return parts_size(&upload->client->config, upload->number);
}

static size_t memory_of(const struct s3pve_upload *upload) {
    size_t bytes = upload->fill.room;

    for (int i = 0; i < PARTS_IN_FLIGHT; i++)
        bytes += upload->slots[i].buffer.room;
    return bytes;
}

static bool take_idle_buffer(struct s3pve_upload *upload) {
    for (int i = 0; i < PARTS_IN_FLIGHT; i++) {
        struct upload_slot *slot = &upload->slots[i];

        if (slot->busy || !slot->buffer.data)
            continue;
        upload->fill = slot->buffer;
        slot->buffer = (struct part_buffer){0};
        return true;
    }
    return false;
}

static bool free_idle_buffer(struct s3pve_upload *upload) {
    for (int i = 0; i < PARTS_IN_FLIGHT; i++) {
        struct upload_slot *slot = &upload->slots[i];

        if (slot->busy || !slot->buffer.data)
            continue;
        parts_buffer_free(upload->client, &slot->buffer);
        return true;
    }
    return false;
}

/* Larger, if this stream and all streams together stay within their memory. */
static int grow_fill(struct s3pve_upload *upload, size_t room) {
    bool must = !upload_is_busy(upload);
    uint64_t most = 2 * size_now(upload);

    if (most < STREAM_MEMORY)
        most = STREAM_MEMORY;
    if (!must && memory_of(upload) - upload->fill.room + room > most)
        return -1;
    return parts_buffer_reserve(upload->client, &upload->fill, room, must);
}

static int reserve_fill(
    struct s3pve_upload *upload, size_t room, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct s3pve_error cause;

    for (;;) {
        if (upload->fill.data || take_idle_buffer(upload))
            if (upload->fill.room >= room)
                return 0;
        if (grow_fill(upload, room) == 0)
            return 0;
        if (free_idle_buffer(upload))
            continue;
        if (!upload_is_busy(upload)) {
            error_set(&cause, S3PVE_E_NOMEM, "upload of %s: %zu bytes", upload->key, room);
            return upload_fail(upload, &cause, err);
        }
        if (upload_wait(upload, call, err) < 0)
            return -1;
    }
}

/* The full part goes; an idle buffer of its slot, if there is one, is filled next. */
static int send_full(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct upload_slot *slot;
    struct part_buffer idle;

    while (!upload_free_slot(upload))
        if (upload_wait(upload, call, err) < 0)
            return -1;
    slot = upload_submit(upload, upload->fill.data, upload->fill_len, call);
    idle = slot->buffer;
    slot->buffer = upload->fill;
    upload->fill = idle;
    upload->fill_len = 0;
    upload->number++;
    return 0;
}

static int too_long(struct s3pve_upload *upload, struct s3pve_error *err) {
    struct s3pve_error cause;

    error_set(
        &cause,
        S3PVE_E_NO_SPACE,
        "upload of %s: longer than %llu bytes, which is what %u parts of this size hold; a larger "
        "part-size helps",
        upload->key,
        (unsigned long long)atomic_load(&upload->size),
        upload->client->config.max_parts
    );
    cause.errnum = EFBIG;
    return upload_fail(upload, &cause, err);
}

int upload_room(
    struct s3pve_upload *upload,
    size_t want,
    size_t *ret_room,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    uint64_t size = size_now(upload), room;

    if (upload_check(upload, err) < 0)
        return -1;
    if (size && upload->fill_len == size) { /* part 1, and now there is more */
        if (s3pve_upload_begin(upload, call, err) < 0 || send_full(upload, call, err) < 0)
            return -1;
        size = size_now(upload);
    }
    if (!size)
        return too_long(upload, err);

    room = size;
    if (upload->number == 1) { /* doubling, as long as it may stay small */
        uint64_t least = upload->fill_len + (want < size ? want : size);

        room = upload->fill.room ? upload->fill.room : FIRST_ROOM;
        while (room < least)
            room *= 2;
        if (upload->fill_len == room)
            room *= 2;
        if (room > size)
            room = size;
    }
    if (upload->fill.room < room && reserve_fill(upload, (size_t)room, call, err) < 0)
        return -1;
    *ret_room = (size_t)(size < upload->fill.room ? size : upload->fill.room) - upload->fill_len;
    return 0;
}

int upload_filled(
    struct s3pve_upload *upload, size_t n, const struct s3pve_call *call, struct s3pve_error *err
) {
    upload->sealed = false;
    upload->fill_len += n;
    atomic_fetch_add(&upload->size, n);
    if (upload->mp.id && upload->fill_len == size_now(upload) && send_full(upload, call, err) < 0)
        return -1;

    upload->unmoved += n;
    if (upload->unmoved >= MOVE_EVERY && upload_is_busy(upload)) {
        upload->unmoved = 0;
        upload_move(upload, 0);
    }
    return upload_check(upload, err);
}

int upload_flush(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (upload->mp.id && (upload->fill_len || upload->number == 1)) {
        while (!upload_free_slot(upload))
            if (upload_wait(upload, call, err) < 0)
                return -1;
        upload_submit(upload, upload->fill.data, upload->fill_len, call);
    }
    while (upload_is_busy(upload))
        if (upload_wait(upload, call, err) < 0)
            return -1;
    if (upload_check(upload, err) < 0)
        return -1;
    if (multipart_check(&upload->mp, &cause) < 0)
        return upload_fail(upload, &cause, err);

    while (free_idle_buffer(upload))
        ;
    if (upload->fill_len)
        parts_buffer_shrink(upload->client, &upload->fill, upload->fill_len);
    else
        parts_buffer_free(upload->client, &upload->fill);
    return 0;
}
