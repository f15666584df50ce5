/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "nbd/server.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "nbd/conn.h"

#define EVENTS 64    /* looked at in one step */
#define ACCEPTS 16   /* in one step */
#define TICK_MS 1000 /* between two looks at deadlines */
#define DEAF_MS 100  /* without descriptors */

void server_log(struct nbd_server *server, const struct nbd_export *export, const char *text) {
    if (server->options.log)
        server->options.log(server->options.ctx, export ? export->name : NULL, text);
}

/* --- sleeping, and being woken */

static void wake_locked(struct nbd_server *server) {
    if (server->asleep)
        eventfd_write(server->wake_fd, 1);
    server->asleep = false;
}

void server_wake(struct nbd_server *server) {
    LOCK_SCOPE(&server->lock);
    server->poked = true;
    wake_locked(server);
}

/* The server may be gone as soon as its thread has seen this: nothing of it is touched later. */
void nbd_request_done(struct nbd_request *request, int errnum) {
    struct flight *flight = (struct flight *)request;
    struct nbd_server *server = flight->conn->server;
    LOCK_SCOPE(&server->lock);
    flight->errnum = errnum;
    flight->next = NULL;
    *server->done_last = flight;
    server->done_last = &flight->next;
    wake_locked(server);
}

/* Return: how long to wait for events; not at all when there is something to do. */
static int fall_asleep(struct nbd_server *server) {
    int ms = server->deaf ? DEAF_MS : server->n_timed > 0 ? TICK_MS : -1;
    LOCK_SCOPE(&server->lock);
    server->asleep = !server->done && !server->poked;
    return server->asleep ? ms : 0;
}

/* Return: whether somebody wants something. */
static bool wake_up(struct nbd_server *server) {
    LOCK_SCOPE(&server->lock);
    bool poked = server->poked;
    server->asleep = server->poked = false;
    return poked;
}

static struct flight *take_done(struct nbd_server *server) {
    LOCK_SCOPE(&server->lock);
    server->done_last = &server->done;
    return steal_ptr(&server->done);
}

static bool is_ending(struct nbd_server *server) {
    LOCK_SCOPE(&server->lock);
    return server->ending;
}

/* --- connections */

void server_dirty(struct nbd_server *server, struct conn *conn) {
    if (conn->dirty)
        return;
    conn->dirty = true;
    conn->next_dirty = server->dirty;
    server->dirty = conn;
}

static void push_dirty(struct nbd_server *server) {
    for (struct conn *conn; (conn = server->dirty);) {
        server->dirty = conn->next_dirty;
        conn->dirty = false;
        conn_push(conn);
    }
}

void server_block(struct nbd_server *server, struct conn *conn) {
    conn->next_blocked = NULL;
    *server->blocked_last = conn;
    server->blocked_last = &conn->next_blocked;
    server->n_blocked++;
}

void server_unblock(struct nbd_server *server, struct conn *conn) {
    struct conn **p = &server->blocked;
    while (*p && *p != conn)
        p = &(*p)->next_blocked;
    if (!*p)
        return;
    *p = conn->next_blocked;
    server->n_blocked--;
    if (!*p)
        server->blocked_last = p;
}

/* Those that still have to wait queue again, in the same order. */
static void resume_blocked(struct nbd_server *server) {
    if (!server->released)
        return;
    server->released = server->starving = false;
    for (unsigned n = server->n_blocked; n > 0; n--) {
        struct conn *conn = server->blocked;
        server_unblock(server, conn);
        conn_resume(conn);
    }
}

/* Its client may have hung up before the new one came, and we have not read so far. */
static void drop_twins(struct nbd_server *server, const struct conn *conn) {
    for (struct conn *c = server->conns; c; c = c->next) {
        if (c != conn && c->export == conn->export && c->state == CONN_SERVING && conn_hung_up(c))
            conn_drop(c, NULL);
    }
}

static void let_enter(struct nbd_server *server) {
    if (!server->settled)
        return;
    server->settled = false;
    for (struct conn *c = server->conns; c; c = c->next) {
        if (c->state != CONN_ENTERING)
            continue;
        drop_twins(server, c);
        if (c->export->n_stale == 0)
            conn_enter(c);
    }
}

static void tick(struct nbd_server *server) {
    if (server->n_timed == 0 || server->now_ms < server->ticked_ms + TICK_MS)
        return;
    server->ticked_ms = server->now_ms;
    for (struct conn *c = server->conns; c; c = c->next)
        conn_tick(c);
}

static void unlink_conn(struct nbd_server *server, struct conn *conn) {
    *(conn->prev ? &conn->prev->next : &server->conns) = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    server->n_conns--;
}

static void free_gone(struct nbd_server *server) {
    if (!server->leaving)
        return;
    server->leaving = false;
    for (struct conn *c = server->conns, *next; c; c = next) {
        next = c->next;
        if (c->state != CONN_GONE || c->n_requests > 0)
            continue;
        unlink_conn(server, c);
        conn_free(c);
    }
    if (server->n_conns == 0)
        pages_clear(&server->pages);
}

struct conn *server_adopt(struct nbd_server *server, int fd) {
    if (server->n_conns >= NBD_CONNECTIONS) {
        server_log(server, NULL, "too many connections");
        close(fd);
        return NULL;
    }
    struct conn *conn = conn_new(server, fd);
    if (!conn)
        return NULL;
    conn->next = server->conns;
    if (conn->next)
        conn->next->prev = conn;
    server->conns = conn;
    server->n_conns++;
    return conn;
}

/* --- accepting */

static void listen_for(struct nbd_server *server, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = server};
    epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, server->options.listen_fd, &event);
    server->deaf = events == 0;
}

static void accept_some(struct nbd_server *server) {
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(server->options.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            server_adopt(server, fd);
        } else {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                listen_for(server, 0); /* until some descriptors are free */
            return;
        }
    }
}

/* --- one step */

static void on_event(struct nbd_server *server, const struct epoll_event *event) {
    eventfd_t ignored;
    if (event->data.ptr == server)
        accept_some(server);
    else if (event->data.ptr == &server->wake_fd)
        eventfd_read(server->wake_fd, &ignored);
    else
        conn_event(event->data.ptr, event->events);
}

/* What other threads have asked for. */
static void serve_exports(struct nbd_server *server) {
    bool ending = is_ending(server);
    bool asked = exports_take_asked(&server->exports);
    for (struct conn *c = server->conns; c && (asked || ending); c = c->next) {
        if (ending || (c->export && c->export->dropping))
            conn_drop(c, NULL);
    }
    if (asked)
        exports_dropped(&server->exports);
}

/* What nobody would wake it for. */
bool server_has_work(const struct nbd_server *server) {
    return server->dirty || server->settled || (server->released && server->n_blocked > 0);
}

int server_step(struct nbd_server *server, bool wait) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(server->epoll_fd, events, EVENTS, wait ? fall_asleep(server) : 0);
    bool poked = wake_up(server);
    server->now_ms = clock_monotonic_ms();
    if (server->deaf)
        listen_for(server, EPOLLIN);
    for (int i = 0; i < n; i++)
        on_event(server, &events[i]);
    for (struct flight *r = take_done(server), *next; r; r = next) {
        next = r->next;
        conn_finish(r);
    }
    if (poked)
        serve_exports(server);
    tick(server);
    while (server_has_work(server)) {
        push_dirty(server);
        let_enter(server);
        resume_blocked(server);
    }
    free_gone(server);
    return server->n_conns > 0 || !is_ending(server);
}

static void *run(void *arg) {
    struct nbd_server *server = arg;
    while (server_step(server, true)) {
    }
    return NULL;
}

/* --- from other threads */

int server_init(struct nbd_server *server, const struct nbd_options *options) {
    server->options = *options;
    server->now_ms = clock_monotonic_ms();
    server->blocked_last = &server->blocked;
    server->done_last = &server->done;
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    pthread_mutex_init(&server->lock, NULL);
    exports_init(&server->exports);

    struct epoll_event wake = {.events = EPOLLIN, .data.ptr = &server->wake_fd};
    struct epoll_event come = {.events = EPOLLIN, .data.ptr = server};
    if (server->wake_fd < 0 || server->epoll_fd < 0 ||
        epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->wake_fd, &wake) < 0 ||
        epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, options->listen_fd, &come) < 0)
        return -errno;
    return 0;
}

void server_clear(struct nbd_server *server) {
    assert(server->n_conns == 0 && server->exports.n == 0);
    pages_clear(&server->pages);
    exports_clear(&server->exports);
    pthread_mutex_destroy(&server->lock);
    if (server->epoll_fd >= 0)
        close(server->epoll_fd);
    if (server->wake_fd >= 0)
        close(server->wake_fd);
    close(server->options.listen_fd);
}

int nbd_open(const struct nbd_options *options, struct nbd_server **ret_server) {
    struct nbd_server *server = calloc(1, sizeof(*server));
    if (!server) {
        close(options->listen_fd);
        return -ENOMEM;
    }
    int r = server_init(server, options);
    if (r == 0)
        r = -pthread_create(&server->thread, NULL, run, server);
    if (r == 0) {
        *ret_server = server;
        return 0;
    }
    server_clear(server);
    free(server);
    return r;
}

static void end(struct nbd_server *server) {
    LOCK_SCOPE(&server->lock);
    server->ending = server->poked = true;
    wake_locked(server);
}

struct nbd_server *nbd_close(struct nbd_server *server) {
    if (!server)
        return NULL;
    end(server);
    pthread_join(server->thread, NULL);
    server_clear(server);
    free(server);
    return NULL;
}

int nbd_export_add(
    struct nbd_server *server,
    const struct nbd_export_params *params,
    struct nbd_export **ret_export
) {
    int r = exports_add(&server->exports, params, ret_export);
    if (r == 0)
        (*ret_export)->server = server;
    return r;
}

/* Waits until its connections have been dropped. */
static void drop(struct nbd_export *export, uint64_t size, bool stop) {
    exports_ask(export, size, stop);
    server_wake(export->server);
    exports_wait(export);
}

void nbd_export_resize(struct nbd_export *export, uint64_t size) {
    drop(export, size, false);
}

void nbd_export_stop(struct nbd_export *export) {
    drop(export, 0, true);
}

int nbd_export_settle(struct nbd_export *export, unsigned timeout_ms) {
    return exports_settle(export, timeout_ms);
}

void nbd_export_resume(struct nbd_export *export) {
    exports_resume(export);
}

struct nbd_export *nbd_export_free(struct nbd_export *export) {
    if (!export)
        return NULL;
    nbd_export_stop(export);
    exports_remove(export);
    return NULL;
}

unsigned nbd_export_users(struct nbd_export *export) {
    return exports_users(export);
}
