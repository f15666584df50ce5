/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "volume/jrecord.h"
#include "volume/pack.h"

#define JRECORD_MAGIC 0x4a524456u /* "VDRJ" */
#define SUPER_MAGIC 0x53524456u   /* "VDRS" */
#define VERSION 1
#define FIXED 64u
#define ENTRY_SIZE 16u
#define CRC_AT 60u
#define SUPER_CRC_AT (BLOCK - 4u)

_Static_assert(
    FIXED + JRECORD_ENTRIES_MAX * ENTRY_SIZE + JRECORD_DATA_MAX * 4u <= JRECORD_HEADER_MAX,
    "the largest record's header has room"
);

void jrecord_layout(struct jrecord *record) {
    uint32_t len;

    record->n_data = 0;
    for (uint32_t i = 0; i < record->n_entries; i++) {
        record->entries[i].data = record->n_data;
        if (record->entries[i].kind == EXTENT_DATA)
            record->n_data += record->entries[i].n;
    }
    len = FIXED + record->n_entries * ENTRY_SIZE + record->n_data * 4u;
    record->header_len = (len + BLOCK - 1) / BLOCK * BLOCK;
}

void jrecord_encode(const struct jrecord *record, uint32_t seed, uint8_t *header) {
    uint8_t *at = header;

    memset(header, 0, record->header_len);
    pack_u32(&at, JRECORD_MAGIC);
    pack_u16(&at, VERSION);
    pack_u16(&at, (uint16_t)record->type);
    pack_u32(&at, record->header_len);
    pack_u32(&at, record->n_data * BLOCK);
    pack_u64(&at, record->jseq);
    pack_bytes(&at, record->uuid, UUID_LEN);
    pack_u32(&at, record->epoch);
    pack_u32(&at, record->n_entries);
    pack_u64(&at, record->tip);
    at += 8; /* reserved, and the sum */
    for (uint32_t i = 0; i < record->n_entries; i++) {
        const struct jrecord_entry *entry = &record->entries[i];

        pack_u64(&at, entry->block | (uint64_t)entry->kind << 48);
        pack_u32(&at, entry->n);
        pack_u32(&at, entry->data * BLOCK);
    }
    for (uint32_t i = 0; record->type == JRECORD_WRITE && i < record->n_data; i++)
        pack_u32(&at, record->sums[i]);
    at = header + CRC_AT;
    pack_u32(&at, pack_sum(header, record->header_len, CRC_AT, seed));
}

/* The header's length and counts; false where they cannot be. */
static bool unpack_fixed(struct jrecord *record, const uint8_t *at, size_t len) {
    uint32_t data_len;

    if (unpack_u32(&at) != JRECORD_MAGIC || unpack_u16(&at) != VERSION)
        return false;
    record->type = unpack_u16(&at);
    record->header_len = unpack_u32(&at);
    data_len = unpack_u32(&at);
    record->jseq = unpack_u64(&at);
    unpack_bytes(&at, record->uuid, UUID_LEN);
    record->epoch = unpack_u32(&at);
    record->n_entries = unpack_u32(&at);
    record->tip = unpack_u64(&at);
    record->n_data = data_len / BLOCK;
    return record->header_len && record->header_len % BLOCK == 0 && data_len % BLOCK == 0 &&
           record->header_len <= len && record->header_len <= JRECORD_HEADER_MAX;
}

static bool unpack_write(struct jrecord *record, const uint8_t *at) {
    uint32_t header_len = record->header_len, n_data = record->n_data;

    if (!record->n_entries || record->n_entries > JRECORD_ENTRIES_MAX || n_data > JRECORD_DATA_MAX)
        return false;
    if (FIXED + record->n_entries * ENTRY_SIZE + n_data * 4u > header_len)
        return false;
    for (uint32_t i = 0; i < record->n_entries; i++) {
        struct jrecord_entry *entry = &record->entries[i];
        uint64_t word = unpack_u64(&at);

        entry->block = word & (((uint64_t)1 << 48) - 1);
        entry->kind = (enum extent_kind)(word >> 48);
        entry->n = unpack_u32(&at);
        at += 4; /* where its data is follows from the entries before */
        if (word >> 48 > EXTENT_UNMAP || !entry->n)
            return false;
        if (entry->kind == EXTENT_DATA && entry->n > JRECORD_DATA_MAX)
            return false;
    }
    jrecord_layout(record);
    if (record->header_len != header_len || record->n_data != n_data)
        return false;
    for (uint32_t i = 0; i < n_data; i++)
        record->sums[i] = unpack_u32(&at);
    return true;
}

bool jrecord_decode(
    struct jrecord *record,
    uint32_t seed,
    const uint8_t uuid[UUID_LEN],
    const void *header,
    size_t len
) {
    const uint8_t *at = (const uint8_t *)header + CRC_AT;

    if (len < BLOCK || !unpack_fixed(record, header, len))
        return false;
    if (unpack_u32(&at) != pack_sum(header, record->header_len, CRC_AT, seed))
        return false;
    if (memcmp(record->uuid, uuid, UUID_LEN) != 0)
        return false;
    if (record->type == JRECORD_PAD)
        return record->n_entries == 0 && record->header_len == BLOCK;
    return record->type == JRECORD_WRITE && unpack_write(record, at);
}

/* -------------------------------------------------------------- superblocks */

void superblock_encode(const struct superblock *superblock, uint8_t block[BLOCK]) {
    uint8_t *at = block;

    memset(block, 0, BLOCK);
    pack_u32(&at, SUPER_MAGIC);
    pack_u32(&at, VERSION);
    pack_bytes(&at, superblock->uuid, UUID_LEN);
    pack_u64(&at, superblock->generation);
    pack_u64(&at, superblock->ring_len);
    pack_u64(&at, superblock->tail);
    pack_u64(&at, superblock->tail_jseq);
    pack_u32(&at, superblock->epoch);
    pack_u32(&at, superblock->nonce);
    pack_u32(&at, superblock->next_nonce);
    pack_u32(&at, superblock->seed);
    at = block + SUPER_CRC_AT;
    pack_u32(&at, pack_sum(block, BLOCK, SUPER_CRC_AT, 0));
}

bool superblock_decode(struct superblock *superblock, const uint8_t block[BLOCK]) {
    const uint8_t *at = block + SUPER_CRC_AT;

    if (unpack_u32(&at) != pack_sum(block, BLOCK, SUPER_CRC_AT, 0))
        return false;
    at = block;
    if (unpack_u32(&at) != SUPER_MAGIC || unpack_u32(&at) != VERSION)
        return false;
    unpack_bytes(&at, superblock->uuid, UUID_LEN);
    superblock->generation = unpack_u64(&at);
    superblock->ring_len = unpack_u64(&at);
    superblock->tail = unpack_u64(&at);
    superblock->tail_jseq = unpack_u64(&at);
    superblock->epoch = unpack_u32(&at);
    superblock->nonce = unpack_u32(&at);
    superblock->next_nonce = unpack_u32(&at);
    superblock->seed = unpack_u32(&at);
    return superblock->ring_len && superblock->ring_len % BLOCK == 0 &&
           superblock->tail % BLOCK == 0 && superblock->tail < superblock->ring_len;
}
