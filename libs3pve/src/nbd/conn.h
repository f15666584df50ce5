/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * conn.h - one connection
 *
 *                                      +-- memory --+
 *                                      v            |
 *     HANDSHAKE --chosen--> ENTERING --enter--> SERVING --DISC--> ENDING --all sent--> GONE
 *         |                     |                   |                |
 *         +-----broken----------+------- hung up, too slow, dropped -+---------------> GONE
 *
 * ENTERING waits for older connections' writes (see server.h); SERVING does not read while it has
 * to wait for memory.  GONE is closed, and freed when the last of its requests is done.
 *
 * Everything here is done by the server's thread.
 */
#ifndef NBD_CONN_H
#define NBD_CONN_H

#include "nbd/flight.h"
#include "nbd/handshake.h"
#include "nbd/server.h"

enum conn_state { CONN_HANDSHAKE, CONN_ENTERING, CONN_SERVING, CONN_ENDING, CONN_GONE };

struct conn {
    struct nbd_server *server; /* borrowed */
    struct conn *next, *prev;
    int fd; /* owned */
    enum conn_state state;
    uint32_t armed; /* what epoll waits for */
    struct handshake handshake;
    struct nbd_export *export; /* the handshake's, once it has been chosen */
    struct wire_session session;

    uint8_t *input; /* owned, NBD_INPUT bytes; .n_input of them from .at are not taken yet */
    size_t at, n_input;
    struct flight *incoming; /* a WRITE, whose last .missing bytes are to come */
    uint32_t missing;
    bool blocked;                       /* for want of memory */
    struct flight *taken, **taken_last; /* of the input at hand, not yet with the export */

    unsigned n_requests; /* not yet sent, or with the export */
    unsigned n_writes;   /* of them, with the export, that change it */
    size_t bytes;        /* their pages */
    bool stale;          /* .n_writes are counted by the export as such */

    struct flight *out, **out_last; /* replies, in their order */
    size_t out_sent;                /* bytes of the first, or of what the handshake says */

    int64_t in_due_ms, out_due_ms; /* 0: nothing is due */
    bool timed;                    /* one of them is not 0 */
    bool dirty;                    /* among the server's */
    struct conn *next_dirty, *next_blocked;
};

struct conn *conn_new(struct nbd_server *server, int fd); /* owns it; NULL: no memory */
struct conn *conn_free(struct conn *conn);

void conn_event(struct conn *conn, uint32_t events); /* of epoll */
void conn_finish(struct flight *request);            /* has its answer; conn_push() later */
void conn_push(struct conn *conn);                   /* send what can be sent */
void conn_resume(struct conn *conn);                 /* there may be memory again */
void conn_enter(struct conn *conn);                  /* nothing stands in its way any more */
void conn_tick(struct conn *conn);                   /* is something overdue? */
bool conn_hung_up(struct conn *conn);                /* its client has closed it */

/* Close it, now.  @why: NULL, or what is to be logged. */
void conn_drop(struct conn *conn, const char *why);

#endif
