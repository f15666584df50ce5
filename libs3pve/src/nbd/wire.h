/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * wire.h - the bytes of the NBD protocol, and which requests are in order
 *
 * https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md; all numbers are big-endian.
 * Everything here is a pure function.
 */
#ifndef NBD_WIRE_H
#define NBD_WIRE_H

#include <endian.h>
#include <stddef.h>
#include <string.h>

#include "nbd/nbd.h"

/* --- handshake */
#define WIRE_MAGIC 0x4e42444d41474943u  /* "NBDMAGIC" */
#define WIRE_OPTION 0x49484156454f5054u /* "IHAVEOPT" */
#define WIRE_OPTION_REPLY 0x0003e889045565a9u

enum { /* both of the server's flags and of the client's */
       WIRE_FIXED_NEWSTYLE = 1,
       WIRE_NO_ZEROES = 2,
};

enum wire_option {
    OPT_EXPORT_NAME = 1,
    OPT_ABORT = 2,
    OPT_LIST = 3,
    OPT_INFO = 6,
    OPT_GO = 7,
    OPT_STRUCTURED_REPLY = 8,
    OPT_LIST_META_CONTEXT = 9,
    OPT_SET_META_CONTEXT = 10,
};

enum wire_option_reply {
    REP_ACK = 1,
    REP_SERVER = 2,
    REP_INFO = 3,
    REP_META_CONTEXT = 4,
    REP_ERR_UNSUP = 0x80000001u,
    REP_ERR_INVALID = 0x80000003u,
    REP_ERR_UNKNOWN = 0x80000006u,
    REP_ERR_TOO_BIG = 0x80000009u,
};

enum {
    INFO_EXPORT = 0,
    INFO_NAME = 1,
    INFO_BLOCK_SIZE = 3,
};

/* --- transmission */
#define WIRE_REQUEST 0x25609513u
#define WIRE_SIMPLE_REPLY 0x67446698u
#define WIRE_STRUCTURED_REPLY 0x668e33efu

#define WIRE_REQUEST_LEN 28
#define WIRE_REPLY_MAX 32 /* bytes of a reply before its data */
#define WIRE_EXTENT_LEN 8

enum { /* what an export can do */
       CAN_FLAGS = 1 << 0,
       CAN_READ_ONLY = 1 << 1,
       CAN_FLUSH = 1 << 2,
       CAN_FUA = 1 << 3,
       CAN_TRIM = 1 << 5,
       CAN_ZEROES = 1 << 6,
       CAN_DF = 1 << 7,
       CAN_MULTI_CONN = 1 << 8,
       CAN_CACHE = 1 << 10,
       CAN_FAST_ZERO = 1 << 11,
};

enum {
    CMD_READ = 0,
    CMD_WRITE = 1,
    CMD_DISC = 2,
    CMD_FLUSH = 3,
    CMD_TRIM = 4,
    CMD_CACHE = 5,
    CMD_WRITE_ZEROES = 6,
    CMD_BLOCK_STATUS = 7,
};

enum {
    CMD_FLAG_FUA = 1 << 0,
    CMD_FLAG_NO_HOLE = 1 << 1,
    CMD_FLAG_DF = 1 << 2,
    CMD_FLAG_REQ_ONE = 1 << 3,
    CMD_FLAG_FAST_ZERO = 1 << 4,
};

enum {
    REPLY_FLAG_DONE = 1,
    REPLY_NONE = 0,
    REPLY_OFFSET_DATA = 1,
    REPLY_OFFSET_HOLE = 2,
    REPLY_BLOCK_STATUS = 5,
    REPLY_ERROR = 0x8001,
};

#define CONTEXT_ALLOCATION "base:allocation"
#define CONTEXT_ALLOCATION_ID 1u
enum {
    STATE_HOLE = 1,
    STATE_ZERO = 2,
};

/* What a client and the server agreed on. */
struct wire_session {
    uint64_t size;
    uint16_t can;    /* CAN_... as it was told */
    bool structured; /* replies */
    bool allocation; /* BLOCK_STATUS may be asked for, and answers "base:allocation" */
};

/* What an export can do, for a client that takes structured replies or not. */
uint16_t wire_can(bool read_only, bool structured);

struct wire_command {
    uint16_t flags, type;
    uint64_t cookie, offset;
    uint32_t len;
};

/* Reads WIRE_REQUEST_LEN bytes.  Return: false: this is not a request. */
bool wire_command_decode(const uint8_t *bytes, struct wire_command *ret_command);

/* Return: 0, or the errno with which @command is refused. */
int wire_command_check(const struct wire_command *command, const struct wire_session *session);

/* Makes a request of what was found in order. */
void wire_command_take(const struct wire_command *command, struct nbd_request *request);

struct wire_reply {
    uint64_t cookie, offset;
    int errnum;         /* 0: done */
    uint16_t type;      /* CMD_... */
    bool hole;          /* of a READ: no data follows */
    uint32_t len;       /* of a READ: bytes asked for */
    uint32_t n_extents; /* of a BLOCK_STATUS: so many follow */
};

/* Writes what comes before the data.  Return: its length, at most WIRE_REPLY_MAX; @ret_data: the
 * bytes of data that follow it. */
size_t wire_reply_encode(
    const struct wire_reply *reply, bool structured, uint8_t *bytes, size_t *ret_data
);

/* --- numbers */

static inline uint16_t get_be16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return be16toh(v);
}

static inline uint32_t get_be32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}

static inline uint64_t get_be64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return be64toh(v);
}

/* Return: behind what was written. */
static inline uint8_t *put_be16(uint8_t *p, uint16_t v) {
    v = htobe16(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static inline uint8_t *put_be32(uint8_t *p, uint32_t v) {
    v = htobe32(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static inline uint8_t *put_be64(uint8_t *p, uint64_t v) {
    v = htobe64(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

#endif
