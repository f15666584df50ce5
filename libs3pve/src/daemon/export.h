/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * export.h - active volumes behind the NBD server
 *
 *     export_take() --> alone with that name: add, remove, grow --> export_give()
 *
 * Whoever changes what is served under a name takes it first, and keeps it until the volume is as
 * it should be, too; others wait for that, and for nothing of any other name.
 *
 * An export holds its volume.  So at the end: export_stop(), s3pve_volumes_stop(), export_close();
 * then what is in flight is answered, nobody hears it, and guests just wait for the next daemon.
 */
#ifndef DAEMON_EXPORT_H
#define DAEMON_EXPORT_H

#include "base/cleanup.h"
#include "s3pve-volume.h"

#define EXPORT_SOCKET "nbd.sock"

struct export_server;
struct export;

/** export_open() - listen at @run_dir/EXPORT_SOCKET.  Return: 0, or -1 */
int export_open(
    const char *run_dir,
    struct s3pve_volumes *volumes,
    struct export_server **ret_server,
    struct s3pve_error *err
);

/** export_stop() - hang up on all clients and let nobody in any more; NULL is fine */
void export_stop(struct export_server *server);

/** export_let_go() - after the stop: release the volumes for which nothing is in flight by then */
void export_let_go(struct export_server *server, int64_t until_ms);

/** export_close() - after the stop: waits for what is in flight.  Returns NULL. */
struct export_server *export_close(struct export_server *server);

/** struct export_wait - how long to wait, and what ends it */
struct export_wait {
    int64_t until_ms;  /* clock_monotonic_ms() */
    const int *cancel; /* borrowed, atomic */
};

/** export_take() - Return: it, or NULL (TIMEOUT, CANCELLED, NOMEM) */
struct export *export_take(
    struct export_server *server,
    const char *name,
    const struct export_wait *wait,
    struct s3pve_error *err
);
/** export_try() - the same without waiting.  Return: NULL when that would take waiting */
struct export *export_try(struct export_server *server, const char *name);
void export_give(struct export *export);

/* Of one that was taken: */

/** export_add() - hold the volume and serve it, unless it is served.  Return: 0, or -1 */
int export_add(struct export *export, const struct s3pve_call *call, struct s3pve_error *err);

/** export_remove() - serve it no longer, and release it.  Return: 0, or -1 and it is served as
 *  before (CONFLICT: clients are connected; TIMEOUT: what is in flight waits for the store) */
int export_remove(struct export *export, const struct export_wait *wait, struct s3pve_error *err);

/** export_fit() - tell clients the volume's size if that is another one now */
void export_fit(struct export *export);

/** export_count() - what is served under @name; NULL: under all of them */
struct export_count {
    unsigned n_exports, n_clients;
};
struct export_count export_count(struct export_server *server, const char *name);

#endif
