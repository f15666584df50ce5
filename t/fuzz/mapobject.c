/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Whatever the bucket holds as a MAP object: what is believed is within bounds. */
#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"
#include "volume/mapobject.h"
#include "volume/pack.h"

/* A header that names itself, with the sum it needs: else nothing behind the sum is ever reached.
 */
static void make_believable(uint8_t *header, size_t len, struct map_id *id, uint8_t *uuid) {
    const uint8_t *from = header + 24;
    uint8_t *at = header;

    pack_bytes(&at, "VDMAP\0\0\1", 8);
    pack_u16(&at, 1);
    pack_u16(&at, OBJECT_MAP);
    pack_u32(&at, (uint32_t)len);
    unpack_bytes(&from, uuid, UUID_LEN);
    id->at.seq = unpack_u64(&from);
    id->at.epoch = unpack_u32(&from);
    id->at.nonce = unpack_u32(&from);
    id->part = unpack_u16(&from);
    at = header + 60;
    pack_u32(&at, (uint32_t)((len - 128) / 16));
    at = header + 16;
    pack_u32(&at, pack_sum(header, len, 16, 0));
}

static void check(const uint8_t *data, size_t size, const struct map_id *id, const uint8_t *uuid) {
    _cleanup_(map_object_clear) struct map_object object;
    _cleanup_(buf_clear) struct buf again = {0};

    if (map_object_decode(&object, data, size, id, uuid, NULL) < 0)
        return;
    must(object.n_pages > 0 && object.n_pages <= MAP_PAGES_MAX);
    must(map_object_encode(&object, &again) == 0 && again.len <= size);
    must(memcmp(again.data + 128, data + 128, again.len - 128) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t len = size < 128 + 16 ? 128 + 16 : size / 16 * 16;
    _free_ uint8_t *header = calloc(1, len);
    struct map_id id = {{0, 0, 0}, 0};
    uint8_t uuid[UUID_LEN] = {0};

    check(data, size, &id, uuid);
    memcpy(header, data, size < len ? size : len);
    make_believable(header, len, &id, uuid);
    check(header, len, &id, uuid);
    return 0;
}
