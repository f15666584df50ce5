/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The wire, as a server sees it that knows no more of HTTP than a test needs. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "core/config.h"
#include "core/http.h"
#include "tap.h"

#define LARGE MIB(4)

struct manners {
    size_t reply_len;
    unsigned leave_after; /* requests of a connection, the last of them unanswered; 0: never */
    bool stall;           /* after the first byte of an answer */
    unsigned mute_after;  /* like leave_after, but the connection stays; 0: never */
    unsigned read_ms;     /* a pause before each 64 KiB of a body */
    unsigned delay_ms;    /* before an answer */
    size_t drip;          /* bytes of its body in a tenth of a second; 0: as fast as can be */
};

struct seen {
    char head[4096]; /* of the last request */
    size_t n_body;   /* bytes, of the same */
    unsigned n_requests, n_connections;
};

static struct {
    int listener;
    unsigned port;
    pthread_mutex_t lock; /* guards what follows */
    struct manners manners;
    struct seen seen;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER};

static char *bytes; /* LARGE zeroes */

static struct seen seen(void) {
    LOCK_SCOPE(&server.lock);

    return server.seen;
}

static void note(const struct seen *request) {
    LOCK_SCOPE(&server.lock);

    server.seen.n_connections += request->n_connections;
    if (request->n_connections)
        return;
    memcpy(server.seen.head, request->head, sizeof(request->head));
    server.seen.n_body = request->n_body;
    server.seen.n_requests++;
}

static struct manners manners(void) {
    LOCK_SCOPE(&server.lock);

    return server.manners;
}

/* A request with its body, which goes nowhere.  False: there is none. */
static bool take_request(int fd, unsigned read_ms) {
    struct seen request = {0};
    const char *length;
    size_t len = 0, body_len;

    while (len < sizeof(request.head) - 1 && read(fd, request.head + len, 1) == 1) {
        len++;
        if (len >= 4 && strcmp(request.head + len - 4, "\r\n\r\n") == 0)
            break;
    }
    if (len < 4)
        return false;
    length = strcasestr(request.head, "\r\ncontent-length:");
    body_len = length ? strtoul(length + 17, NULL, 10) : 0;
    while (request.n_body < body_len) {
        char piece[65536];
        ssize_t n;

        usleep(read_ms * 1000);
        n = read(fd, piece, sizeof(piece));
        if (n <= 0)
            return false;
        request.n_body += (size_t)n;
    }
    note(&request);
    return true;
}

static void answer(int fd, const struct manners *how) {
    size_t len = how->stall ? 1 : how->reply_len;

    usleep(how->delay_ms * 1000);
    dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", how->reply_len);
    for (size_t at = 0; at < len;) {
        size_t most = how->drip && how->drip < len - at ? how->drip : len - at;
        ssize_t n = send(fd, bytes + at, most, MSG_NOSIGNAL);

        if (n <= 0)
            return;
        usleep(how->drip ? 100000 : 0);
        at += (size_t)n;
    }
}

static void *serve(void *ctx) {
    for (int fd; (fd = accept(server.listener, NULL, NULL)) >= 0; close(fd)) {
        struct manners how = manners();

        note(&(struct seen){.n_connections = 1});
        for (unsigned n = 1; take_request(fd, how.read_ms); n++) {
            how = manners();
            if (n == how.leave_after)
                break;
            if (n != how.mute_after)
                answer(fd, &how);
        }
    }
    return NULL;
}

static pthread_t start_server(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int little = 32768; /* so that it is the sender's kernel that has a slow reader's bytes */
    pthread_t thread;

    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(server.listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little));
    if (bind(server.listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        listen(server.listener, 8) < 0 ||
        getsockname(server.listener, (struct sockaddr *)&at, &len) < 0 ||
        pthread_create(&thread, NULL, serve, NULL) != 0)
        bail_out("no server");
    server.port = ntohs(at.sin_port);
    return thread;
}

static struct transport open_wire(struct config config, struct manners how) {
    struct transport wire;
    LOCK_SCOPE(&server.lock);

    config.connections = config.connections ? config.connections : 4;
    if (http_transport(&config, &wire, NULL) < 0)
        bail_out("no transport");
    server.manners = how;
    server.seen = (struct seen){0};
    return wire;
}

static int take_data(struct transfer *t, const void *data, size_t len) {
    return 0;
}

static int take_header(struct transfer *t, const char *name, const char *value) {
    return 0;
}

/* One exchange; how long it took is returned. */
static int64_t run(
    struct transport *wire, const char *method, const char *path, size_t len, struct transfer *t
) {
    static const char *const headers[] = {"x-test: 1", NULL};
    struct iovec body = {bytes, len};
    int64_t since = clock_monotonic_ms();
    char url[256];

    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", server.port, path);
    t->method = method;
    t->url = url;
    t->headers = headers;
    t->body = &body;
    t->n_body = 1;
    t->body_len = len;
    t->low_speed_s = t->low_speed_s ? t->low_speed_s : 20;
    t->on_data = take_data;
    t->on_header = take_header;
    if (wire->start(wire->ctx, t) < 0)
        bail_out("start");
    while (wire->poll(wire->ctx, 1000) != t)
        ;
    return clock_monotonic_ms() - since;
}

static void a_request_is_sent_as_it_is(void) {
    struct transport wire = open_wire((struct config){0}, (struct manners){0});
    struct transfer t = {0};
    struct seen got;

    setenv("http_proxy", "http://127.0.0.1:9", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:9", 1);
    run(&wire, "PUT", "/bucket/a/../b/./c?x=%2F", LARGE, &t);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    is_int(t.failure, HTTP_FINE, "a proxy in the environment is nothing to us");
    is_int(t.status, 200, "... the server itself answers");
    got = seen();
    got.head[strcspn(got.head, "\r")] = '\0';
    is_str(got.head, "PUT /bucket/a/../b/./c?x=%2F HTTP/1.1", "dots in a key are sent as they are");
    ok(!strcasestr(seen().head, "\r\nexpect:"), "no permission is asked before a large body");
    is_int((long long)got.n_body, LARGE, "... which arrives");
    wire.free(wire.ctx, false);
}

static void limits_hold_on_the_wire(void) {
    struct config limited = {.upload_limit = MIB(2), .download_limit = MIB(2)};
    struct transport wire = open_wire(limited, (struct manners){0});
    struct transfer up = {0}, down = {0};
    int64_t took = run(&wire, "PUT", "/a", LARGE, &up);

    ok(took > 1500 && took < 6000, "4 MiB up at 2 MiB/s took %lld ms", (long long)took);
    wire.free(wire.ctx, false);
    wire = open_wire(limited, (struct manners){.reply_len = LARGE});
    took = run(&wire, "GET", "/a", 0, &down);
    ok(took > 1500 && took < 6000, "... and as many down %lld ms", (long long)took);
    is_int((long long)down.received, LARGE, "... all of them");
    wire.free(wire.ctx, false);
}

static void a_peer_that_stalls_is_left(void) {
    struct transport wire =
        open_wire((struct config){0}, (struct manners){.reply_len = 100, .stall = true});
    struct transfer t = {.low_speed_s = 2};
    int64_t took;

    took = run(&wire, "GET", "/a", 0, &t);
    is_int(t.failure, HTTP_TIMEOUT, "an answer that stops is a timeout");
    ok(took >= 1500 && took < 8000, "... long before the request's own: %lld ms", (long long)took);
    wire.free(wire.ctx, false);
}

/* The kernel takes most of the body at once, and libcurl sees nothing move for seconds. */
static void a_slow_reader_is_not_left(void) {
    struct transport wire = open_wire((struct config){0}, (struct manners){.read_ms = 150});
    struct transfer t = {.low_speed_s = 2};
    int64_t took = run(&wire, "PUT", "/a", LARGE, &t);

    is_int(t.failure, HTTP_FINE, "a body over a slow line arrives: %s", t.detail);
    ok(took > 5000, "... after %lld ms", (long long)took);
    wire.free(wire.ctx, false);
}

static void a_slow_answer_is_not_left(void) {
    struct manners slow = {.delay_ms = 1500, .reply_len = 4500, .drip = 150};
    struct transport wire = open_wire((struct config){0}, slow);
    struct transfer t = {.low_speed_s = 3};

    run(&wire, "GET", "/a", 0, &t);
    is_int(t.failure, HTTP_FINE, "an answer that begins late and comes at 1.5 KB/s: %s", t.detail);
    wire.free(wire.ctx, false);
    wire = open_wire((struct config){0}, (struct manners){.reply_len = 6000, .drip = 50});
    t = (struct transfer){.low_speed_s = 2};
    run(&wire, "GET", "/a", 0, &t);
    is_int(t.failure, HTTP_TIMEOUT, "one that comes at 500 bytes a second is left");
    wire.free(wire.ctx, false);
}

static void a_kept_connection_that_hangs_is_left(void) {
    struct transport wire = open_wire((struct config){0}, (struct manners){.mute_after = 2});
    struct transfer t[3] = {{.stale_ms = 500}, {.stale_ms = 500}, {.stale_ms = 500, .fresh = true}};
    int64_t took;

    run(&wire, "GET", "/a", 0, &t[0]);
    is_int(t[0].failure, HTTP_FINE, "a first request over a connection is answered");
    took = run(&wire, "GET", "/a", 0, &t[1]);
    is_int(t[1].failure, HTTP_SILENT, "the second is not: %s", t[1].detail);
    ok(took >= 500 && took < 3000, "... which is told after the time set: %lld ms", (long long)took
    );
    run(&wire, "GET", "/a", 0, &t[2]);
    is_int(t[2].failure, HTTP_FINE, "over a new one it is");
    is_int(seen().n_connections, 2, "... which was asked for");
    wire.free(wire.ctx, false);

    wire = open_wire((struct config){0}, (struct manners){.mute_after = 1});
    t[0] = (struct transfer){.stale_ms = 500, .low_speed_s = 2};
    run(&wire, "GET", "/a", 0, &t[0]);
    is_int(t[0].failure, HTTP_TIMEOUT, "a new one that hangs is no stale one");
    wire.free(wire.ctx, false);
}

static void a_connection_that_is_left_is_replaced(void) {
    struct transport wire = open_wire((struct config){0}, (struct manners){.leave_after = 3});
    struct transfer t[3] = {0};

    for (int i = 0; i < 2; i++)
        run(&wire, "GET", "/a", 0, &t[i]);
    is_int(seen().n_connections, 1, "a connection is kept");
    ok(!t[0].reused && t[1].reused, "... and told from a new one");
    run(&wire, "GET", "/a", 0, &t[2]);
    ok(t[2].failure == HTTP_FINE || t[2].failure == HTTP_STALE,
       "one that the server leaves is no broken answer");
    wire.free(wire.ctx, false);
}

static void what_may_be_sent_once_is_sent_once(void) {
    struct transport wire = open_wire((struct config){0}, (struct manners){.leave_after = 2});
    struct transfer before = {0}, t = {.once = true};

    run(&wire, "PUT", "/a", 100, &before);
    run(&wire, "PUT", "/a", 100, &t);
    ok(t.failure != HTTP_FINE, "a write that nobody answered failed");
    is_int(seen().n_requests, 2, "... and was sent once, although the connection was an old one");
    wire.free(wire.ctx, false);
}

int main(void) {
    pthread_t thread;

    bytes = calloc(1, LARGE);
    thread = start_server();
    a_request_is_sent_as_it_is();
    limits_hold_on_the_wire();
    a_peer_that_stalls_is_left();
    a_slow_reader_is_not_left();
    a_slow_answer_is_not_left();
    a_kept_connection_that_hangs_is_left();
    a_connection_that_is_left_is_replaced();
    what_may_be_sent_once_is_sent_once();
    shutdown(server.listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(server.listener);
    free(bytes);
    return done_testing();
}
