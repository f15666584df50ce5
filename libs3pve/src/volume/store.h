/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * store.h - one volume in the bucket: its root, its segments; and all that opening it needs
 *
 * Calls block, and end by their deadline or when *cancel is set; store_again() is for those who
 * have to wait for the store however long it is away (D6).  Thread-safe, but for opening.
 */
#ifndef VOLUME_STORE_H
#define VOLUME_STORE_H

#include "core/client.h"
#include "volume/headers.h"
#include "volume/journal_file.h"
#include "volume/lease.h"
#include "volume/volume.h"

struct store {
    struct s3pve_client *client; /* borrowed, as these */
    struct lease *lease;
    struct journal_file *journal; /* for opening, as these */
    struct headers *headers;
    const int *cancel;      /* atomic */
    int64_t until_ms;       /* clock_monotonic_ms() of the end of all calls; 0: each has its time */
    char folder[LIMIT_KEY]; /* "images/100/vm-100-disk-0" */
    char data[LIMIT_KEY];   /* the data directory, once the root is known */
};

/* The time of the next request. */
struct s3pve_call store_call(const struct store *store);

/* What volume_open() is given, with a struct store as its ctx. */
extern const struct volume_store store_ops;

/*
 * The root of a new volume, without a block and without an owner: @size is bytes, @segment_blocks
 * of data make a segment.  Return: 0, or -1 (CONFLICT: there is one already).
 */
int store_create(
    struct store *store, uint64_t size, uint32_t segment_blocks, struct s3pve_error *err
);

/* The root as it is, and from it the data directory.  The caller clears it. */
int store_root(
    struct store *store, struct root *ret_root, char etag[ETAG_ROOM], struct s3pve_error *err
);

/* An object below the data directory: stored under a name that nobody else has (I3), so that doing
 * it twice is no harm. */
int store_put(
    struct store *store, const char *name, const void *data, size_t len, struct s3pve_error *err
);
/* @len bytes from @offset, or as many as there are. */
int store_get(
    struct store *store,
    const char *name,
    uint64_t offset,
    void *data,
    size_t len,
    size_t *ret_len,
    struct s3pve_error *err
);

/* A page of the map, which the bucket has: for as long as it takes.  0, or -1 (CANCELLED, and what
 * will not pass). */
int store_page(
    struct store *store, const struct volume_page *page, struct buf *bytes, struct s3pve_error *err
);

/*
 * After try number @n (0 is the first) failed: wait a while, longer each time.
 * Return: whether to try again; false when it was cancelled.
 */
bool store_again(const struct store *store, unsigned n);

#endif
