/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* nbdtest.h - an NBD client's words, and a back end that answers when it is told to */
#ifndef NBDTEST_H
#define NBDTEST_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nbd/wire.h"

#define HELD_MAX 1024

/* Keeps what is submitted, in order. */
struct held {
    struct nbd_request *requests[HELD_MAX];
    unsigned n, n_seen;
};

static inline void held_submit(void *ctx, struct nbd_request *request) {
    struct held *held = ctx;
    if (held->n == HELD_MAX)
        abort();
    held->requests[held->n++] = request;
    held->n_seen++;
}

/* Answers the one at @index. */
static inline void held_done(struct held *held, unsigned index, int errnum) {
    struct nbd_request *request = held->requests[index];
    held->n--;
    memmove(
        &held->requests[index],
        &held->requests[index + 1],
        (held->n - index) * sizeof(held->requests[0])
    );
    nbd_request_done(request, errnum);
}

static inline void held_all_done(struct held *held) {
    while (held->n > 0)
        held_done(held, 0, 0);
}

/* A socket that nobody will find. */
static inline int listen_nowhere(void) {
    struct sockaddr any = {.sa_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(fd, &any, sizeof(any.sa_family)) < 0 || listen(fd, 1) < 0)
        abort();
    return fd;
}

/* The client's half of a handshake up to GO, structured or not.  Return: its length. */
static inline size_t say_go(uint8_t *bytes, const char *name, bool structured) {
    uint32_t len = (uint32_t)strlen(name);
    uint8_t *p = put_be32(bytes, WIRE_FIXED_NEWSTYLE | WIRE_NO_ZEROES);
    if (structured)
        p = put_be32(put_be32(put_be64(p, WIRE_OPTION), OPT_STRUCTURED_REPLY), 0);
    p = put_be32(put_be32(put_be64(p, WIRE_OPTION), OPT_GO), len + 6);
    p = put_be32(p, len);
    memcpy(p, name, len);
    p = put_be16(p + len, 0);
    return (size_t)(p - bytes);
}

/* What the server says to that. */
#define GREETING_LEN 18
#define ACK_LEN 20
#define GO_REPLY_LEN (32 + 34 + 20)

static inline size_t say_request(
    uint8_t *bytes, unsigned type, unsigned flags, uint64_t offset, uint32_t len
) {
    uint8_t *p = put_be32(bytes, WIRE_REQUEST);
    p = put_be16(put_be16(p, (uint16_t)flags), (uint16_t)type);
    p = put_be64(p, offset ^ 0x5555555555555555); /* a cookie that tells which one it was */
    put_be32(put_be64(p, offset), len);
    return WIRE_REQUEST_LEN;
}

static inline bool is_cookie(const uint8_t *reply, uint64_t offset) {
    return get_be64(reply + 8) == (offset ^ 0x5555555555555555);
}

#endif
