/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * upload.h - an object being written in order
 *
 * One part is being filled, up to PARTS_IN_FLIGHT are on their way:
 *
 *     write, read_fd --> fill --full--> slot: in flight --stored--> multipart_note()
 *                          ^                   |
 *                          +---- its buffer ---+
 *
 * (1) Nothing is created in the store before the second part begins: until then `mp.id` is NULL
 *     and the whole object is in `fill` (unless begin asked for it).
 * (2) Part n holds the bytes after those of parts 1..n-1; all but the last have parts_size(n).
 * (3) The last, short part stays in `fill` even when sent, so that it may grow after seal.
 * (4) A failure is final: once `failure` is set, nothing but abort and close does anything.
 * (5) A stream with nothing in flight may always have one buffer, whatever the client's budget.
 */
#ifndef CORE_UPLOAD_H
#define CORE_UPLOAD_H

#include <stdatomic.h>

#include "base/limits.h"
#include "core/multipart.h"
#include "core/parts.h"

struct upload_slot {
    struct request rq;
    struct iovec iov;
    struct part_buffer buffer; /* idle ones wait here to be filled again */
    unsigned number;
    bool busy;
    bool neglected; /* nobody moved the transfers for long while it was in flight */
};

struct s3pve_upload {
    struct s3pve_client *client;      /* borrowed */
    char *key;                        /* owned */
    struct s3pve_put_options options; /* its pointers are owned */
    struct multipart mp;

    struct part_buffer fill;
    size_t fill_len;
    unsigned number; /* of the part in `fill` */
    struct upload_slot slots[PARTS_IN_FLIGHT];
    size_t unmoved;   /* bytes taken since the transfers were last moved */
    int64_t moved_ms; /* when that was */

    bool sealed, completed, aborted;
    struct s3pve_info info;     /* of the completed object */
    struct s3pve_error failure; /* .code S3PVE_OK while all is well */
    atomic_ullong size, stored;
};

struct s3pve_upload *upload_new(
    struct s3pve_client *client, const char *key, const struct s3pve_put_options *options
);

/* --- upload_fill.c: from the caller's bytes to parts in flight */

/* Room for at least one byte at fill.data + fill_len; *ret_room says how much.  May block. */
int upload_room(
    struct s3pve_upload *upload,
    size_t want,
    size_t *ret_room,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/* @n bytes were put there. */
int upload_filled(
    struct s3pve_upload *upload, size_t n, const struct s3pve_call *call, struct s3pve_error *err
);

/* Send the last part, keep it, wait for all, and give back idle memory. */
int upload_flush(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
);

/* --- upload_slots.c: parts in flight */

/* Remember a failure, the first one, and report it. */
int upload_fail(
    struct s3pve_upload *upload, const struct s3pve_error *cause, struct s3pve_error *err
);

/* Return: 0, or -1 with the failure there is. */
int upload_check(const struct s3pve_upload *upload, struct s3pve_error *err);

/* Send @data as part @number through a free slot, which there must be. */
struct upload_slot *upload_submit(
    struct s3pve_upload *upload, const void *data, size_t len, const struct s3pve_call *call
);
bool upload_is_busy(const struct s3pve_upload *upload);
struct upload_slot *upload_free_slot(struct s3pve_upload *upload);

/* Move the transfers for at most @ms and account for parts that are done: true when there were. */
bool upload_move(struct s3pve_upload *upload, int ms);

/* Wait until a part is done.  Return: 0, or -1 on failure or when the caller cancels. */
int upload_wait(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
);
int upload_check_cancel(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
);

/* Give up what is in flight; true when there was something. */
bool upload_cancel_slots(struct s3pve_upload *upload);
void upload_free_buffers(struct s3pve_upload *upload);

#endif
