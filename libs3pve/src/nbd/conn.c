/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "nbd/conn.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define SEND_PIECES 64 /* of memory, in one call */

/* --- the end */

/* From now on its writes stand in the way of new connections of the same export. */
static void become_stale(struct conn *conn) {
    if (conn->export && !conn->stale)
        conn->export->n_stale += conn->n_writes;
    conn->stale = true;
}

static void drop_output(struct conn *conn) {
    for (struct flight *request; (request = conn->out);) {
        conn->out = request->next;
        flight_free(request);
    }
    conn->out_last = &conn->out;
}

static void set_due(struct conn *conn, int64_t in_ms, int64_t out_ms) {
    bool timed = in_ms || out_ms;
    conn->in_due_ms = in_ms;
    conn->out_due_ms = out_ms;
    conn->server->n_timed += (unsigned)timed - (unsigned)conn->timed;
    conn->timed = timed;
}

void conn_drop(struct conn *conn, const char *why) {
    if (conn->state == CONN_GONE)
        return;
    if (why)
        server_log(conn->server, conn->export, why);
    become_stale(conn);
    if (conn->export)
        exports_leave(conn->export);
    conn->state = CONN_GONE;
    close(conn->fd); /* which also ends epoll's interest in it */
    conn->fd = -1;
    if (conn->incoming)
        flight_free(steal_ptr(&conn->incoming));
    drop_output(conn);
    set_due(conn, 0, 0);
    server_unblock(conn->server, conn);
    conn->server->leaving = true;
}

/* --- sending */

/* All that the handshake has to say.  Return: whether it has been sent. */
static bool send_handshake(struct conn *conn) {
    struct buf *out = &conn->handshake.out;
    while (out->len > 0) {
        size_t left = out->len - conn->out_sent;
        ssize_t n = send(conn->fd, out->data + conn->out_sent, left, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN)
                conn_drop(conn, NULL);
            return false;
        }
        conn->out_sent += (size_t)n;
        if ((size_t)n == left) {
            buf_clear(out);
            conn->out_sent = 0;
        }
    }
    return true;
}

static void add_piece(struct iovec *pieces, size_t *n, uint8_t *data, size_t from, size_t to) {
    if (from >= to)
        return;
    pieces[*n].iov_base = data + from;
    pieces[(*n)++].iov_len = to - from;
}

/* What is to be sent next, of the first replies. */
static size_t gather(struct conn *conn, struct iovec *pieces) {
    size_t n = 0, skip = conn->out_sent;
    for (struct flight *r = conn->out; r && n + 2 <= SEND_PIECES; r = r->next) {
        size_t head = skip < r->header_len ? skip : r->header_len, data = skip - head;
        add_piece(pieces, &n, r->header, head, r->header_len);
        add_piece(pieces, &n, r->nbd.data, data, r->data_len);
        skip = 0;
    }
    return n;
}

/* Forgets replies of which @n more bytes have been sent. */
static void sent(struct conn *conn, size_t n) {
    conn->out_sent += n;
    for (struct flight *r; (r = conn->out) && conn->out_sent >= r->header_len + r->data_len;) {
        conn->out_sent -= r->header_len + r->data_len;
        conn->out = r->next;
        conn->out_due_ms = 0;
        flight_free(r);
    }
    if (!conn->out)
        conn->out_last = &conn->out;
}

static void send_replies(struct conn *conn) {
    struct iovec pieces[SEND_PIECES];
    while (conn->out) {
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = gather(conn, pieces)};
        ssize_t n = sendmsg(conn->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN)
                conn_drop(conn, NULL);
            return;
        }
        sent(conn, (size_t)n);
    }
}

static bool has_output(const struct conn *conn) {
    return conn->handshake.out.len > 0 || conn->out;
}

static void reply(struct flight *request) {
    struct conn *conn = request->conn;
    const struct wire_command *command = &request->command;
    struct wire_reply what = {
        .cookie = command->cookie,
        .offset = command->offset,
        .errnum = request->errnum,
        .type = command->type,
        .hole = request->nbd.hole,
        .len = command->len,
        .n_extents = request->n_extents,
    };
    if (what.type == CMD_READ && what.hole && !what.errnum && !conn->session.structured)
        memset(request->nbd.data, 0, what.len);
    request->header_len =
        wire_reply_encode(&what, conn->session.structured, request->header, &request->data_len);
    request->next = NULL;
    *conn->out_last = request;
    conn->out_last = &request->next;
    server_dirty(conn->server, conn);
}

/* --- receiving */

/* What came together goes to the export together. */
static void submit_taken(struct conn *conn) {
    for (struct flight *request; (request = conn->taken);) {
        conn->taken = request->next;
        request->nbd.more = conn->taken != NULL;
        conn->export->submit(conn->export->ctx, &request->nbd);
    }
    conn->taken_last = &conn->taken;
}

static void start(struct flight *request) {
    struct conn *conn = request->conn;
    conn->in_due_ms = 0;
    if (request->errnum) {
        reply(request);
        return;
    }
    conn->n_writes += flight_writes(request);
    request->next = NULL;
    *conn->taken_last = request;
    conn->taken_last = &request->next;
}

static void consume(struct conn *conn, size_t n) {
    conn->at += n;
    conn->n_input -= n;
    if (conn->n_input == 0)
        conn->at = 0;
}

static uint8_t *rest_of_payload(const struct conn *conn) {
    const struct flight *request = conn->incoming;
    return request->nbd.data + (request->command.len - conn->missing);
}

static void got_payload(struct conn *conn, size_t n) {
    conn->missing -= (uint32_t)n;
    if (conn->missing == 0)
        start(steal_ptr(&conn->incoming));
}

/* From the input; one that is refused is left out. */
static void take_payload(struct conn *conn) {
    size_t n = conn->n_input < conn->missing ? conn->n_input : conn->missing;
    if (!conn->incoming->errnum)
        memcpy(rest_of_payload(conn), conn->input + conn->at, n);
    consume(conn, n);
    got_payload(conn, n);
}

/* Whether it may have one more request, with so much memory. */
static bool has_room(struct conn *conn, size_t bytes) {
    struct nbd_server *server = conn->server;
    if (conn->n_requests >= NBD_CONN_REQUESTS ||
        (conn->bytes > 0 && conn->bytes + bytes > NBD_CONN_BYTES))
        return false;
    if (bytes > 0 &&
        (server->starving || (server->bytes > 0 && server->bytes + bytes > NBD_BYTES))) {
        server->starving = true;
        return false;
    }
    return true;
}

static void take_command(struct conn *conn, const struct wire_command *command) {
    int errnum = wire_command_check(command, &conn->session);
    if (command->type == CMD_WRITE && command->len > NBD_PAYLOAD) {
        conn_drop(conn, "a write is too long");
        return;
    }
    if (!has_room(conn, errnum ? 0 : flight_pages(command))) {
        conn->blocked = true;
        server_block(conn->server, conn);
        return;
    }
    struct flight *request = flight_new(conn, command, errnum);
    if (!request) {
        conn_drop(conn, "out of memory");
        return;
    }
    consume(conn, WIRE_REQUEST_LEN);
    if (command->type != CMD_WRITE || command->len == 0) {
        start(request);
        return;
    }
    conn->incoming = request;
    conn->missing = command->len;
}

static void take_request(struct conn *conn) {
    struct wire_command command;
    if (!wire_command_decode(conn->input + conn->at, &command)) {
        conn_drop(conn, "this is not a request");
    } else if (command.type == CMD_DISC) {
        become_stale(conn);
        conn->state = CONN_ENDING;
    } else {
        take_command(conn, &command);
    }
}

static void serve_input(struct conn *conn) {
    conn->blocked = false;
    while (conn->state == CONN_SERVING && !conn->blocked && conn->n_input > 0) {
        if (conn->incoming)
            take_payload(conn);
        else if (conn->n_input >= WIRE_REQUEST_LEN)
            take_request(conn);
        else
            break;
    }
    submit_taken(conn);
}

/* One message, its answer, the next.  Each must have been taken before there is another. */
static void handshake_input(struct conn *conn) {
    struct handshake *handshake = &conn->handshake;
    size_t n = 1;
    while (n > 0 && conn->state == CONN_HANDSHAKE && send_handshake(conn)) {
        n = handshake_take(handshake, conn->input + conn->at, conn->n_input);
        consume(conn, n);
        if (handshake->state == HANDSHAKE_BROKEN) {
            conn_drop(conn, handshake->why);
        } else if (handshake->state == HANDSHAKE_CHOSEN) {
            conn->state = CONN_ENTERING;
            conn->export = handshake->export;
            exports_enter(conn->export);
            conn->server->settled = true;
        } else if (handshake->state == HANDSHAKE_END) {
            conn->state = CONN_ENDING;
        }
    }
}

/* Bytes of what comes that go where a WRITE's data is. */
static size_t missing_payload(const struct conn *conn) {
    return conn->incoming && !conn->incoming->errnum ? conn->missing : 0;
}

/* Where what comes is to go: the rest of a payload first. */
static size_t scatter(struct conn *conn, struct iovec *pieces) {
    size_t n = 0;
    if (missing_payload(conn) > 0)
        add_piece(pieces, &n, rest_of_payload(conn), 0, conn->missing);
    memmove(conn->input, conn->input + conn->at, conn->n_input);
    conn->at = 0;
    add_piece(pieces, &n, conn->input, conn->n_input, NBD_INPUT);
    return n;
}

/* Return: false: nothing more came. */
static bool receive(struct conn *conn) {
    struct iovec pieces[2];
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = scatter(conn, pieces)};
    ssize_t n = recvmsg(conn->fd, &message, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        conn_drop(conn, NULL);
        return false;
    }
    size_t payload = missing_payload(conn);
    payload = (size_t)n < payload ? (size_t)n : payload;
    conn->n_input += (size_t)n - payload;
    if (payload > 0)
        got_payload(conn, payload);
    return true;
}

static void take_input(struct conn *conn) {
    if (conn->state == CONN_HANDSHAKE)
        handshake_input(conn);
    else
        serve_input(conn);
}

/* --- what to wait for */

static bool wants_input(const struct conn *conn) {
    if (conn->state == CONN_HANDSHAKE)
        return conn->handshake.out.len == 0;
    return conn->state == CONN_SERVING && !conn->blocked;
}

static void settle_deadlines(struct conn *conn) {
    int64_t due = conn->server->now_ms + NBD_STALL_MS;
    int64_t in = conn->in_due_ms, out = conn->out_due_ms;
    bool part = conn->incoming || (conn->n_input > 0 && !conn->blocked);
    if (conn->state != CONN_HANDSHAKE)
        in = conn->state == CONN_SERVING && part ? (in ? in : due) : 0;
    out = has_output(conn) ? (out ? out : due) : 0;
    set_due(conn, in, out);
}

/* After everything that may have changed what it waits for. */
static void settle(struct conn *conn) {
    if (conn->state == CONN_ENDING && conn->n_requests == 0 && !has_output(conn))
        conn_drop(conn, NULL);
    if (conn->state == CONN_GONE)
        return;
    settle_deadlines(conn);
    uint32_t events = (wants_input(conn) ? EPOLLIN : 0) | (has_output(conn) ? EPOLLOUT : 0);
    if (events == conn->armed)
        return;
    struct epoll_event event = {.events = events, .data.ptr = conn};
    if (epoll_ctl(conn->server->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event) < 0)
        conn_drop(conn, "epoll");
    conn->armed = events;
}

void conn_push(struct conn *conn) {
    if (conn->state != CONN_GONE && send_handshake(conn))
        send_replies(conn);
    settle(conn);
}

void conn_event(struct conn *conn, uint32_t events) {
    if (conn->state == CONN_GONE)
        return;
    if (events & EPOLLOUT && send_handshake(conn))
        send_replies(conn);
    if (conn->state == CONN_HANDSHAKE && events & EPOLLOUT)
        take_input(conn);
    if (events & EPOLLIN && wants_input(conn)) {
        if (receive(conn))
            take_input(conn);
    } else if (events & (EPOLLHUP | EPOLLERR) && !(events & EPOLLIN)) {
        conn_drop(conn, NULL);
    }
    settle(conn);
}

void conn_resume(struct conn *conn) {
    take_input(conn);
    settle(conn);
}

void conn_enter(struct conn *conn) {
    conn->state = CONN_SERVING;
    if (handshake_accept(&conn->handshake, &conn->session) < 0) {
        conn_drop(conn, "out of memory");
        return;
    }
    serve_input(conn);
    conn_push(conn);
}

void conn_finish(struct flight *request) {
    struct conn *conn = request->conn;
    bool writing = flight_writes(request);
    conn->n_writes -= writing;
    if (conn->stale && writing && --conn->export->n_stale == 0)
        conn->server->settled = true;
    if (request->nbd.type == NBD_STATUS && !request->errnum && request->n_extents == 0)
        nbd_status_add(&request->nbd, request->nbd.len, false, false);
    if (conn->state == CONN_GONE) {
        flight_free(request);
        conn->server->leaving = true;
    } else {
        reply(request);
    }
}

static bool is_over(int64_t due_ms, int64_t now_ms) {
    return due_ms && due_ms <= now_ms;
}

/* A client may take its time as long as nobody waits for the memory it holds: it may be a backup
 * whose other end is stuck. */
void conn_tick(struct conn *conn) {
    int64_t now = conn->server->now_ms;
    bool slow = is_over(conn->in_due_ms, now) || is_over(conn->out_due_ms, now);
    if (slow && (conn->state == CONN_HANDSHAKE || conn->server->starving))
        conn_drop(conn, "the client is too slow");
}

bool conn_hung_up(struct conn *conn) {
    struct pollfd fd = {.fd = conn->fd, .events = POLLRDHUP};
    return poll(&fd, 1, 0) > 0 && fd.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

/* --- beginning */

struct conn *conn_new(struct nbd_server *server, int fd) {
    struct conn *conn = calloc(1, sizeof(*conn));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    if (!conn || !(conn->input = malloc(NBD_INPUT)) ||
        handshake_init(&conn->handshake, &server->exports) < 0 ||
        epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        close(fd);
        return conn_free(conn);
    }
    conn->server = server;
    conn->fd = fd;
    conn->armed = event.events;
    conn->out_last = &conn->out;
    conn->taken_last = &conn->taken;
    conn->in_due_ms = server->now_ms + NBD_HANDSHAKE_MS;
    conn_push(conn);
    return conn;
}

struct conn *conn_free(struct conn *conn) {
    if (!conn)
        return NULL;
    handshake_clear(&conn->handshake);
    free(conn->input);
    free(conn);
    return NULL;
}
