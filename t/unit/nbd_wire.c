/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* NBD's bytes: requests as they come, replies as they go, and which requests are refused. */
#include <errno.h>
#include <stdio.h>

#include "nbd/wire.h"
#include "tap.h"

#define SIZE 1048576

static const struct wire_session plain = {.size = SIZE, .can = CAN_FLAGS};
static const struct wire_session full = {
    .size = SIZE,
    .can = CAN_FLAGS,
    .structured = true,
    .allocation = true,
};
static const struct wire_session read_only = {.size = SIZE, .can = CAN_FLAGS | CAN_READ_ONLY};

static void test_command(void) {
    static const uint8_t bytes[WIRE_REQUEST_LEN] =
        "\x25\x60\x95\x13"
        "\0\x05"
        "\0\x01"
        "ABCDEFGH"
        "\0\0\0\x01\0\0\x02\0"
        "\0\0\x10";
    struct wire_command command = {0};
    uint8_t wrong[WIRE_REQUEST_LEN];

    ok(wire_command_decode(bytes, &command), "a request is read");
    is_int(command.flags, 5, "its flags");
    is_int(command.type, CMD_WRITE, "type");
    ok(command.cookie == 0x4142434445464748u, "cookie");
    is_int((long long)command.offset, 0x100000200, "offset");
    is_int(command.len, 4096, "and length");
    memcpy(wrong, bytes, sizeof(wrong));
    wrong[3]++;
    ok(!wire_command_decode(wrong, &command), "another magic is none");
}

static void test_can(void) {
    is_int(wire_can(false, true), 0x0ded, "all that an export can do");
    is_int(wire_can(false, false), 0x0d6d, "DF is for structured replies");
    is_int(wire_can(true, true), 0x058f, "one that is read-only offers nothing that writes");
}

static int check(const struct wire_session *session, unsigned type, unsigned flags) {
    struct wire_command command = {.type = (uint16_t)type, .flags = (uint16_t)flags, .len = 512};
    if (type == CMD_FLUSH)
        command.len = 0;
    return wire_command_check(&command, session);
}

static int range(unsigned type, uint64_t offset, uint32_t len) {
    struct wire_command command = {.type = (uint16_t)type, .offset = offset, .len = len};
    return wire_command_check(&command, &full);
}

static void test_flags(void) {
    for (unsigned type = CMD_READ; type <= CMD_BLOCK_STATUS; type++) {
        if (type == CMD_DISC)
            continue;
        is_int(check(&full, type, 0), 0, "command %u is in order", type);
        is_int(check(&full, type, CMD_FLAG_FUA), 0, "... with FUA, too");
        is_int(check(&full, type, 1 << 5), EINVAL, "... and not with a flag nobody knows");
        is_int(
            check(&full, type, CMD_FLAG_NO_HOLE), type == CMD_WRITE_ZEROES ? 0 : EINVAL, "NO_HOLE"
        );
        is_int(
            check(&full, type, CMD_FLAG_FAST_ZERO),
            type == CMD_WRITE_ZEROES ? 0 : EINVAL,
            "FAST_ZERO"
        );
        is_int(check(&full, type, CMD_FLAG_DF), type == CMD_READ ? 0 : EINVAL, "DF");
        is_int(
            check(&full, type, CMD_FLAG_REQ_ONE), type == CMD_BLOCK_STATUS ? 0 : EINVAL, "REQ_ONE"
        );
        bool writes = type == CMD_WRITE || type == CMD_TRIM || type == CMD_WRITE_ZEROES;
        is_int(
            check(&read_only, type, 0),
            writes                     ? EPERM
            : type == CMD_BLOCK_STATUS ? EINVAL
                                       : 0,
            "read-only"
        );
    }
    is_int(check(&plain, CMD_READ, CMD_FLAG_DF), EINVAL, "DF needs structured replies");
    is_int(check(&plain, CMD_BLOCK_STATUS, 0), EINVAL, "BLOCK_STATUS needs a context");
    is_int(check(&full, CMD_DISC, 0), EINVAL, "DISC is not for here");
    is_int(check(&full, 8, 0), EINVAL, "nor is what nobody knows");
    is_int(check(&full, 65535, 0), EINVAL, "... at all");
}

static void test_ranges(void) {
    is_int(range(CMD_READ, SIZE - 512, 512), 0, "the last sector");
    is_int(range(CMD_READ, 0, SIZE), 0, "everything");
    is_int(range(CMD_READ, SIZE, 512), EINVAL, "a read behind the end");
    is_int(range(CMD_WRITE, SIZE - 512, 1024), ENOSPC, "a write over the end");
    is_int(range(CMD_WRITE_ZEROES, SIZE, 512), ENOSPC, "zeroes behind it");
    is_int(range(CMD_TRIM, SIZE, 512), EINVAL, "a trim");
    is_int(range(CMD_READ, UINT64_MAX - 511, 1024), EINVAL, "a range that wraps around");
    is_int(range(CMD_WRITE, 0, UINT32_MAX - 511), ENOSPC, "one that is very long");
    is_int(range(CMD_READ, 256, 512), EINVAL, "half a sector's offset");
    is_int(range(CMD_WRITE, 0, 100), EINVAL, "half a sector's length");
    is_int(range(CMD_READ, 0, 0), EINVAL, "nothing");
    is_int(range(CMD_FLUSH, 0, 0), 0, "a flush has no range");
    is_int(range(CMD_FLUSH, 512, 0), EINVAL, "... or it is none");
    is_int(range(CMD_FLUSH, 0, 512), EINVAL, "... neither this way");

    struct wire_session large = {.size = UINT64_C(1) << 40};
    struct wire_command command = {.type = CMD_READ, .len = (32 << 20) + 512};
    is_int(wire_command_check(&command, &large), EINVAL, "more than 32 MiB at once is not read");
    command.type = CMD_WRITE_ZEROES;
    command.len = UINT32_MAX - 511;
    is_int(wire_command_check(&command, &large), 0, "but zeroed");
}

static void test_take(void) {
    struct wire_command command = {.type = CMD_WRITE_ZEROES, .offset = 512, .len = 1024};
    struct nbd_request request = {0};
    command.flags = CMD_FLAG_FUA | CMD_FLAG_NO_HOLE;
    wire_command_take(&command, &request);
    ok(request.type == NBD_ZERO && request.fua && request.no_hole && !request.fast, "zeroes");
    ok(request.offset == 512 && request.len == 1024, "... where they were asked for");
    command = (struct wire_command){.type = CMD_READ, .flags = CMD_FLAG_FUA, .len = 512};
    wire_command_take(&command, &request);
    ok(request.type == NBD_READ && !request.fua, "FUA means nothing where nothing is written");
}

/* Blanks in @hex do not count. */
static void replies(
    const struct wire_reply *reply, bool structured, const char *hex, size_t data, const char *what
) {
    uint8_t bytes[WIRE_REPLY_MAX];
    char text[3 * WIRE_REPLY_MAX] = "", want[3 * WIRE_REPLY_MAX] = "";
    size_t data_len = 99, len = wire_reply_encode(reply, structured, bytes, &data_len);
    for (size_t i = 0; i < len; i++)
        sprintf(text + 2 * i, "%02x", bytes[i]);
    for (char *p = want; *hex; hex++) {
        if (*hex != ' ')
            *p++ = *hex;
    }
    is_str(text, want, "%s", what);
    is_int((long long)data_len, (long long)data, "... with %zu bytes of data", data);
}

static void test_simple_replies(void) {
    struct wire_reply reply = {.cookie = 0x0102030405060708, .type = CMD_READ, .len = 4096};
    replies(&reply, false, "67446698 00000000 0102030405060708", 4096, "a read");
    reply.hole = true;
    replies(&reply, false, "67446698 00000000 0102030405060708", 4096, "it knows no holes");
    reply.errnum = EIO;
    replies(&reply, false, "67446698 00000005 0102030405060708", 0, "an error");
    reply.errnum = 0;
    reply.type = CMD_FLUSH;
    replies(&reply, false, "67446698 00000000 0102030405060708", 0, "a flush is done");
}

#define CHUNK(type, rest) "668e33ef 0001 " type " 0102030405060708 " rest

static void test_structured_replies(void) {
    struct wire_reply reply = {.cookie = 0x0102030405060708, .type = CMD_READ, .len = 4096};
    reply.offset = 512;
    replies(&reply, true, CHUNK("0001", "00001008 0000000000000200"), 4096, "a read");
    reply.hole = true;
    replies(&reply, true, CHUNK("0002", "0000000c 0000000000000200 00001000"), 0, "a hole");
    reply.errnum = EIO;
    replies(&reply, true, CHUNK("8001", "00000006 00000005 0000"), 0, "an error");
    reply.errnum = 0;
    reply.type = CMD_FLUSH;
    replies(&reply, true, CHUNK("0000", "00000000"), 0, "a flush is done");
    reply.type = CMD_BLOCK_STATUS;
    reply.n_extents = 3;
    replies(&reply, true, CHUNK("0005", "0000001c 00000001"), 24, "three extents");
}

static void errors(int errnum, unsigned nbd) {
    uint8_t bytes[WIRE_REPLY_MAX];
    size_t data;
    struct wire_reply reply = {.errnum = errnum};
    wire_reply_encode(&reply, false, bytes, &data);
    is_int(get_be32(bytes + 4), nbd, "%s is %u", strerror(errnum), nbd);
}

int main(void) {
    test_command();
    test_can();
    test_flags();
    test_ranges();
    test_take();
    test_simple_replies();
    test_structured_replies();
    errors(EROFS, 1);
    errors(EDQUOT, 28);
    errors(ENOTSUP, 95);
    errors(ETIMEDOUT, 5);
    return done_testing();
}
