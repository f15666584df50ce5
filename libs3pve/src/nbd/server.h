/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * server.h - what the connections share: one thread, its memory, and who has to wait
 *
 *     step:  wait -> events: read, submit; write -> what is done: reply -> who waited goes on
 *
 * Two things a connection may wait for: memory, when it or all have too much in flight; and its
 * entry, while older connections of the same export, now gone, still have something that writes.
 */
#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include <pthread.h>

#include "nbd/exports.h"
#include "nbd/pages.h"

struct conn;
struct flight;

struct nbd_server {
    struct nbd_options options;
    struct exports exports;
    int epoll_fd, wake_fd;
    pthread_t thread;

    /* Of its thread alone. */
    struct conn *conns; /* all that are not free()d */
    unsigned n_conns;
    unsigned n_timed;                     /* of them with a deadline */
    struct conn *dirty;                   /* with new replies */
    struct conn *blocked, **blocked_last; /* waiting for memory, in that order */
    unsigned n_blocked;
    int64_t now_ms, ticked_ms;
    bool deaf;     /* no descriptors: does not accept for a moment */
    bool settled;  /* somebody wants to enter, or may now */
    bool released; /* there is memory again */
    bool starving; /* somebody waits for the memory of all: no one overtakes */
    bool leaving;  /* there may be connections to free */
    size_t bytes;  /* in flight, of all */
    struct pages pages;

    pthread_mutex_t lock;             /* guards what follows */
    struct flight *done, **done_last; /* with their answers */
    bool asleep;                      /* wants to be woken when there is something */
    bool poked;                       /* there is something: exports are marked, or the end */
    bool ending;
};

/* For tests, which take the thread's place.  @server is zeroed. */
int server_init(struct nbd_server *server, const struct nbd_options *options);
void server_clear(struct nbd_server *server);
int server_step(struct nbd_server *server, bool wait);        /* 0: it is ending and all is gone */
bool server_has_work(const struct nbd_server *server);        /* never between two steps */
struct conn *server_adopt(struct nbd_server *server, int fd); /* NULL: closed, there is no room */

void server_log(struct nbd_server *server, const struct nbd_export *export, const char *text);
void server_dirty(struct nbd_server *server, struct conn *conn);
void server_block(struct nbd_server *server, struct conn *conn);
void server_unblock(struct nbd_server *server, struct conn *conn); /* if it is */
void server_wake(struct nbd_server *server);

#endif
