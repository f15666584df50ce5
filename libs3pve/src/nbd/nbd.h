/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * nbd.h - an NBD server: disks ("exports") for QEMU and others, over a unix socket
 *
 *     nbd_open() --> serving --------------------------------------------> nbd_close()
 *                      | nbd_export_add() -> [resize] -> stop -> free |
 *                      |                         ^--- resume <--'     |
 *
 * Speaks fixed newstyle with structured replies; conn.h has one connection's way.  What stands
 * behind an export is a function that takes requests and may answer them later, in any order, from
 * any thread.  All connections have one thread, so it must not wait in that function.
 *
 * What is promised to who stands behind an export:
 *
 *  - A request is within the export, of whole sectors, and one the export's kind allows.
 *  - Requests come in the order in which a client sent them.
 *  - A connection that is gone has nothing in flight that writes when the next one of the same
 *    export may send requests.  So what a client sends again after it reconnected cannot be
 *    overtaken by its older twin.
 *  - At most NBD_CONN_BYTES and NBD_CONN_REQUESTS a connection, and NBD_BYTES in all.
 */
#ifndef NBD_NBD_H
#define NBD_NBD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

#define NBD_SECTOR 512u /* what a request's place and length are multiples of */
#define NBD_BLOCK 4096u /* what they should be */

struct nbd_server; /* opaque */
struct nbd_export; /* opaque */

enum nbd_type {
    NBD_READ,
    NBD_WRITE,
    NBD_FLUSH,
    NBD_TRIM,   /* may read as anything from then on */
    NBD_CACHE,  /* will be read soon; needs not be waited for */
    NBD_ZERO,   /* reads as zeroes from then on */
    NBD_STATUS, /* what of it takes room: nbd_status_add() */
};

/* The server's memory, from submit() until nbd_request_done(). */
struct nbd_request {
    enum nbd_type type;
    uint64_t offset;
    uint32_t len; /* READ, WRITE: at most NBD_PAYLOAD; else below 4 GiB */
    bool fua;     /* WRITE, TRIM, ZERO: done when it is as safe as a FLUSH makes it */
    bool no_hole; /* ZERO: must keep its place */
    bool fast;    /* ZERO: fail with ENOTSUP rather than take as long as a write would */

    /* READ: to be filled; WRITE: what to write.  It lies in memory as it does on the disk: at
     * offset % NBD_BLOCK of a block of memory.  Of its first and last block all is there, and what
     * is around the data may be written, too. */
    uint8_t *data;
    bool more; /* another one is submitted at once */
    bool hole; /* READ: set instead of filling data when all of it is zeroes */

    void *backend; /* of whoever stands behind the export; NULL at first */
};

/** nbd_request_done() - the answer, once; any thread, also before submit() returns
 *  @errnum: 0, or an errno; @request is gone then */
void nbd_request_done(struct nbd_request *request, int errnum);

/** nbd_status_add() - the next @len bytes of a STATUS: whether they take room, and are zeroes.
 *  Return: whether more is wanted.  What nobody says is taken for data. */
bool nbd_status_add(struct nbd_request *request, uint64_t len, bool hole, bool zero);

struct nbd_export_params {
    const char *name;                                       /* copied; at most NBD_NAME bytes */
    uint64_t size;                                          /* bytes, whole sectors */
    bool read_only;                                         /* WRITE, TRIM, ZERO are refused */
    void (*submit)(void *ctx, struct nbd_request *request); /* must not wait */
    void *ctx;                                              /* borrowed */
};

struct nbd_options {
    int listen_fd; /* owned from then on; listening, a unix socket */
    void (*log)(void *ctx, const char *export, const char *text); /* may be NULL; export, too */
    void *ctx;                                                    /* borrowed */
};

/** nbd_open() - serve.  Return: 0, or a negative errno, and listen_fd is closed then */
int nbd_open(const struct nbd_options *options, struct nbd_server **ret_server);

/** nbd_close() - end; all exports must have been freed.  Returns NULL. */
struct nbd_server *nbd_close(struct nbd_server *server);

/*
 * The calls below may be made from any thread except in submit(), and wait for the server's.
 */

/** nbd_export_add() - Return: 0, -EINVAL, -EEXIST, -ENOSPC (NBD_EXPORTS) or -ENOMEM */
int nbd_export_add(
    struct nbd_server *server,
    const struct nbd_export_params *params,
    struct nbd_export **ret_export
);

/** nbd_export_resize() - it has got @size bytes, no less than before.  NBD cannot say so: its
 *  connections are dropped, and whoever reconnects (QEMU does, at the next request) learns it. */
void nbd_export_resize(struct nbd_export *export, uint64_t size);

/** nbd_export_stop() - drop its connections and refuse more; what is in flight is not waited for
 *  and its answers go nowhere.  QEMU reconnects and sends it again, to whoever answers then. */
void nbd_export_stop(struct nbd_export *export);

/** nbd_export_settle() - of a stopped one: wait until everything is done, but not longer than that.
 *  Return: 0, or -ETIMEDOUT */
int nbd_export_settle(struct nbd_export *export, unsigned timeout_ms);

/** nbd_export_resume() - a stopped one can be connected to again */
void nbd_export_resume(struct nbd_export *export);

/** nbd_export_free() - stop, and wait until everything is done.  Returns NULL. */
struct nbd_export *nbd_export_free(struct nbd_export *export);

/** nbd_export_users() - connections that have chosen it, and are not gone */
unsigned nbd_export_users(struct nbd_export *export);

DEFINE_CLEANUP(struct nbd_server *, nbd_close)
DEFINE_CLEANUP(struct nbd_export *, nbd_export_free)

#endif
