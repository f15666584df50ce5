/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/fail.h"
#include "daemon/listen.h"

#define SOCKET_NAME "control.sock"

struct control {
    struct daemon *daemon; /* borrowed */
    int listen_fd;
    int stop_fd; /* an eventfd that stays readable once we stop */
    pthread_t acceptor;
    bool accepting;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t fewer;
    unsigned n_clients;
};

struct client {
    struct control *control; /* borrowed */
    int fd;                  /* owned */
    size_t len;              /* bytes in .line */
    char line[CONTROL_LINE + 1];
};

/* Waits until @fd is ready for @events; false at the deadline or when we stop. */
static bool wait_for(struct control *control, int fd, short events, int64_t until_ms) {
    struct pollfd fds[] = {
        {.fd = fd, .events = events}, {.fd = control->stop_fd, .events = POLLIN}};
    int64_t left = until_ms - clock_monotonic_ms();
    int n = poll(fds, 2, left > 0 ? (int)left : 0);
    return n > 0 && fds[0].revents && !fds[1].revents;
}

/* All of @text, also when we stop meanwhile: it may be the answer to "stop". */
static bool send_all(int fd, const char *text, size_t len) {
    int64_t until = clock_monotonic_ms() + CONTROL_IDLE_MS;
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        text += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
        int64_t left = until - clock_monotonic_ms();
        if (left <= 0)
            return false;
        struct pollfd out = {.fd = fd, .events = POLLOUT};
        if (len > 0)
            poll(&out, 1, (int)left);
    }
    return true;
}

static bool refuse(int fd, const char *code, const char *why) {
    char text[256];
    int len = snprintf(
        text, sizeof(text), "{\"ok\": false, \"code\": \"%s\", \"error\": \"%s\"}\n", code, why
    );
    send_all(fd, text, (size_t)len);
    return false;
}

/* Reads until there is a whole line; Return: its length with the newline, 0 at the end, or -1. */
static ssize_t read_line(struct client *client) {
    int64_t until = clock_monotonic_ms() + CONTROL_IDLE_MS;
    for (;;) {
        char *end = memchr(client->line, '\n', client->len);
        if (end)
            return end + 1 - client->line;
        if (client->len == CONTROL_LINE)
            return refuse(client->fd, "INVALID", "line too long") ? 0 : -1;
        if (!wait_for(client->control, client->fd, POLLIN, until))
            return -1;
        size_t room = CONTROL_LINE - client->len;
        ssize_t n = recv(client->fd, client->line + client->len, room, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return n;
        client->len += n > 0 ? (size_t)n : 0;
    }
}

/* One request and its answer; false when there are no more. */
static bool serve_line(struct client *client) {
    ssize_t len = read_line(client);
    if (len <= 0)
        return false;
    _free_ char *answer = control_answer(client->control->daemon, client->line, (size_t)len - 1);
    if (!answer)
        return refuse(client->fd, "NOMEM", "out of memory");
    client->len -= (size_t)len;
    memmove(client->line, client->line + len, client->len);
    return send_all(client->fd, answer, strlen(answer)) && send_all(client->fd, "\n", 1);
}

static void *serve(void *arg) {
    struct client *client = arg;
    struct control *control = client->control;
    while (serve_line(client)) {
    }
    close(client->fd);
    free(client);

    LOCK_SCOPE(&control->lock);
    control->n_clients--;
    pthread_cond_signal(&control->fewer);
    return NULL;
}

static bool is_root(int fd) {
    struct ucred peer;
    socklen_t len = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

static bool take_place(struct control *control) {
    LOCK_SCOPE(&control->lock);
    if (control->n_clients >= CONTROL_CLIENTS)
        return false;
    control->n_clients++;
    return true;
}

static void give_place(struct control *control) {
    LOCK_SCOPE(&control->lock);
    control->n_clients--;
}

/* Hands a connection to a thread of its own; false when that cannot be. */
static bool start_client(struct control *control, int fd) {
    pthread_t thread;
    _free_ struct client *client = calloc(1, sizeof(*client));
    if (!client)
        return false;
    client->control = control;
    client->fd = fd;
    if (pthread_create(&thread, NULL, serve, client) != 0)
        return false;
    pthread_detach(thread);
    (void)steal_ptr(&client);
    return true;
}

static void greet(struct control *control, int fd) {
    if (!is_root(fd)) {
        refuse(fd, "DENIED", "only root may ask");
    } else if (!take_place(control)) {
        refuse(fd, "THROTTLED", "too many clients");
    } else {
        if (start_client(control, fd))
            return;
        give_place(control);
        refuse(fd, "NOMEM", "out of memory");
    }
    close(fd);
}

static void *accept_all(void *arg) {
    struct control *control = arg;
    for (;;) {
        struct pollfd fds[] = {
            {.fd = control->listen_fd, .events = POLLIN},
            {.fd = control->stop_fd, .events = POLLIN},
        };
        poll(fds, 2, -1);
        if (fds[1].revents)
            return NULL;
        int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            greet(control, fd);
        else if (errno == EMFILE || errno == ENFILE)
            poll(NULL, 0, 100); /* until some close */
    }
}

int control_open(struct daemon *daemon, struct control **ret_control, struct s3pve_error *err) {
    struct control *control = calloc(1, sizeof(*control));
    if (!control)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    control->daemon = daemon;
    control->stop_fd = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&control->lock, NULL);
    pthread_cond_init(&control->fewer, NULL);
    control->listen_fd = listen_open(daemon->options.run_dir, SOCKET_NAME, CONTROL_CLIENTS, err);
    int r = control->listen_fd < 0 ? -1 : 0;
    if (r == 0 && control->stop_fd < 0)
        r = fail_errno(err, "eventfd");
    else if (r == 0 && pthread_create(&control->acceptor, NULL, accept_all, control) != 0)
        r = fail(err, S3PVE_E_NOMEM, "no more threads");
    control->accepting = r == 0;
    if (r == 0)
        *ret_control = control;
    else
        control_close(control);
    return r;
}

static void wait_for_clients(struct control *control) {
    LOCK_SCOPE(&control->lock);
    while (control->n_clients > 0)
        pthread_cond_wait(&control->fewer, &control->lock);
}

struct control *control_close(struct control *control) {
    if (!control)
        return NULL;
    if (control->stop_fd >= 0)
        eventfd_write(control->stop_fd, 1);
    if (control->accepting)
        pthread_join(control->acceptor, NULL);
    wait_for_clients(control);
    if (control->listen_fd >= 0) {
        listen_unlink(control->daemon->options.run_dir, SOCKET_NAME);
        close(control->listen_fd);
    }
    if (control->stop_fd >= 0)
        close(control->stop_fd);
    pthread_cond_destroy(&control->fewer);
    pthread_mutex_destroy(&control->lock);
    free(control);
    return NULL;
}
