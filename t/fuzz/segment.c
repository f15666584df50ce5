/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Whatever the bucket holds: what is believed is within bounds, and is what we would write. */
#include <string.h>

#include "base/crc32c.h"
#include "fuzz.h"
#include "volume/pack.h"
#include "volume/segment.h"

/* A header that names itself, with the sum it needs: else nothing behind the sum is ever reached.
 */
static void make_believable(uint8_t *header, size_t len, struct segment_id *id, uint8_t *uuid) {
    const uint8_t *from = header + 24;
    uint8_t *at = header;

    pack_bytes(&at, "VDSEG\0\0\1", 8);
    pack_u16(&at, 1);
    unpack_bytes(&from, uuid, UUID_LEN);
    id->seq = unpack_u64(&from);
    id->epoch = unpack_u32(&from);
    id->nonce = unpack_u32(&from);
    at = header + 12;
    pack_u32(&at, (uint32_t)len);
    pack_u32(&at, 0);
    at = header + 16;
    pack_u32(&at, crc32c(0, header, len));
}

static void check(const struct segment *segment, const uint8_t *header, size_t len) {
    _cleanup_(buf_clear) struct buf again = {0};
    uint64_t end = 0;
    uint32_t n_data = 0;

    for (uint32_t i = 0; i < segment->n_extents; i++) {
        const struct extent *extent = &segment->extents[i];

        must(extent->block >= end && extent->n > 0);
        end = extent->block + extent->n;
        must(extent->data == n_data);
        n_data += extent->kind == EXTENT_DATA ? extent->n : 0;
    }
    must(end <= segment->size_blocks && n_data == segment->n_data && n_data <= SEGMENT_BLOCKS_MAX);
    must(segment_encode(segment, &again) == 0 && again.len == len);
    must(memcmp(again.data + 256, header + 256, segment->n_extents * 32u) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t len = size / BLOCK * BLOCK;
    struct segment_id id = {0};
    struct segment segment;
    uint8_t uuid[UUID_LEN] = {0};
    _free_ uint8_t *header = NULL;

    if (segment_decode(&segment, data, size, &id, uuid, NULL) == 0)
        segment_clear(&segment);
    len = len < BLOCK ? BLOCK : len;
    header = calloc(1, len);
    memcpy(header, data, size < len ? size : len);
    make_believable(header, len, &id, uuid);
    if (segment_decode(&segment, header, len, &id, uuid, NULL) == 0) {
        check(&segment, header, len);
        segment_clear(&segment);
    }
    return 0;
}
