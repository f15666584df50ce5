/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A header comes back as it went; a bit that is not as it went is noticed; lies are too. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "core/error.h"
#include "golden.h"
#include "tap.h"
#include "volume/pack.h"
#include "volume/segment.h"

static const uint8_t uuid[UUID_LEN] = "0123456789abcdef";
static const struct segment_id id = {.seq = 4097, .epoch = 7, .nonce = 0x9f3c21aa};

static struct extent extents[] = {
    {.block = 0, .n = 1, .kind = EXTENT_DATA},
    {.block = 8, .n = 100, .kind = EXTENT_DATA},
    {.block = 108, .n = 1000000, .kind = EXTENT_ZERO},
    {.block = 2000000, .n = 5, .kind = EXTENT_UNMAP},
    {.block = 2000005, .n = 32, .kind = EXTENT_DATA},
};
static uint32_t sums[133];

static struct segment sample(void) {
    struct segment segment = {
        .id = id,
        .type = SEGMENT_DATA,
        .prev_seq = 4096,
        .prev_hash = "hash of the last",
        .jseq_first = 1000,
        .jseq_last = 1234,
        .size_blocks = 2000037,
        .made_ns = 1234567890123456789,
        .extents = extents,
        .n_extents = 5,
        .sums = sums,
    };

    memcpy(segment.uuid, uuid, UUID_LEN);
    for (unsigned i = 0; i < 133; i++)
        sums[i] = i * 0x01010101;
    return segment;
}

static void encode(struct buf *out, struct segment *segment) {
    *segment = sample();
    if (segment_layout(segment) < 0 || segment_encode(segment, out) < 0)
        abort();
}

static void test_round_trip(void) {
    _cleanup_(buf_clear) struct buf out = {0};
    _cleanup_(segment_clear) struct segment back;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct segment segment;

    encode(&out, &segment);
    is_int(segment.n_data, 133, "data blocks are counted");
    is_int(segment.header_len, BLOCK, "the header is whole blocks");
    is_int((long long)out.len, BLOCK, "and so long");
    is_int((long long)segment_header_len(out.data, 256), BLOCK, "which its first bytes tell");
    if (!ok(segment_decode(&back, out.data, out.len, &id, uuid, &err) == 0, "taken apart"))
        return;
    is_int((long long)back.prev_seq, 4096, "prev_seq");
    ok(memcmp(back.prev_hash, segment.prev_hash, HASH_LEN) == 0, "prev_hash");
    is_int((long long)back.jseq_first, 1000, "jseq_first");
    is_int((long long)back.jseq_last, 1234, "jseq_last");
    is_int((long long)back.size_blocks, 2000037, "size_blocks");
    is_int((long long)back.made_ns, 1234567890123456789, "made_ns");
    is_int(back.n_extents, 5, "every extent");
    ok(memcmp(back.extents, extents, sizeof(extents)) == 0,
       "is the same, with its place in the data");
    ok(memcmp(back.sums, sums, sizeof(sums)) == 0, "every sum");
}

/* The bytes of the format, as s3pve-format(5) has them. */
static void test_golden(void) {
    _cleanup_(buf_clear) struct buf out = {0};
    struct segment segment;
    const uint8_t *at;

    encode(&out, &segment);
    ok(memcmp(out.data, "VDSEG\0\0\1", 8) == 0, "the magic");
    at = (const uint8_t *)out.data + 40;
    is_int((long long)unpack_u64(&at), 4097, "seq is at 40");
    is_int(unpack_u32(&at), 7, "epoch at 48");
    at = (const uint8_t *)out.data + 104;
    is_int(unpack_u32(&at), 5, "n_ext at 104");
    is_int(unpack_u32(&at), 6, "n_frame behind it");
    at = (const uint8_t *)out.data + 256 + 2 * 32;
    is_int((long long)unpack_u64(&at), 108 | 1ll << 48, "an extent's block and kind");
    ok(golden_is("t/data/fuzz/segment/extents", out.data, out.len), "and all as in the file");
}

static void test_bits(void) {
    _cleanup_(buf_clear) struct buf out = {0};
    struct segment segment, back;
    unsigned believed = 0;

    encode(&out, &segment);
    for (size_t bit = 0; bit < out.len * 8; bit += 7) {
        out.data[bit / 8] ^= (char)(1 << bit % 8);
        if (segment_decode(&back, out.data, out.len, &id, uuid, NULL) == 0) {
            segment_clear(&back);
            believed++;
        }
        out.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    is_int(believed, 0, "no flipped bit is believed");
    is_int(
        segment_decode(&back, out.data, out.len - 1, &id, uuid, NULL), -1, "nor a header cut short"
    );
}

/* As if somebody had written this on purpose: the sum is right. */
static void refused(size_t at, uint32_t value, enum s3pve_code code, const char *what) {
    _cleanup_(buf_clear) struct buf out = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct segment segment, back;
    uint8_t *p;

    encode(&out, &segment);
    p = (uint8_t *)out.data + at;
    pack_u32(&p, value);
    p = (uint8_t *)out.data + 16;
    pack_u32(&p, 0);
    p = (uint8_t *)out.data + 16;
    pack_u32(&p, crc32c(0, out.data, out.len));
    is_int(segment_decode(&back, out.data, out.len, &id, uuid, &err), -1, "refused: %s", what);
    is_str(s3pve_code_name(err.code), s3pve_code_name(code), "%s (%s)", what, err.message);
}

static void test_read_only(void) {
    _cleanup_(buf_clear) struct buf out = {0};
    _cleanup_(segment_clear) struct segment back = {0};
    struct segment segment;
    uint8_t *sum;

    encode(&out, &segment);
    out.data[144] = 1;
    sum = (uint8_t *)out.data + 16;
    pack_u32(&sum, pack_sum((uint8_t *)out.data, out.len, 16, 0));
    ok(segment_decode(&back, out.data, out.len, &id, uuid, NULL) == 0 && back.read_only,
       "one with ro_compat is read, and says so");
}

static void test_lies(void) {
    refused(8, 0x00010002, S3PVE_E_UNSUPPORTED, "a newer version");
    refused(136, 1, S3PVE_E_UNSUPPORTED, "a feature we do not know");
    refused(10, 0x10000003, S3PVE_E_UNSUPPORTED, "another type");
    refused(24, 0, S3PVE_E_CORRUPT, "another volume");
    refused(40, 4098, S3PVE_E_CORRUPT, "another seq");
    refused(48, 8, S3PVE_E_CORRUPT, "another epoch");
    refused(56, 5000, S3PVE_E_CORRUPT, "a predecessor that comes after it");
    refused(96, 7, S3PVE_E_CORRUPT, "a smaller volume");
    refused(104, 6, S3PVE_E_CORRUPT, "one extent more");
    refused(108, 7, S3PVE_E_CORRUPT, "one frame more");
    refused(128, 132 * BLOCK, S3PVE_E_CORRUPT, "less data");
    refused(256 + 32 + 8, 99, S3PVE_E_CORRUPT, "a shorter extent");
    refused(256 + 32, 0, S3PVE_E_CORRUPT, "extents that overlap");
    refused(256 + 32 + 12, 2, S3PVE_E_CORRUPT, "an extent's frame");
    refused(256 + 5 * 32, 8, S3PVE_E_CORRUPT, "a frame elsewhere");
    refused(256 + 5 * 32 + 4, 0x01001000, S3PVE_E_CORRUPT, "a frame of another codec");
}

static void test_limits(void) {
    static struct extent many[SEGMENT_EXTENTS_MAX + 1];
    struct segment segment = {.extents = many, .n_extents = SEGMENT_EXTENTS_MAX + 1};

    for (unsigned i = 0; i <= SEGMENT_EXTENTS_MAX; i++)
        many[i] =
            (struct extent){.block = i * 2, .n = 1, .kind = i % 2 ? EXTENT_ZERO : EXTENT_DATA};
    is_int(segment_layout(&segment), -1, "too many extents are no segment");
    segment.n_extents--;
    is_int(segment_layout(&segment), 0, "just so many are");
    is_int(segment.n_data, SEGMENT_BLOCKS_MAX, "with the most data there may be");
    ok(segment.header_len <= SEGMENT_HEADER_MAX, "and the longest header");
    many[1].kind = EXTENT_DATA;
    is_int(segment_layout(&segment), -1, "one block more is too much");
}

static void test_names(void) {
    char name[SEGMENT_NAME];
    struct segment_id back;

    segment_name(name, &id);
    is_str(name, "log/0000000000001001-00000007-9f3c21aa", "a segment's name");
    ok(segment_name_parse(name, &back) && memcmp(&back, &id, sizeof(id)) == 0, "and back");
    ok(!segment_name_parse("log/1001-7-9f3c21aa", &back), "not without its zeroes");
    ok(!segment_name_parse("log/0000000000001001-00000007-9f3c21aa.tmp", &back), "nor with a tail");
    ok(!segment_name_parse("log/0000000000001001-00000007-9F3C21AA", &back), "nor in capitals");
    ok(!segment_name_parse("map/0000000000001001-00000007-9f3c21aa", &back), "nor from elsewhere");
}

int main(void) {
    test_round_trip();
    test_golden();
    test_bits();
    test_read_only();
    test_lies();
    test_limits();
    test_names();
    return done_testing();
}
