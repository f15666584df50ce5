/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * exports.h - the table of what can be connected to
 *
 *     exports_add() --> found by name --exports_ask()--> not found --exports_remove()--> gone
 *                         | exports_hold() ^--exports_resume()--'      ^ when nobody holds it
 *
 * Any thread adds, stops and removes; the server's finds and holds.  What the others want of it,
 * that an export's connections be dropped, they mark and wait for.
 */
#ifndef NBD_EXPORTS_H
#define NBD_EXPORTS_H

#include <pthread.h>

#include "base/buf.h"
#include "nbd/nbd.h"

struct exports {
    pthread_mutex_t lock; /* guards what follows, and what is said so below */
    pthread_cond_t changed;
    struct nbd_export *first; /* in the order they were added */
    unsigned n;
    unsigned n_asked; /* of them, to be dropped */
};

struct nbd_export {
    struct nbd_server *server; /* borrowed, like all until the line */
    struct exports *exports;
    void (*submit)(void *ctx, struct nbd_request *request);
    void *ctx;
    bool read_only;
    char *name; /* owned */

    /* Guarded by exports->lock. */
    uint64_t size;
    bool stopped;              /* not found any more */
    bool asked;                /* its connections are to be dropped */
    unsigned n_holds, n_users; /* users: connections that are not gone */
    struct nbd_export *next;

    /* Of the server's thread alone. */
    bool dropping;    /* it is doing what was asked */
    unsigned n_stale; /* requests of connections that are gone, which write */
};

void exports_init(struct exports *exports);
void exports_clear(struct exports *exports);

int exports_add(
    struct exports *exports, const struct nbd_export_params *params, struct nbd_export **ret_export
);
void exports_remove(struct nbd_export *export); /* waits until nobody holds it */

/* NULL: there is none of that name. */
struct nbd_export *exports_hold(struct exports *exports, const void *name, size_t len);
void exports_release(struct nbd_export *export);
void exports_enter(struct nbd_export *export); /* a connection has it */
void exports_leave(struct nbd_export *export);
uint64_t exports_size(struct nbd_export *export);
unsigned exports_holds(struct nbd_export *export);
unsigned exports_users(struct nbd_export *export);

/* Adds to @out a REP_SERVER for each.  Return: 0, or -1 without memory. */
int exports_list(struct exports *exports, struct buf *out);

/* Marks it, after changing what @size (0: nothing) and @stop say. */
void exports_ask(struct nbd_export *export, uint64_t size, bool stop);
void exports_wait(struct nbd_export *export); /* until that has been done */
void exports_resume(struct nbd_export *export);

/* Waits until nobody holds it.  Return: 0, or -ETIMEDOUT. */
int exports_settle(struct nbd_export *export, unsigned timeout_ms);

/* The server's side of it: sets .dropping of those that are marked.  Return: whether there are. */
bool exports_take_asked(struct exports *exports);
void exports_dropped(struct exports *exports); /* it is done */

#endif
