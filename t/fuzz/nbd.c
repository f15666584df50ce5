/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Whatever a client sends: what reaches the export is in order, what the client gets is NBD, and
 * nothing is left when it is gone.
 *
 * The first byte says in what pieces the rest is sent.  Of the requests some are answered at once,
 * some when the client is gone.
 */
#include "fuzz.h"
#include "nbd/conn.h"
#include "nbd/server.h"
#include "nbdtest.h"

#define SIZE 65536
#define HELD 4096

static struct nbd_server server;
static struct nbd_export *disk, *frozen;
static struct nbd_request *held[HELD];
static unsigned n_held;

static void check_request(const struct nbd_request *request, bool read_only) {
    bool writes =
        request->type == NBD_WRITE || request->type == NBD_TRIM || request->type == NBD_ZERO;
    must(request->offset <= SIZE && request->len <= SIZE - request->offset);
    must(request->offset % NBD_SECTOR == 0 && request->len % NBD_SECTOR == 0);
    must((request->len > 0) == (request->type != NBD_FLUSH));
    must(!read_only || !writes);
    must(writes || !request->fua);
}

/* All of its memory, so that a sanitizer sees whether it is there. */
static void touch(struct nbd_request *request) {
    uint64_t before = request->offset % NBD_BLOCK;
    uint64_t blocks = (before + request->len + NBD_BLOCK - 1) / NBD_BLOCK;
    if (request->type == NBD_READ || request->type == NBD_WRITE)
        memset(request->data - before, 0x5a, blocks * NBD_BLOCK);
    for (uint64_t i = 0; request->type == NBD_STATUS && i < 20; i++)
        nbd_status_add(request, NBD_SECTOR + i, i % 2, i % 3);
}

static void submit(void *ctx, struct nbd_request *request) {
    uint64_t sector = request->offset / NBD_SECTOR;
    check_request(request, ctx != NULL);
    touch(request);
    if (sector % 3 == 1 && n_held < HELD) {
        held[n_held++] = request;
        return;
    }
    request->hole = sector % 5 == 1;
    nbd_request_done(request, sector % 7 == 2 ? EIO : 0);
}

static void begin(void) {
    struct nbd_options options = {.listen_fd = listen_nowhere()};
    struct nbd_export_params params = {.name = "disk", .size = SIZE, .submit = submit};
    must(server_init(&server, &options) == 0);
    must(nbd_export_add(&server, &params, &disk) == 0);
    params.name = "frozen";
    params.read_only = true;
    params.ctx = &server;
    must(nbd_export_add(&server, &params, &frozen) == 0);
}

/* --- what the client sees */

struct seen {
    uint8_t *bytes; /* owned, for good */
    size_t len, room;
};

static void look(struct seen *seen, int fd) {
    for (;;) {
        if (seen->room - seen->len < SIZE) {
            seen->room += 4 * SIZE;
            seen->bytes = realloc(seen->bytes, seen->room);
        }
        ssize_t n = recv(fd, seen->bytes + seen->len, seen->room - seen->len, MSG_DONTWAIT);
        if (n <= 0)
            return;
        seen->len += (size_t)n;
    }
}

/* Return: where the answers to options end. */
static size_t check_options(const struct seen *seen) {
    size_t at = 18;
    must(seen->len >= at && get_be64(seen->bytes) == WIRE_MAGIC);
    while (seen->len - at >= 20 && get_be64(seen->bytes + at) == WIRE_OPTION_REPLY) {
        at += 20 + get_be32(seen->bytes + at + 16);
        must(at <= seen->len);
    }
    return at;
}

/* Replies of a structured session tell how long they are. */
static void check_replies(const struct seen *seen, size_t at) {
    while (seen->len > at && get_be32(seen->bytes + at) == WIRE_STRUCTURED_REPLY) {
        must(seen->len - at >= 20);
        must(get_be16(seen->bytes + at + 4) == REPLY_FLAG_DONE);
        must(get_be32(seen->bytes + at + 16) <= SIZE + 8);
        at += 20 + get_be32(seen->bytes + at + 16);
        must(at <= seen->len);
        must(seen->len - at < 4 || get_be32(seen->bytes + at) == WIRE_STRUCTURED_REPLY);
    }
}

static void steps(struct seen *seen, int fd) {
    for (int i = 0; i < 4; i++) {
        server_step(&server, false);
        must(!server_has_work(&server));
        look(seen, fd);
    }
}

static void leave(int fd) {
    close(fd);
    server_step(&server, false);
    while (n_held > 0)
        nbd_request_done(held[--n_held], 0);
    for (int i = 0; i < 10 && server.n_conns > 0; i++)
        server_step(&server, false);
    must(server.n_conns == 0 && server.bytes == 0 && server.n_timed == 0);
    must(exports_holds(disk) == 0 && disk->n_stale == 0);
    must(exports_holds(frozen) == 0 && frozen->n_stale == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct seen seen;
    int fds[2];
    if (!disk)
        begin();
    if (size == 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return 0;
    seen.len = 0;
    server_adopt(&server, fds[1]);
    size_t piece = data[0] ? data[0] * 16u : size;
    for (size_t at = 1; at < size; at += piece) {
        size_t n = piece < size - at ? piece : size - at;
        if (send(fds[0], data + at, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            break;
        steps(&seen, fds[0]);
    }
    steps(&seen, fds[0]);
    check_replies(&seen, check_options(&seen));
    leave(fds[0]);
    return 0;
}
