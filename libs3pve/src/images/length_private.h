/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * length_private.h - what length*.c share
 *
 *     length.c       how long it is, and where that is written down
 *     length_io.c    requests, which may have to wait for that
 */
#ifndef IMAGES_LENGTH_PRIVATE_H
#define IMAGES_LENGTH_PRIVATE_H

#include "images/length.h"

/* The file beside the journal, which nobody but this node reads. */
struct length_note {
    char magic[8];
    uint32_t nonce, reserved; /* of the epoch it is of */
    uint64_t length;
};

struct length {
    struct length_note *note; /* owned; mapped */

    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t changed;
    uint64_t now, stored;        /* bytes; what the root says */
    int64_t since_ms;            /* it is another one */
    struct asked *first, **last; /* what waits for room, or for the length to be safe */
    bool working;                /* a thread of the background looks after them */
};

/* --- length.c */

/* A write up to there is about to be answered. */
void length_extend(struct length *length, uint64_t end);
/* Room for it.  Return: 0, or -1. */
int length_grow(
    struct s3pve_volume *volume,
    uint64_t end,
    const struct runtime_wait *wait,
    struct s3pve_error *err
);
/* The file beside the journal survives the node. */
void length_sync(struct length *length);

/* --- length_io.c */

/* These are zeroes, if that is known before the time is up; else they may become so later. */
int length_zero(
    struct s3pve_volume *volume,
    uint64_t offset,
    uint64_t len,
    struct limit *limit,
    struct s3pve_error *err
);

#endif
