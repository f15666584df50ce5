/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Connections: what is submitted when, what is answered, who waits, and who is hung up on. */
#include "nbd/conn.h"
#include "nbd/server.h"
#include "nbdtest.h"
#include "tap.h"

#define SIZE (UINT64_C(1) << 30)

static struct nbd_server server;
static struct nbd_export *disk;
static struct held held;

struct client {
    int fd;
    struct conn *conn; /* borrowed; may be gone */
    size_t n;          /* of .bytes, what came last */
    uint8_t bytes[65536];
};

static void steps(void) {
    for (int i = 0; i < 20; i++) {
        server_step(&server, false);
        if (server_has_work(&server))
            ok(false, "there is work left, for which nobody would wake it");
    }
}

static void send_bytes(struct client *client, const void *bytes, size_t len) {
    if (send(client->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
        bail_out("send: %s", strerror(errno));
    steps();
}

/* Return: bytes that came; -1 when the server has hung up. */
static int receive(struct client *client) {
    steps();
    ssize_t n = recv(client->fd, client->bytes, sizeof(client->bytes), MSG_DONTWAIT);
    client->n = n > 0 ? (size_t)n : 0;
    return n > 0 ? (int)n : n == 0 || errno == ECONNRESET ? -1 : 0;
}

static void connect_client(struct client *client) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        bail_out("socketpair");
    client->fd = fds[0];
    client->conn = server_adopt(&server, fds[1]);
}

static void go(struct client *client, bool structured) {
    uint8_t bytes[256];
    size_t len = say_go(bytes, "disk", structured);
    send_bytes(client, bytes, len);
}

static void enter(struct client *client, bool structured) {
    connect_client(client);
    go(client, structured);
    is_int(
        receive(client), GREETING_LEN + GO_REPLY_LEN + (structured ? ACK_LEN : 0), "a client enters"
    );
}

static void leave(struct client *client) {
    close(client->fd);
    steps();
}

static void request(struct client *client, unsigned type, uint64_t offset, uint32_t len) {
    uint8_t bytes[WIRE_REQUEST_LEN];
    send_bytes(client, bytes, say_request(bytes, type, 0, offset, len));
}

static void write_request(struct client *client, uint64_t offset, uint32_t len, uint8_t fill) {
    uint8_t *bytes = malloc(WIRE_REQUEST_LEN + len);
    memset(bytes + say_request(bytes, CMD_WRITE, 0, offset, len), fill, len);
    send_bytes(client, bytes, WIRE_REQUEST_LEN + len);
    free(bytes);
}

static void test_write_read(void) {
    struct client client;
    enter(&client, false);
    write_request(&client, 512, 4096, 'w');
    is_int(held.n, 1, "a write is submitted");
    struct nbd_request *r = held.requests[0];
    ok(r->type == NBD_WRITE && r->offset == 512 && r->len == 4096, "as it was sent");
    ok(r->data[0] == 'w' && r->data[4095] == 'w', "with its data");
    is_int((long long)((uintptr_t)r->data % NBD_BLOCK), 512, "which lies as on the disk");
    r->data[-512] = r->data[4096 + 3583] = 'x';
    is_int(receive(&client), 0, "it is not answered");
    held_done(&held, 0, 0);
    is_int(receive(&client), 16, "until it is done");
    ok(is_cookie(client.bytes, 512), "with its cookie");

    request(&client, CMD_READ, 1024, 1024);
    memset(held.requests[0]->data, 'r', 1024);
    held_done(&held, 0, 0);
    is_int(receive(&client), 16 + 1024, "a read has its data behind its reply");
    ok(client.bytes[16] == 'r' && client.bytes[1039] == 'r', "... that data");
    request(&client, CMD_READ, 0, 512);
    held.requests[0]->data[7] = 1;
    held.requests[0]->hole = true;
    held_done(&held, 0, 0);
    is_int(receive(&client), 16 + 512, "one of a hole, too");
    is_int(client.bytes[16 + 7], 0, "... which are zeroes");
    request(&client, CMD_READ, 0, 512);
    held_done(&held, 0, EIO);
    is_int(receive(&client), 16, "a failed one has none");
    is_int(get_be32(client.bytes + 4), 5, "but an error");
    leave(&client);
}

static void test_together(void) {
    uint8_t bytes[4 * WIRE_REQUEST_LEN];
    struct client client;
    enter(&client, false);
    for (unsigned i = 0; i < 4; i++) /* the third is refused */
        say_request(bytes + i * WIRE_REQUEST_LEN, CMD_READ, 0, i == 2 ? SIZE : i * 4096, 4096);
    send_bytes(&client, bytes, sizeof(bytes));
    is_int(held.n, 3, "what came together is submitted together");
    ok(held.requests[0]->more && held.requests[1]->more, "... each says that more comes");
    ok(!held.requests[2]->more, "... but the last");
    while (held.n)
        held_done(&held, 0, 0);
    is_int(receive(&client), 4 * 16 + 3 * 4096, "all are answered");
    request(&client, CMD_READ, 0, 512);
    ok(!held.requests[0]->more, "one alone is the last");
    held_done(&held, 0, 0);
    leave(&client);
}

static void test_bytewise(void) {
    struct client client;
    uint8_t bytes[1024];
    size_t len = say_go(bytes, "disk", true);
    connect_client(&client);
    len += say_request(bytes + len, CMD_WRITE, CMD_FLAG_FUA, 4096, 512);
    memset(bytes + len, 'b', 512);
    len += 512;
    len += say_request(bytes + len, CMD_FLUSH, 0, 0, 0);
    for (size_t i = 0; i < len; i++) {
        if (held.n > 0 && i < len - WIRE_REQUEST_LEN)
            ok(false, "a write came too early");
        send_bytes(&client, bytes + i, 1);
    }
    is_int(held.n, 2, "what comes byte by byte is understood");
    ok(held.requests[0]->fua && held.requests[0]->data[511] == 'b', "... as it was meant");
    held_done(&held, 1, 0);
    held_done(&held, 0, 0);
    is_int(
        receive(&client),
        GREETING_LEN + ACK_LEN + GO_REPLY_LEN + 2 * 20,
        "and answered in any order"
    );
    ok(is_cookie(client.bytes + client.n - 40, 0), "the flush first");
    ok(is_cookie(client.bytes + client.n - 20, 4096), "then the write");
    leave(&client);
}

static void test_refused(void) {
    struct client client;
    enter(&client, true);
    write_request(&client, SIZE, 70000 / 512 * 512, 'x');
    is_int(held.n, 0, "a write behind the end is not submitted");
    is_int(receive(&client), 26, "but answered");
    is_int(get_be32(client.bytes + 20), 28, "with ENOSPC");
    request(&client, 99, 0, 0);
    is_int(receive(&client), 26, "a command nobody knows, too");
    write_request(&client, 100, 512, 'x');
    is_int(receive(&client), 26, "half a sector, too");
    write_request(&client, 0, 0, 'x');
    is_int(receive(&client), 26, "nothing, too");
    request(&client, CMD_FLUSH, 0, 0);
    is_int(held.n, 1, "then it goes on");
    held_done(&held, 0, 0);
    is_int(receive(&client), 20, "as before");
    send_bytes(&client, "what do you think I am?!....", WIRE_REQUEST_LEN);
    is_int(receive(&client), -1, "what is no request is the end");
    leave(&client);

    enter(&client, true);
    request(&client, CMD_WRITE, 0, (32 << 20) + 512);
    is_int(receive(&client), -1, "more than 32 MiB to write are, too");
    leave(&client);
}

static void test_status(void) {
    struct client client;
    uint8_t bytes[512];
    connect_client(&client);
    size_t len = say_go(bytes, "disk", true);
    uint8_t set[] =
        "IHAVEOPT\0\0\0\x0a\0\0\0\x1f"
        "\0\0\0\4disk\0\0\0\1\0\0\0\x0f"
        "base:allocation";
    size_t set_len = sizeof(set) - 1, at = 4 + 16;
    memmove(bytes + at + set_len, bytes + at, len - at);
    memcpy(bytes + at, set, set_len);
    send_bytes(&client, bytes, len + set_len);
    receive(&client);
    request(&client, CMD_BLOCK_STATUS, 4096, 65536);
    if (!ok(held.n == 1, "a block status is submitted"))
        return;
    ok(nbd_status_add(held.requests[0], 4096, false, false), "data");
    ok(nbd_status_add(held.requests[0], 4096, true, true), "a hole");
    ok(nbd_status_add(held.requests[0], 8192, true, true), "more of it");
    ok(!nbd_status_add(held.requests[0], UINT64_MAX, false, true), "zeroes to the end of all");
    held_done(&held, 0, 0);
    is_int(receive(&client), 20 + 4 + 3 * 8, "three extents are told");
    is_int(get_be32(client.bytes + 24), 4096, "data");
    is_int(get_be32(client.bytes + 32), 12288, "the hole in one");
    is_int(get_be32(client.bytes + 36), STATE_HOLE | STATE_ZERO, "as what it is");
    is_int(get_be32(client.bytes + 40), 49152, "zeroes as far as was asked");
    is_int(get_be32(client.bytes + 44), STATE_ZERO, "which take room");

    request(&client, CMD_BLOCK_STATUS, 0, 1024);
    held_done(&held, 0, 0);
    is_int(receive(&client), 20 + 4 + 8, "what nobody knows");
    is_int(get_be32(client.bytes + 28), 0, "is data");

    say_request(bytes, CMD_BLOCK_STATUS, CMD_FLAG_REQ_ONE, 0, 8192);
    send_bytes(&client, bytes, WIRE_REQUEST_LEN);
    ok(nbd_status_add(held.requests[0], 1024, false, false), "one extent may be asked for");
    ok(nbd_status_add(held.requests[0], 1024, false, false), "it can grow");
    ok(!nbd_status_add(held.requests[0], 1024, true, false), "but there is no second");
    ok(!nbd_status_add(held.requests[0], 1024, false, false), "nor what comes after that");
    held_done(&held, 0, 0);
    is_int(receive(&client), 20 + 4 + 8, "so there is one");
    is_int(get_be32(client.bytes + 24), 2048, "as long as it is");

    request(&client, CMD_BLOCK_STATUS, 0, 64 << 20);
    unsigned n = 0;
    while (nbd_status_add(held.requests[0], 512, n % 2, false))
        n++;
    held_done(&held, 0, 0);
    is_int(n, NBD_EXTENTS, "and there is a most of them");
    is_int(receive(&client), 20 + 4 + NBD_EXTENTS * 8, "... that are told");
    leave(&client);
}

static void test_disconnect(void) {
    struct client client;
    enter(&client, false);
    write_request(&client, 0, 512, 'x');
    request(&client, CMD_DISC, 0, 0);
    request(&client, CMD_FLUSH, 0, 0);
    is_int(held.n, 1, "nothing is taken after DISC");
    is_int(receive(&client), 0, "but what is in flight is waited for");
    held_done(&held, 0, 0);
    is_int(receive(&client), 16, "and answered");
    is_int(receive(&client), -1, "before the end");
    leave(&client);
    is_int((long long)exports_holds(disk), 0, "nobody uses the export then");
}

/* disk.md 4.4: no stale twins. */
static void test_twin(void) {
    struct client old, new;
    enter(&old, false);
    write_request(&old, 0, 512, 'o');
    request(&old, CMD_READ, 4096, 512);
    request(&old, CMD_TRIM, 8192, 512);
    uint8_t part[WIRE_REQUEST_LEN + 100] = {0};
    say_request(part, CMD_WRITE, 0, 512, 512);
    send_bytes(&old, part, sizeof(part));
    leave(&old);
    connect_client(&new);
    go(&new, false);
    is_int(receive(&new), GREETING_LEN, "who reconnects has to wait");
    is_int(held.n, 3, "while requests of the old connection are in flight");
    held_done(&held, 0, 0);
    is_int(receive(&new), 0, "for all that write");
    held_done(&held, 1, 0);
    is_int(receive(&new), GO_REPLY_LEN, "but no longer");
    is_int(held.n, 1, "a read does no harm");
    write_request(&new, 0, 512, 'n');
    ok(held.n == 2 && held.requests[1]->data[0] == 'n', "then the new one may write");
    held_all_done(&held);
    is_int(receive(&new), 16, "and is answered");
    is_int(held.n_seen, 4, "the write that was not whole was never submitted");
    leave(&new);
}

static void test_unread_twin(void) {
    struct client old, new;
    enter(&old, false);
    connect_client(&new);
    receive(&new);
    uint8_t bytes[1024] = {0};
    size_t len = say_request(bytes, CMD_WRITE, 0, 0, 512) + 512;
    ok(send(old.fd, bytes, len, 0) == (ssize_t)len, "a client writes");
    close(old.fd);
    len = say_go(bytes, "disk", false);
    ok(send(new.fd, bytes, len, 0) == (ssize_t)len, "and comes again, before that was read");
    while (server_step(&server, false), receive(&new) == 0 && held.n == 0)
        continue;
    unsigned before = held.n;
    bool entered = new.n > 0;
    steps();
    ok(entered ? before == 0 && held.n == 0 : before == 1, "the old write is first, or not at all");
    held_all_done(&held);
    steps();
    leave(&new);
}

static void test_many_requests(void) {
    struct client client;
    uint8_t bytes[200 * WIRE_REQUEST_LEN];
    enter(&client, false);
    for (int i = 0; i < 200; i++)
        say_request(bytes + i * WIRE_REQUEST_LEN, CMD_FLUSH, 0, 0, 0);
    send_bytes(&client, bytes, sizeof(bytes));
    is_int(held.n, NBD_CONN_REQUESTS, "so many requests are taken at once");
    held_done(&held, 5, 0);
    steps();
    is_int(held.n, NBD_CONN_REQUESTS, "one more for each that is done");
    int n = 0;
    for (int got; n < 200 * 16 && (held_all_done(&held), (got = receive(&client)) >= 0); n += got)
        continue;
    is_int(n, 200 * 16, "and all are answered");
    leave(&client);
}

static void test_many_bytes(void) {
    struct client clients[10];
    for (int i = 0; i < 10; i++)
        enter(&clients[i], false);
    for (int i = 0; i < 3; i++)
        request(&clients[0], CMD_READ, 0, 16 << 20);
    is_int(held.n, 2, "one connection gets so much memory");
    for (int i = 1; i < 10; i++)
        request(&clients[i], CMD_READ, (uint64_t)i << 20, 32 << 20);
    is_int(held.n, 9, "and all together so much");
    request(&clients[9], CMD_FLUSH, 0, 0);
    leave(&clients[1]);
    is_int(held.n, 9, "who leaves does not give back what is in flight");
    held_done(&held, 2, 0);
    steps();
    is_int(held.n, 9, "until it is done: then another goes on");
    is_int((long long)held.requests[8]->offset, 8 << 20, "the one who waited longest");
    leave(&clients[0]);
    held_done(&held, 0, 0);
    held_done(&held, 0, 0);
    steps();
    is_int((long long)server.bytes, (long long)NBD_BYTES, "there is never more");
    for (int i = 2; i < 10; i++)
        leave(&clients[i]);
    held_all_done(&held);
    steps();
    is_int((long long)server.bytes, 0, "and nothing is lost");
    is_int(server.n_conns, 0, "nobody is left");
    is_int((long long)server.pages.bytes, 0, "nor is memory");
}

/* Makes what is due be overdue, while others wait for memory, or not. */
static void wait_long(bool others_wait) {
    for (struct conn *c = server.conns; c; c = c->next) {
        c->in_due_ms = c->in_due_ms ? 1 : 0;
        c->out_due_ms = c->out_due_ms ? 1 : 0;
    }
    server.ticked_ms = 0;
    server.starving = others_wait;
    steps();
    server.starving = false;
}

static void test_slow_handshake(void) {
    struct client client;
    connect_client(&client);
    receive(&client);
    wait_long(false);
    is_int(receive(&client), -1, "who says nothing is hung up on");
    leave(&client);

    enter(&client, false);
    wait_long(true);
    is_int(receive(&client), 0, "not so who has nothing to say any more");
    leave(&client);
}

static void test_slow_writer(void) {
    struct client client;
    uint8_t part[WIRE_REQUEST_LEN + 100] = {0};
    enter(&client, false);
    say_request(part, CMD_WRITE, 0, 0, 512);
    send_bytes(&client, part, sizeof(part));
    wait_long(false);
    is_int(receive(&client), 0, "one may stop in the middle of a write");
    wait_long(true);
    is_int(receive(&client), -1, "while nobody waits for the memory");
    is_int((long long)server.bytes, 0, "which is free then");
    leave(&client);
}

static void test_slow_reader(void) {
    struct client client;
    enter(&client, false);
    request(&client, CMD_READ, 0, 16 << 20);
    wait_long(true);
    is_int(held.n, 1, "one may wait for an answer as long as it takes");
    held_done(&held, 0, 0);
    steps();
    wait_long(false);
    is_int(server.n_conns, 1, "and not take it");
    wait_long(true);
    ok(server.bytes == 0 && server.n_conns == 0, "while nobody waits for the memory");
    leave(&client);
}

static void test_drop(void) {
    struct client client, other;
    enter(&client, false);
    enter(&other, false);
    write_request(&client, 0, 512, 'x');
    exports_ask(disk, 2 * SIZE, false);
    server_wake(&server);
    steps();
    is_int(receive(&client), -1, "when an export grows its clients are hung up on");
    is_int(receive(&other), -1, "... all");
    leave(&client);
    leave(&other);
    connect_client(&client);
    go(&client, false);
    is_int(receive(&client), GREETING_LEN, "who comes again waits for what was in flight");
    held_all_done(&held);
    is_int(receive(&client), GO_REPLY_LEN, "then enters");
    is_int((long long)get_be64(client.bytes + 22), 2 * SIZE, "and learns the new size");
    leave(&client);
}

static void test_slow_in_the_way(void) {
    struct client clients[9];
    for (int i = 0; i < 9; i++)
        enter(&clients[i], false);
    for (int i = 0; i < 8; i++)
        request(&clients[i], CMD_WRITE, 0, 32 << 20);
    request(&clients[8], CMD_READ, 512, 512);
    is_int(held.n, 0, "who begins to write keeps others from reading");
    wait_long(true);
    is_int(held.n, 1, "but not for ever");
    held_all_done(&held);
    is_int(receive(&clients[8]), 16 + 512, "then they are answered");
    is_int(server.n_conns, 1, "and the others are gone");
    for (int i = 0; i < 9; i++)
        leave(&clients[i]);
    is_int((long long)server.bytes, 0, "and nothing is left");
}

static void test_crowd(void) {
    static struct client clients[NBD_CONNECTIONS];
    struct client late;
    for (int i = 0; i < NBD_CONNECTIONS; i++)
        connect_client(&clients[i]);
    connect_client(&late);
    ok(!late.conn, "there is a most of connections");
    is_int(receive(&late), -1, "who is too many is hung up on");
    close(late.fd);
    for (int i = 0; i < NBD_CONNECTIONS; i++)
        close(clients[i].fd);
    steps();
    steps();
    is_int(server.n_conns, 0, "all go");
}

static void log_line(void *ctx, const char *export, const char *text) {
    printf("# %s: %s\n", export ? export : "-", text);
}

int main(void) {
    struct nbd_options options = {.listen_fd = listen_nowhere(), .log = log_line};
    struct nbd_export_params params = {
        .name = "disk", .size = SIZE, .submit = held_submit, .ctx = &held};
    if (server_init(&server, &options) < 0 || nbd_export_add(&server, &params, &disk) < 0)
        bail_out("no server");
    test_write_read();
    test_together();
    test_bytewise();
    test_refused();
    test_status();
    test_disconnect();
    held.n_seen = 0;
    test_twin();
    test_unread_twin();
    test_many_requests();
    test_many_bytes();
    test_slow_handshake();
    test_slow_writer();
    test_slow_reader();
    test_drop();
    test_slow_in_the_way();
    test_crowd();
    exports_remove(disk);
    server_clear(&server);
    return done_testing();
}
