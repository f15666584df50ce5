/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Whatever the node's disk holds: what is believed is within bounds. */
#include <string.h>

#include "base/crc32c.h"
#include "fuzz.h"
#include "volume/jrecord.h"
#include "volume/pack.h"

static struct jrecord record;

static void check(const uint8_t uuid[UUID_LEN], const uint8_t *data, size_t size) {
    uint32_t n_data = 0;

    if (!jrecord_decode(&record, 0, uuid, data, size))
        return;
    must(record.header_len <= size && record.header_len % BLOCK == 0);
    if (record.type == JRECORD_PAD)
        return;
    must(record.n_entries <= JRECORD_ENTRIES_MAX && record.n_data <= JRECORD_DATA_MAX);
    for (uint32_t i = 0; i < record.n_entries; i++) {
        must(record.entries[i].n > 0 && record.entries[i].data == n_data);
        n_data += record.entries[i].kind == EXTENT_DATA ? record.entries[i].n : 0;
    }
    must(n_data == record.n_data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t header[JRECORD_HEADER_MAX];
    struct superblock superblock;
    uint8_t uuid[UUID_LEN], *at = header, block[BLOCK] = {0};
    uint32_t len;

    memcpy(block, data, size < BLOCK ? size : BLOCK);
    if (superblock_decode(&superblock, block))
        must(superblock.tail < superblock.ring_len);

    memset(header, 0, sizeof(header));
    memcpy(header, data, size < sizeof(header) ? size : sizeof(header));
    memcpy(uuid, header + 24, UUID_LEN);
    len = (1 + header[8] % (JRECORD_HEADER_MAX / BLOCK)) * BLOCK;
    pack_u32(&at, 0x4a524456);
    pack_u16(&at, 1);
    at = header + 8;
    pack_u32(&at, len);
    at = header + 60;
    pack_u32(&at, 0);
    at = header + 60;
    pack_u32(&at, crc32c(0, header, len));
    check(uuid, header, sizeof(header));
    return 0;
}
