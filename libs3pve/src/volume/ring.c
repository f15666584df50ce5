/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <assert.h>

#include "volume/ring.h"

static void check(const struct ring *ring) {
    assert(ring->kept <= ring->tail && ring->tail <= ring->head);
    assert(ring->head - ring->kept < ring->len); /* (I5) */
}

bool ring_has_room(const struct ring *ring, uint64_t n, uint64_t *ret_pad) {
    uint64_t to_end = ring->len - ring_place(ring, ring->head);

    *ret_pad = to_end < n ? to_end : 0;
    return ring->head + *ret_pad + n - ring->kept < ring->len;
}

uint64_t ring_take(struct ring *ring, uint64_t n) {
    uint64_t pad, position;

    if (!ring_has_room(ring, n, &pad))
        assert(!"room that nobody asked for");
    position = ring->head + pad;
    ring->head = position + n;
    check(ring);
    return position;
}

void ring_release(struct ring *ring, uint64_t position) {
    assert(position >= ring->tail);
    ring->tail = position;
    check(ring);
}

void ring_keep(struct ring *ring, uint64_t position) {
    assert(position >= ring->kept);
    ring->kept = position;
    check(ring);
}

bool ring_wants_keeping(const struct ring *ring) {
    return ring->tail - ring->kept > ring->len / 4;
}
