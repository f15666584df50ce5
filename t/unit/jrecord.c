/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Records and superblocks come back as they went, and only from the journal they went to. */
#include <string.h>

#include "base/crc32c.h"
#include "golden.h"
#include "tap.h"
#include "volume/jrecord.h"
#include "volume/pack.h"

static const uint8_t uuid[UUID_LEN] = "0123456789abcdef", other[UUID_LEN] = "another volume.";
static struct jrecord record, back;
static uint8_t header[JRECORD_HEADER_MAX];

#define SEED 0x12345678

static void sample(void) {
    record = (struct jrecord){.type = JRECORD_WRITE, .jseq = 77, .epoch = 3, .tip = 40};
    memcpy(record.uuid, uuid, UUID_LEN);
    record.entries[0] = (struct jrecord_entry){.block = 5, .n = 3, .kind = EXTENT_DATA};
    record.entries[1] = (struct jrecord_entry){.block = 1000, .n = 1 << 20, .kind = EXTENT_UNMAP};
    record.entries[2] = (struct jrecord_entry){.block = 6, .n = 1, .kind = EXTENT_DATA};
    record.n_entries = 3;
    jrecord_layout(&record);
    for (unsigned i = 0; i < record.n_data; i++)
        record.sums[i] = 0xabc0 + i;
    jrecord_encode(&record, SEED, header);
}

static void test_round_trip(void) {
    sample();
    is_int(record.n_data, 4, "data blocks are counted");
    is_int((long long)jrecord_len(&record), 5 * BLOCK, "a record's place in the ring");
    if (!ok(jrecord_decode(&back, SEED, uuid, header, BLOCK), "taken apart"))
        return;
    is_int((long long)back.jseq, 77, "jseq");
    is_int(back.epoch, 3, "epoch");
    is_int((long long)back.tip, 40, "tip");
    is_int(back.n_entries, 3, "entries in the order they came, also where they overlap");
    ok(memcmp(back.entries, record.entries, 3 * sizeof(back.entries[0])) == 0, "are the same");
    ok(memcmp(back.sums, record.sums, 4 * sizeof(back.sums[0])) == 0, "sums");
    ok(golden_is("t/data/fuzz/jrecord/write", header, BLOCK), "the bytes in the file");
}

static void test_strangers(void) {
    sample();
    ok(!jrecord_decode(&back, SEED + 1, uuid, header, BLOCK), "not what another journal left here");
    ok(!jrecord_decode(&back, SEED, other, header, BLOCK), "nor another volume");
    ok(!jrecord_decode(&back, SEED, uuid, header, BLOCK - 1), "nor half a block");
    memset(header, 0, sizeof(header));
    ok(!jrecord_decode(&back, SEED, uuid, header, BLOCK), "nor zeroes");
}

static void test_bits(void) {
    unsigned believed = 0;

    sample();
    for (size_t bit = 0; bit < BLOCK * 8; bit += 3) {
        header[bit / 8] ^= (uint8_t)(1 << bit % 8);
        believed += jrecord_decode(&back, SEED, uuid, header, BLOCK);
        header[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    is_int(believed, 0, "no flipped bit is believed");
}

static void refused(size_t at, uint32_t value, const char *what) {
    uint8_t *p = header + at;
    uint32_t sum;

    sample();
    pack_u32(&p, value);
    p = header + 60;
    pack_u32(&p, 0);
    sum = crc32c(SEED, header, BLOCK);
    p = header + 60;
    pack_u32(&p, sum);
    ok(!jrecord_decode(&back, SEED, uuid, header, sizeof(header)), "refused: %s", what);
}

static void test_lies(void) {
    refused(4, 0x00010002, "a newer version");
    refused(4, 0x00030001, "another type");
    refused(12, 3 * BLOCK, "less data");
    refused(12, 2000 * BLOCK, "too much data");
    refused(44, 0, "no entry");
    refused(44, 4, "one entry more");
    refused(44, JRECORD_ENTRIES_MAX + 1, "too many entries");
    refused(64 + 8, 4, "an entry of another length");
    refused(64 + 8, 0, "an entry of no length");
    refused(64 + 4, 0x00050000, "an entry of another kind");
}

static void test_full(void) {
    record = (struct jrecord){.type = JRECORD_WRITE, .jseq = 1, .n_entries = JRECORD_ENTRIES_MAX};
    memcpy(record.uuid, uuid, UUID_LEN);
    for (unsigned i = 0; i < JRECORD_ENTRIES_MAX; i++)
        record.entries[i] = (struct jrecord_entry){.block = i, .n = 1, .kind = EXTENT_DATA};
    jrecord_layout(&record);
    ok(record.header_len <= JRECORD_HEADER_MAX, "the largest record's header has room");
    jrecord_encode(&record, SEED, header);
    ok(jrecord_decode(&back, SEED, uuid, header, sizeof(header)), "and is taken apart");
    ok(!jrecord_decode(&back, SEED, uuid, header, BLOCK), "not from its first block alone");
}

static void test_pad(void) {
    record = (struct jrecord){.type = JRECORD_PAD, .jseq = 9, .header_len = BLOCK, .n_data = 70000};
    memcpy(record.uuid, uuid, UUID_LEN);
    jrecord_encode(&record, SEED, header);
    ok(jrecord_decode(&back, SEED, uuid, header, BLOCK), "a pad record");
    is_int(back.n_data, 70000, "says how far the end of the ring is");
    is_int((long long)back.jseq, 9, "and which record comes then");
}

static void test_superblock(void) {
    struct superblock is, was = {
                              .generation = 5,
                              .ring_len = 4 << 20,
                              .tail = 3 << 12,
                              .tail_jseq = 70,
                              .epoch = 3,
                              .nonce = 4,
                              .next_nonce = 5,
                              .seed = SEED,
                          };
    uint8_t block[BLOCK];
    unsigned believed = 0;

    memcpy(was.uuid, uuid, UUID_LEN);
    superblock_encode(&was, block);
    ok(superblock_decode(&is, block) && memcmp(&is, &was, sizeof(is)) == 0, "a superblock");
    ok(golden_is("t/data/fuzz/jrecord/superblock", block, BLOCK), "the bytes in the file");
    for (size_t bit = 0; bit < BLOCK * 8; bit++) {
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
        believed += superblock_decode(&is, block);
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    is_int(believed, 0, "no flipped bit is believed");
    was.tail = was.ring_len;
    superblock_encode(&was, block);
    ok(!superblock_decode(&is, block), "a tail beyond the ring is no tail");
}

int main(void) {
    test_round_trip();
    test_strangers();
    test_bits();
    test_lies();
    test_full();
    test_pad();
    test_superblock();
    return done_testing();
}
