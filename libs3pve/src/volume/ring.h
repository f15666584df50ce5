/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * ring.h - where in the journal the next record goes
 *
 * Positions count on for ever; the place of one in the ring is what is left of it modulo the ring's
 * length.  A record is never broken at the ring's end: a pad record fills what is too short for it.
 *
 *     kept <= tail <= head < kept + len
 *
 * From `tail` on things are still needed.  From `kept` on the superblock on the disk says they are,
 * and replay will begin there: only what is before it may be overwritten (I5).  Replay wipes the
 * block at the head, so the ring is never quite full: that block would be the one at the tail.
 */
#ifndef VOLUME_RING_H
#define VOLUME_RING_H

#include <stdbool.h>
#include <stdint.h>

struct ring {
    uint64_t len; /* bytes, whole blocks */
    uint64_t kept, tail, head;
};

/* Room for @n bytes: in *ret_pad how many bytes of padding go first.  False: wait. */
bool ring_has_room(const struct ring *ring, uint64_t n, uint64_t *ret_pad);

/* Take @n bytes, which there is room for: their position, behind the padding. */
uint64_t ring_take(struct ring *ring, uint64_t n);

/* What is before @position is needed no more. */
void ring_release(struct ring *ring, uint64_t position);

/* The superblock that says `tail` = @position is on the disk. */
void ring_keep(struct ring *ring, uint64_t position);

/* Should a superblock be written, before the head waits for it? */
bool ring_wants_keeping(const struct ring *ring);

static inline uint64_t ring_place(const struct ring *ring, uint64_t position) {
    return position % ring->len;
}

/* Bytes from the tail to the head. */
static inline uint64_t ring_used(const struct ring *ring) {
    return ring->head - ring->tail;
}

#endif
