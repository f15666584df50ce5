/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * length.h - volumes that are files: as long as what was written to them
 *
 * Its length is in three places: here; in a file beside the journal, which is written before the
 * write that made it longer is answered, and so is as safe as the journal; and in the root, before
 * a flush of durability `bucket` is answered, and else now and then.  What is there behind it reads
 * as zeroes.  A volume has room for twice as much whenever it has to grow.
 */
#ifndef IMAGES_LENGTH_H
#define IMAGES_LENGTH_H

#include "images/table.h"

struct length;

/* A request on its way. */
struct asked {
    struct runtime_request r; /* first */
    struct s3pve_volume_request *request;
    struct s3pve_volume *volume;
    struct asked *next;
};

void io_done(struct asked *asked, const struct s3pve_error *err);

/* As this node knows it, open or not, of a file whose root is @root.  Bytes. */
uint64_t length_known(struct s3pve_volumes *all, const char *name, const struct root *root);

/* --- while it is opened; the caller has taken it */

/* The file beside the journal may know better than the root, which is changed then: it has yet to
 * be claimed.  Return: 0, or -1. */
int length_recall(struct s3pve_volume *volume, struct idle *idle, struct s3pve_error *err);

/* It is open.  Return: 0, or -1. */
int length_open(
    struct s3pve_volume *volume,
    const struct idle *idle,
    struct limit *limit,
    struct s3pve_error *err
);
void length_close(struct s3pve_volume *volume); /* NULL is fine */

/* --- from then on */

uint64_t length_now(struct length *length); /* bytes */
/* Since when the root does not say so, clock_monotonic_ms(); 0: it does. */
int64_t length_dirty_ms(struct length *length);

/* The root says what it is now.  Return: 0, or -1. */
int length_store(
    struct s3pve_volume *volume, const struct runtime_wait *wait, struct s3pve_error *err
);

int length_set(
    struct s3pve_volume *volume, uint64_t size, struct limit *limit, struct s3pve_error *err
);

/* A request of whoever holds it. */
void length_submit(struct asked *asked);

#endif
