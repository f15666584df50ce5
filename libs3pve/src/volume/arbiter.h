/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * arbiter.h - compare and swap on a server that does not keep conditions: under a lock
 *
 *     take the lock -> read, compare -> renew it -> write once -> read, compare -> drop it
 *
 * The lock says nothing to the server: a write that was sent may land when it is another's.  So it
 * is sent just after the lock was renewed and has less time than the lock; and who does not know
 * what became of it leaves the lock to run out, which is the time that the write has to land.
 */
#ifndef VOLUME_ARBITER_H
#define VOLUME_ARBITER_H

#include "volume/open.h"

/* All return 0, or -1 with @err set. */
struct arbiter_ops {
    int (*take)(void *ctx, struct s3pve_error *err);
    int (*renew)(void *ctx, struct s3pve_error *err); /* -1: the lock may be another's */
    void (*drop)(void *ctx);
    int (*get)(void *ctx, struct buf *text, char etag[ETAG_ROOM], struct s3pve_error *err);
    /* One try.  *ret_lost: it failed, and may have been done or be done yet. */
    int (*put
    )(void *ctx, const char *text, const char *etag, bool *ret_lost, struct s3pve_error *err);
    int (*remove)(void *ctx, const char *etag, bool *ret_lost, struct s3pve_error *err);
};

/* As root_put and root_delete of struct volume_store. */
int arbiter_put(
    const struct arbiter_ops *ops,
    void *ctx,
    const char *text,
    const char *etag,
    char new_etag[ETAG_ROOM],
    struct s3pve_error *err
);
int arbiter_remove(
    const struct arbiter_ops *ops, void *ctx, const char *etag, struct s3pve_error *err
);

#endif
