/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * headers.h - the headers of the log's segments, one after the other, asked for ahead
 *
 * An opening reads one header after the other, up to 2048; HEADERS_AHEAD of them are on their way.
 * One thread.
 */
#ifndef VOLUME_HEADERS_H
#define VOLUME_HEADERS_H

#include "base/buf.h"
#include "core/client.h"
#include "volume/segment.h"

struct headers;

/* @data: the volume's data directory; borrowed, as @cancel.  NULL without memory. */
struct headers *headers_new(struct s3pve_client *client, const char *data, const int *cancel);
struct headers *headers_free(struct headers *headers); /* NULL is fine; returns it */

/* It will probably be wanted, after those noted before.  Return: 0, or -1 without memory. */
int headers_note(struct headers *headers, const struct segment_id *id);

/* The first bytes of a segment, as many as its header has, added to @header.  Return: 0, or -1
 * (NOT_FOUND, CORRUPT, IO, ...). */
int headers_get(
    struct headers *headers,
    const struct segment_id *id,
    struct buf *header,
    struct s3pve_error *err
);

#endif
