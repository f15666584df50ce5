/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* pack.h - little-endian numbers at a place that moves on, and sums; who calls has checked the room
 */
#ifndef VOLUME_PACK_H
#define VOLUME_PACK_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "base/crc32c.h"

static inline void pack_bytes(uint8_t **at, const void *data, size_t len) {
    memcpy(*at, data, len);
    *at += len;
}

static inline void pack_u16(uint8_t **at, uint16_t value) {
    value = htole16(value);
    pack_bytes(at, &value, sizeof(value));
}

static inline void pack_u32(uint8_t **at, uint32_t value) {
    value = htole32(value);
    pack_bytes(at, &value, sizeof(value));
}

static inline void pack_u64(uint8_t **at, uint64_t value) {
    value = htole64(value);
    pack_bytes(at, &value, sizeof(value));
}

static inline void unpack_bytes(const uint8_t **at, void *data, size_t len) {
    memcpy(data, *at, len);
    *at += len;
}

static inline uint16_t unpack_u16(const uint8_t **at) {
    uint16_t value;

    unpack_bytes(at, &value, sizeof(value));
    return le16toh(value);
}

static inline uint32_t unpack_u32(const uint8_t **at) {
    uint32_t value;

    unpack_bytes(at, &value, sizeof(value));
    return le32toh(value);
}

static inline uint64_t unpack_u64(const uint8_t **at) {
    uint64_t value;

    unpack_bytes(at, &value, sizeof(value));
    return le64toh(value);
}

/* The sum of @len bytes but the four at @at, where it is kept itself. */
static inline uint32_t pack_sum(const uint8_t *data, size_t len, size_t at, uint32_t seed) {
    static const uint8_t none[4];
    uint32_t sum = crc32c(seed, data, at);

    sum = crc32c(sum, none, sizeof(none));
    return crc32c(sum, data + at + 4, len - at - 4);
}

#endif
