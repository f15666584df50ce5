/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "core/error.h"
#include "volume/pack.h"
#include "volume/segment.h"

#define VERSION 1
#define FIXED 256u /* bytes before the tables */
#define EXTENT_SIZE 32u
#define FRAME_SIZE 16u
#define CRC_AT 16u

static const uint8_t magic[8] = "VDSEG\0\0\1";

void segment_clear(struct segment *segment) {
    free(segment->extents);
    free(segment->sums);
    *segment = (struct segment){0};
}

/* ------------------------------------------------------------------- layout */

static uint32_t frames_of(const struct extent *extent) {
    return extent->kind == EXTENT_DATA ? (extent->n + SEGMENT_FRAME - 1) / SEGMENT_FRAME : 0;
}

static uint32_t count_frames(const struct segment *segment) {
    uint32_t n = 0;

    for (uint32_t i = 0; i < segment->n_extents; i++)
        n += frames_of(&segment->extents[i]);
    return n;
}

static uint32_t frames_at(const struct segment *segment) {
    return FIXED + segment->n_extents * EXTENT_SIZE;
}

static uint32_t sums_at(const struct segment *segment, uint32_t n_frames) {
    return frames_at(segment) + n_frames * FRAME_SIZE;
}

int segment_layout(struct segment *segment) {
    uint32_t end;

    if (segment->n_extents > SEGMENT_EXTENTS_MAX)
        return -1;
    segment->n_data = 0;
    for (uint32_t i = 0; i < segment->n_extents; i++) {
        struct extent *extent = &segment->extents[i];

        extent->data = segment->n_data;
        if (extent->kind != EXTENT_DATA)
            continue;
        if (extent->n > SEGMENT_BLOCKS_MAX - segment->n_data)
            return -1;
        segment->n_data += extent->n;
    }
    end = sums_at(segment, count_frames(segment)) + segment->n_data * 4u;
    segment->header_len = (end + BLOCK - 1) / BLOCK * BLOCK;
    return 0;
}

/* ------------------------------------------------------------------- encode */

static void pack_fixed(uint8_t **at, const struct segment *segment, uint32_t n_frames) {
    static const uint8_t zeroes[56];

    pack_bytes(at, magic, sizeof(magic));
    pack_u16(at, VERSION);
    pack_u16(at, (uint16_t)segment->type);
    pack_u32(at, segment->header_len);
    pack_u32(at, 0); /* the sum, which comes last */
    pack_u32(at, 0); /* flags */
    pack_bytes(at, segment->uuid, UUID_LEN);
    pack_u64(at, segment->id.seq);
    pack_u32(at, segment->id.epoch);
    pack_u32(at, segment->id.nonce);
    pack_u64(at, segment->prev_seq);
    pack_bytes(at, segment->prev_hash, HASH_LEN);
    pack_u64(at, segment->jseq_first);
    pack_u64(at, segment->jseq_last);
    pack_u64(at, segment->size_blocks);
    pack_u32(at, segment->n_extents);
    pack_u32(at, n_frames);
    pack_u32(at, FIXED);
    pack_u32(at, frames_at(segment));
    pack_u32(at, sums_at(segment, n_frames));
    pack_u32(at, segment->header_len);
    pack_u64(at, (uint64_t)segment->n_data * BLOCK);
    for (int i = 0; i < 3; i++)
        pack_u64(at, 0); /* incompat, ro_compat, compat */
    pack_u64(at, segment->made_ns);
    pack_bytes(at, zeroes, 32); /* key salt */
    pack_bytes(at, zeroes, 56);
}

static void pack_extent(uint8_t **at, const struct extent *extent, uint32_t frame) {
    pack_u64(at, extent->block | (uint64_t)extent->kind << 48);
    pack_u32(at, extent->n);
    pack_u32(at, frame);
    pack_u64(at, extent->src_seq);
    pack_u32(at, extent->src_off512);
    pack_u16(at, extent->src_block);
    pack_u16(at, extent->src_volume);
}

static void pack_frames(uint8_t **at, const struct extent *extent) {
    for (uint32_t done = 0; extent->kind == EXTENT_DATA && done < extent->n;) {
        uint32_t n = extent->n - done < SEGMENT_FRAME ? extent->n - done : SEGMENT_FRAME;

        pack_u32(at, (extent->data + done) * (BLOCK / 512));
        pack_u32(at, n * BLOCK); /* codec 0: raw */
        pack_u16(at, (uint16_t)n);
        pack_u16(at, 0);
        pack_u32(at, 0); /* raw frames have a sum for each block */
        done += n;
    }
}

int segment_encode(const struct segment *segment, struct buf *out) {
    _free_ uint8_t *header = calloc(1, segment->header_len);
    uint8_t *at = header;
    uint32_t frame = 0;

    if (!header)
        return -1;
    pack_fixed(&at, segment, count_frames(segment));
    for (uint32_t i = 0; i < segment->n_extents; i++) {
        pack_extent(&at, &segment->extents[i], frame);
        frame += frames_of(&segment->extents[i]);
    }
    for (uint32_t i = 0; i < segment->n_extents; i++)
        pack_frames(&at, &segment->extents[i]);
    for (uint32_t i = 0; i < segment->n_data; i++)
        pack_u32(&at, segment->sums[i]);
    at = header + CRC_AT;
    pack_u32(&at, pack_sum(header, segment->header_len, CRC_AT, 0));
    return buf_add(out, header, segment->header_len);
}

/* ------------------------------------------------------------------- decode */

static int corrupt(const struct segment_id *id, struct s3pve_error *err, const char *what) {
    char name[SEGMENT_NAME];

    segment_name(name, id);
    return error_set(err, S3PVE_E_CORRUPT, "segment %s: %s", name, what);
}

size_t segment_header_len(const void *data, size_t len) {
    const uint8_t *at = (const uint8_t *)data + 12;
    uint32_t header_len;

    if (len < FIXED || memcmp(data, magic, sizeof(magic)) != 0)
        return 0;
    header_len = unpack_u32(&at);
    if (header_len % BLOCK || !header_len || header_len > SEGMENT_HEADER_MAX)
        return 0;
    return header_len;
}

static bool sum_is_right(const uint8_t *header, size_t len) {
    const uint8_t *at = header + CRC_AT;

    return unpack_u32(&at) == pack_sum(header, len, CRC_AT, 0);
}

/* The numbers of the fixed part that say where the tables are: they must be just what we make. */
struct tables {
    uint32_t n_frames, extents_at, frames_at, sums_at, data_at;
    uint64_t data_len, incompat;
};

static void unpack_fixed(const uint8_t *at, struct segment *segment, struct tables *tables) {
    at += sizeof(magic) + 2;
    segment->type = unpack_u16(&at);
    segment->header_len = unpack_u32(&at);
    at += 8; /* sum, flags */
    unpack_bytes(&at, segment->uuid, UUID_LEN);
    segment->id.seq = unpack_u64(&at);
    segment->id.epoch = unpack_u32(&at);
    segment->id.nonce = unpack_u32(&at);
    segment->prev_seq = unpack_u64(&at);
    unpack_bytes(&at, segment->prev_hash, HASH_LEN);
    segment->jseq_first = unpack_u64(&at);
    segment->jseq_last = unpack_u64(&at);
    segment->size_blocks = unpack_u64(&at);
    segment->n_extents = unpack_u32(&at);
    tables->n_frames = unpack_u32(&at);
    tables->extents_at = unpack_u32(&at);
    tables->frames_at = unpack_u32(&at);
    tables->sums_at = unpack_u32(&at);
    tables->data_at = unpack_u32(&at);
    tables->data_len = unpack_u64(&at);
    tables->incompat = unpack_u64(&at);
    segment->read_only = unpack_u64(&at) != 0;
    at += 8; /* compat */
    segment->made_ns = unpack_u64(&at);
}

static const char *check_fixed(
    const struct segment *segment,
    const struct tables *tables,
    const struct segment_id *id,
    const uint8_t *uuid
) {
    if (memcmp(segment->uuid, uuid, UUID_LEN) != 0)
        return "of another volume";
    if (segment->id.seq != id->seq || segment->id.epoch != id->epoch ||
        segment->id.nonce != id->nonce)
        return "of another name";
    if (segment->prev_seq >= segment->id.seq || segment->jseq_first > segment->jseq_last)
        return "impossible order";
    if (segment->n_extents > SEGMENT_EXTENTS_MAX || tables->n_frames > SEGMENT_BLOCKS_MAX)
        return "too many extents";
    if (tables->data_len % BLOCK || tables->data_len / BLOCK > SEGMENT_BLOCKS_MAX)
        return "too much data";
    if (tables->extents_at != FIXED || tables->frames_at != frames_at(segment) ||
        tables->sums_at != sums_at(segment, tables->n_frames) ||
        tables->data_at != segment->header_len ||
        tables->sums_at + tables->data_len / BLOCK * 4 > segment->header_len)
        return "tables that do not fit";
    return NULL;
}

/* Each beyond the one before, and its frames just where they would be. */
static const char *unpack_extents(const uint8_t *at, struct segment *segment, uint32_t n_frames) {
    uint64_t end = 0;
    uint32_t frame = 0;

    for (uint32_t i = 0; i < segment->n_extents; i++) {
        struct extent *extent = &segment->extents[i];
        uint64_t word = unpack_u64(&at);
        uint32_t first;

        extent->block = word & (((uint64_t)1 << 48) - 1);
        extent->kind = (enum extent_kind)(word >> 48 & 0xff);
        extent->n = unpack_u32(&at);
        first = unpack_u32(&at);
        extent->src_seq = unpack_u64(&at);
        extent->src_off512 = unpack_u32(&at);
        extent->src_block = unpack_u16(&at);
        extent->src_volume = unpack_u16(&at);
        if (extent->kind > EXTENT_UNMAP || !extent->n || extent->block < end || word >> 56)
            return "extents out of order";
        if (extent->kind == EXTENT_DATA && extent->n > SEGMENT_BLOCKS_MAX)
            return "too much data";
        if (first != frame)
            return "frames out of order";
        frame += frames_of(extent);
        end = extent->block + extent->n;
        if (end > segment->size_blocks)
            return "blocks beyond the volume's end";
    }
    return frame == n_frames ? NULL : "frames out of order";
}

static bool frames_are_ours(const uint8_t *at, const struct segment *segment) {
    for (uint32_t i = 0; i < segment->n_extents; i++) {
        uint8_t want[SEGMENT_BLOCKS_MAX / SEGMENT_FRAME * FRAME_SIZE], *end = want;

        pack_frames(&end, &segment->extents[i]);
        if (memcmp(at, want, (size_t)(end - want)) != 0)
            return false;
        at += end - want;
    }
    return true;
}

static const char *unpack_tables(
    const uint8_t *header, struct segment *segment, const struct tables *tables
) {
    uint32_t header_len = segment->header_len;
    const uint8_t *at = header + tables->sums_at;
    const char *bad = unpack_extents(header + FIXED, segment, tables->n_frames);

    if (bad)
        return bad;
    if (segment_layout(segment) < 0 || segment->header_len != header_len ||
        (uint64_t)segment->n_data * BLOCK != tables->data_len)
        return "tables that do not fit";
    if (!frames_are_ours(header + tables->frames_at, segment))
        return "frames out of order";
    for (uint32_t i = 0; i < segment->n_data; i++)
        segment->sums[i] = unpack_u32(&at);
    return NULL;
}

static int decode(
    struct segment *segment,
    const uint8_t *header,
    size_t len,
    const struct segment_id *id,
    const uint8_t *uuid,
    struct s3pve_error *err
) {
    size_t header_len = segment_header_len(header, len);
    struct tables tables;
    const char *bad;

    if (!header_len || header_len > len)
        return corrupt(id, err, "no header");
    if (!sum_is_right(header, header_len))
        return corrupt(id, err, "the header's sum is wrong");
    unpack_fixed(header, segment, &tables);
    if (header[8] != VERSION || header[9] || tables.incompat ||
        (segment->type != SEGMENT_DATA && segment->type != SEGMENT_GC))
        return error_set(err, S3PVE_E_UNSUPPORTED, "the volume was written by a newer version");
    bad = check_fixed(segment, &tables, id, uuid);
    if (bad)
        return corrupt(id, err, bad);
    segment->extents = calloc(segment->n_extents + 1, sizeof(*segment->extents));
    segment->sums = calloc(tables.data_len / BLOCK + 1, sizeof(*segment->sums));
    if (!segment->extents || !segment->sums)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a segment's header");
    bad = unpack_tables(header, segment, &tables);
    return bad ? corrupt(id, err, bad) : 0;
}

int segment_decode(
    struct segment *segment,
    const void *data,
    size_t len,
    const struct segment_id *id,
    const uint8_t uuid[UUID_LEN],
    struct s3pve_error *err
) {
    *segment = (struct segment){0};
    if (decode(segment, data, len, id, uuid, err) == 0)
        return 0;
    segment_clear(segment);
    return -1;
}

/* -------------------------------------------------------------------- names */

void segment_hash(const void *header, size_t len, uint8_t hash[HASH_LEN]) {
    uint8_t whole[SHA256_DIGEST_LENGTH];

    SHA256(header, len, whole);
    memcpy(hash, whole, HASH_LEN);
}

void segment_name(char name[SEGMENT_NAME], const struct segment_id *id) {
    snprintf(
        name,
        SEGMENT_NAME,
        "log/%016" PRIx64 "-%08" PRIx32 "-%08" PRIx32,
        id->seq,
        id->epoch,
        id->nonce
    );
}

bool segment_name_parse(const char *name, struct segment_id *id) {
    char again[SEGMENT_NAME];

    if (sscanf(
            name, "log/%16" SCNx64 "-%8" SCNx32 "-%8" SCNx32, &id->seq, &id->epoch, &id->nonce
        ) != 3)
        return false;
    segment_name(again, id);
    return strcmp(name, again) == 0;
}
