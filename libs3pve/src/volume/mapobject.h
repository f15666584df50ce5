/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * mapobject.h - the header of a MAP object, which says what pages lie behind it, one after the
 * other
 */
#ifndef VOLUME_MAPOBJECT_H
#define VOLUME_MAPOBJECT_H

#include "volume/page.h"

struct page_entry {
    enum page_kind kind;
    uint32_t index, len, sum; /* of a leaf: in the whole map */
};

struct map_object {
    struct map_id id;
    uint8_t uuid[UUID_LEN];
    uint64_t made_ns;         /* wall clock; for people */
    struct page_entry *pages; /* owned */
    uint32_t n_pages;
};

void map_object_clear(struct map_object *object);

static inline uint32_t map_object_header_len(uint32_t n_pages) {
    return 128 + n_pages * 16;
}

/* Appended; 0, or -1 without memory. */
int map_object_encode(const struct map_object *object, struct buf *out);

/* As segment_decode(). */
int map_object_decode(
    struct map_object *object,
    const void *data,
    size_t len,
    const struct map_id *id,
    const uint8_t uuid[UUID_LEN],
    struct s3pve_error *err
);

#endif
