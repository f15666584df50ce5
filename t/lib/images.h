/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* images.h - nodes and their volumes in a test: requests that are waited for */
#ifndef IMAGES_TEST_H
#define IMAGES_TEST_H

#include <stdint.h>

#include "s3pve-volume.h"

/* A node of that name, whose state is below @dir; the lease's times are @scale times shorter than
 * in life.  A flush means the bucket, unless @local. */
struct node_options {
    const char *dir, *name;
    unsigned scale, linger_ms;
    bool local;
    const char *boot; /* NULL: one of its own */
};
struct s3pve_volumes *node_open(struct s3pve_client *client, const struct node_options *options);

/* 0, or the errno.  @data may be NULL, but for READ and WRITE. */
int volume_ask(
    struct s3pve_volume *volume, enum s3pve_volume_op op, void *data, uint64_t offset, uint64_t len
);
#define volume_write(v, data, offset, len) volume_ask(v, S3PVE_VOLUME_WRITE, data, offset, len)
#define volume_read(v, data, offset, len) volume_ask(v, S3PVE_VOLUME_READ, data, offset, len)
#define volume_zero(v, offset, len) volume_ask(v, S3PVE_VOLUME_ZERO, NULL, offset, len)
#define volume_flush(v) volume_ask(v, S3PVE_VOLUME_FLUSH, NULL, 0, 0)

/* Bytes that are other ones for each @seed and place. */
void fill_bytes(uint8_t *bytes, uint64_t offset, uint64_t len, unsigned seed);
/* Has the volume these there? */
bool has_bytes(struct s3pve_volume *volume, uint64_t offset, uint64_t len, unsigned seed);
bool has_zeroes(struct s3pve_volume *volume, uint64_t offset, uint64_t len);
/* Write them: 0, or the errno. */
int put_bytes(struct s3pve_volume *volume, uint64_t offset, uint64_t len, unsigned seed);

/* What next() says of the volume of that name.  Return: whether it is open. */
bool stats_of(struct s3pve_volumes *node, const char *name, struct s3pve_volume_stats *ret_stats);

/* Files below @dir/@node's state: those of all volumes, but no spare journals. */
unsigned count_files(const char *dir, const char *node);

#endif
