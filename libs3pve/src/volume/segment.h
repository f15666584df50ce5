/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * segment.h - the header of a segment: what it holds of the volume, and in which order it comes
 *
 * s3pve-format(5) has the bytes.  Behind the header come the data blocks of the extents, in order.
 */
#ifndef VOLUME_SEGMENT_H
#define VOLUME_SEGMENT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/limits.h"
#include "s3pve.h"

#define BLOCK 4096u
#define SEGMENT_FRAME 32u /* blocks of a frame, at most */
#define SEGMENT_NAME 40   /* room for segment_name() */
#define OBJECT_NAME 48    /* and for any object's name below the data directory */
#define UUID_LEN 16
#define HASH_LEN 16 /* the first bytes of a SHA-256 */

struct segment_id {
    uint64_t seq;
    uint32_t epoch, nonce;
};

enum segment_type { SEGMENT_DATA = 1, SEGMENT_GC = 2 };

enum extent_kind {
    EXTENT_DATA,
    EXTENT_ZERO,  /* reads as zeroes, and keeps its place */
    EXTENT_UNMAP, /* reads as zeroes */
};

/* Blocks that follow each other.  The data of all DATA extents lies in their order. */
struct extent {
    uint64_t block;
    uint32_t n;
    enum extent_kind kind;
    uint32_t data; /* the first block of its data; counted by segment_layout() */

    uint64_t src_seq; /* GC: where the blocks were copied from */
    uint32_t src_off512;
    uint16_t src_block, src_volume;
};

struct segment {
    struct segment_id id;
    enum segment_type type;
    uint8_t uuid[UUID_LEN];
    uint64_t prev_seq; /* seq - 1, or the last segment of the epoch before */
    uint8_t prev_hash[HASH_LEN];
    uint64_t jseq_first, jseq_last; /* the records whose net effect it is */
    uint64_t size_blocks;           /* of the volume when it was sealed */
    uint64_t made_ns;               /* wall clock; for people */
    bool read_only;                 /* ro_compat has something that we do not know */

    struct extent *extents; /* owned; in order of block, without overlap */
    uint32_t n_extents;
    uint32_t *sums; /* owned; CRC-32C of each data block */
    uint32_t n_data;
    uint32_t header_len; /* bytes; where the data begins */
};

void segment_clear(struct segment *segment);

/* Count data, header_len and each extent's data.  Return: 0, or -1 beyond the limits above. */
int segment_layout(struct segment *segment);

/* The header's bytes, appended; the layout must be counted.  Return: 0, or -1 without memory. */
int segment_encode(const struct segment *segment, struct buf *out);

/* How long the header at @data is, which has at least 256 bytes; 0: it is none. */
size_t segment_header_len(const void *data, size_t len);

/*
 * Take a header apart, and believe nothing: all sums and bounds are checked.  @id, @uuid: what it
 * must be.  Return: 0, or -1 with @err set (CORRUPT, UNSUPPORTED, NOMEM) and nothing owned.
 */
int segment_decode(
    struct segment *segment,
    const void *data,
    size_t len,
    const struct segment_id *id,
    const uint8_t uuid[UUID_LEN],
    struct s3pve_error *err
);

/* What the next segment keeps as prev_hash. */
void segment_hash(const void *header, size_t len, uint8_t hash[HASH_LEN]);

/* "log/SEQ-EPOCH-NONCE" in hex, and back.  Return of parse: whether it is such a name. */
void segment_name(char name[SEGMENT_NAME], const struct segment_id *id);
bool segment_name_parse(const char *name, struct segment_id *id);

#endif
