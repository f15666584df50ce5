/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * jrecord.h - what the journal is made of: superblocks and records
 *
 * s3pve-format(5) has the bytes.  A record is a header of whole blocks, with the sums of its data
 * in it, and the data blocks of its entries in order.
 */
#ifndef VOLUME_JRECORD_H
#define VOLUME_JRECORD_H

#include "volume/segment.h"

enum jrecord_type { JRECORD_WRITE = 1, JRECORD_PAD = 2 };

/* One write: kinds as in a segment. */
struct jrecord_entry {
    uint64_t block;
    uint32_t n;
    enum extent_kind kind;
    uint32_t data; /* DATA: its first block within the record's data; counted by jrecord_layout() */
};

struct jrecord {
    enum jrecord_type type;
    uint64_t jseq; /* PAD: that of the record behind it */
    uint32_t epoch;
    uint8_t uuid[UUID_LEN];
    uint64_t tip; /* of the bucket, as far as it was known; for people */
    struct jrecord_entry entries[JRECORD_ENTRIES_MAX];
    uint32_t n_entries;
    uint32_t sums[JRECORD_DATA_MAX];
    uint32_t n_data;     /* blocks behind the header; PAD: to the end of the ring, without sums */
    uint32_t header_len; /* bytes */
};

/* Count data and header_len from the entries. */
void jrecord_layout(struct jrecord *record);

/* Bytes a record takes in the ring. */
static inline uint64_t jrecord_len(const struct jrecord *record) {
    return record->header_len + (uint64_t)record->n_data * BLOCK;
}

/* Into JRECORD_HEADER_MAX bytes at @header, of which header_len are used.  @seed: the journal's. */
void jrecord_encode(const struct jrecord *record, uint32_t seed, uint8_t *header);

/*
 * Take the record at @header apart, of which @len bytes are there; the sums of its data are for
 * the caller to check.  Return: whether it is a record of this journal, and whole.
 */
bool jrecord_decode(
    struct jrecord *record,
    uint32_t seed,
    const uint8_t uuid[UUID_LEN],
    const void *header,
    size_t len
);

/* Two of them, at blocks 0 and 1, written in turn; the valid one with the higher generation counts.
 */
struct superblock {
    uint8_t uuid[UUID_LEN];
    uint64_t generation;
    uint64_t ring_len; /* bytes, of blocks behind the two superblocks */
    uint64_t tail;     /* bytes from the start of the ring: where replay begins */
    uint64_t tail_jseq;
    uint32_t epoch, nonce;
    uint32_t next_nonce; /* noted before a claim; 0: none under way */
    uint32_t seed;       /* of the sums of this journal's records */
};

void superblock_encode(const struct superblock *superblock, uint8_t block[BLOCK]);
bool superblock_decode(struct superblock *superblock, const uint8_t block[BLOCK]);

#endif
