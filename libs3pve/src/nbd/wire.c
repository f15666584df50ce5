/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "nbd/wire.h"

#include <errno.h>

#include "base/limits.h"

uint16_t wire_can(bool read_only, bool structured) {
    unsigned can = CAN_FLAGS | CAN_FLUSH | CAN_FUA | CAN_MULTI_CONN | CAN_CACHE;
    can |= read_only ? CAN_READ_ONLY : CAN_TRIM | CAN_ZEROES | CAN_FAST_ZERO;
    return (uint16_t)(can | (structured ? CAN_DF : 0));
}

bool wire_command_decode(const uint8_t *bytes, struct wire_command *ret_command) {
    if (get_be32(bytes) != WIRE_REQUEST)
        return false;
    *ret_command = (struct wire_command){
        .flags = get_be16(bytes + 4),
        .type = get_be16(bytes + 6),
        .cookie = get_be64(bytes + 8),
        .offset = get_be64(bytes + 16),
        .len = get_be32(bytes + 24),
    };
    return true;
}

/* --- what is in order */

struct kind {
    enum nbd_type type;
    uint16_t flags; /* besides FUA, which all have: some clients set it everywhere */
    bool writes;
    int beyond; /* errno for a range that is not within the export */
};

static const struct kind kinds[] = {
    [CMD_READ] = {NBD_READ, CMD_FLAG_DF, false, EINVAL},
    [CMD_WRITE] = {NBD_WRITE, 0, true, ENOSPC},
    [CMD_FLUSH] = {NBD_FLUSH, 0, false, EINVAL},
    [CMD_TRIM] = {NBD_TRIM, 0, true, EINVAL},
    [CMD_CACHE] = {NBD_CACHE, 0, false, EINVAL},
    [CMD_WRITE_ZEROES] = {NBD_ZERO, CMD_FLAG_NO_HOLE | CMD_FLAG_FAST_ZERO, true, ENOSPC},
    [CMD_BLOCK_STATUS] = {NBD_STATUS, CMD_FLAG_REQ_ONE, false, EINVAL},
};

static bool is_known(const struct wire_command *command, const struct wire_session *session) {
    if (command->type > CMD_BLOCK_STATUS || command->type == CMD_DISC)
        return false;
    if (command->type == CMD_BLOCK_STATUS && !session->allocation)
        return false;
    uint16_t flags = CMD_FLAG_FUA | kinds[command->type].flags;
    if (!session->structured)
        flags &= (uint16_t)~CMD_FLAG_DF;
    return (command->flags & ~flags) == 0;
}

static int check_range(const struct wire_command *command, const struct wire_session *session) {
    bool flush = command->type == CMD_FLUSH;
    if (flush || command->len == 0)
        return flush && command->len == 0 && command->offset == 0 ? 0 : EINVAL;
    if (command->offset % NBD_SECTOR || command->len % NBD_SECTOR)
        return EINVAL;
    if (command->offset > session->size || command->len > session->size - command->offset)
        return kinds[command->type].beyond;
    if (command->type <= CMD_WRITE && command->len > NBD_PAYLOAD)
        return EINVAL;
    return 0;
}

int wire_command_check(const struct wire_command *command, const struct wire_session *session) {
    if (!is_known(command, session))
        return EINVAL;
    if (kinds[command->type].writes && session->can & CAN_READ_ONLY)
        return EPERM;
    return check_range(command, session);
}

void wire_command_take(const struct wire_command *command, struct nbd_request *request) {
    const struct kind *kind = &kinds[command->type];
    request->type = kind->type;
    request->offset = command->offset;
    request->len = command->len;
    request->fua = kind->writes && command->flags & CMD_FLAG_FUA;
    request->no_hole = command->flags & CMD_FLAG_NO_HOLE;
    request->fast = command->flags & CMD_FLAG_FAST_ZERO;
}

/* --- replies */

/* The protocol knows these and no other. */
static uint32_t wire_error(int errnum) {
    switch (errnum) {
    case 0: return 0;
    case EPERM:
    case EACCES:
    case EROFS: return 1;
    case ENOMEM: return 12;
    case EINVAL: return 22;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return 28;
    case EOVERFLOW: return 75;
    case ENOTSUP: return 95;
    case ESHUTDOWN: return 108;
    default: return 5;
    }
}

static size_t simple_reply(const struct wire_reply *reply, uint8_t *bytes, size_t *ret_data) {
    uint8_t *p = put_be32(bytes, WIRE_SIMPLE_REPLY);
    p = put_be32(p, wire_error(reply->errnum));
    p = put_be64(p, reply->cookie);
    *ret_data = reply->type == CMD_READ && reply->errnum == 0 ? reply->len : 0;
    return (size_t)(p - bytes);
}

/* The one chunk of a reply: @head bytes of what comes, at the end of this, before @data bytes. */
static uint8_t *chunk(
    const struct wire_reply *reply, unsigned type, uint8_t *bytes, size_t head, size_t data
) {
    uint8_t *p = put_be32(bytes, WIRE_STRUCTURED_REPLY);
    p = put_be16(p, REPLY_FLAG_DONE);
    p = put_be16(p, (uint16_t)type);
    p = put_be64(p, reply->cookie);
    return put_be32(p, (uint32_t)(head + data));
}

size_t wire_reply_encode(
    const struct wire_reply *reply, bool structured, uint8_t *bytes, size_t *ret_data
) {
    uint8_t *p;
    *ret_data = 0;
    if (!structured)
        return simple_reply(reply, bytes, ret_data);
    if (reply->errnum) {
        p = chunk(reply, REPLY_ERROR, bytes, 6, 0);
        p = put_be32(p, wire_error(reply->errnum));
        p = put_be16(p, 0); /* bytes of text */
    } else if (reply->type == CMD_READ && reply->hole) {
        p = chunk(reply, REPLY_OFFSET_HOLE, bytes, 12, 0);
        p = put_be64(p, reply->offset);
        p = put_be32(p, reply->len);
    } else if (reply->type == CMD_READ) {
        *ret_data = reply->len;
        p = chunk(reply, REPLY_OFFSET_DATA, bytes, 8, *ret_data);
        p = put_be64(p, reply->offset);
    } else if (reply->type == CMD_BLOCK_STATUS) {
        *ret_data = (size_t)reply->n_extents * WIRE_EXTENT_LEN;
        p = chunk(reply, REPLY_BLOCK_STATUS, bytes, 4, *ret_data);
        p = put_be32(p, CONTEXT_ALLOCATION_ID);
    } else {
        p = chunk(reply, REPLY_NONE, bytes, 0, 0);
    }
    return (size_t)(p - bytes);
}
