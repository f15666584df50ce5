/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * flight.h - a request in flight: from its header to the last byte of its reply
 */
#ifndef NBD_FLIGHT_H
#define NBD_FLIGHT_H

#include "nbd/wire.h"

struct conn;

struct flight {
    struct nbd_request nbd; /* first: what the export's side knows */
    struct conn *conn;      /* borrowed */
    struct flight *next;    /* among those done, or to be sent */
    struct wire_command command;
    int errnum;
    uint8_t *pages; /* owned; the blocks around .data, or the extents */
    size_t pages_len;
    uint32_t n_extents, covered; /* STATUS: so many, and bytes of the request they are about */

    uint8_t header[WIRE_REPLY_MAX];
    size_t header_len, data_len;
};

/* Bytes of memory it needs: whole blocks around its data, or its extents. */
size_t flight_pages(const struct wire_command *command);

/* @errnum: how it is refused, and needs no memory.  NULL: out of memory. */
struct flight *flight_new(struct conn *conn, const struct wire_command *command, int errnum);
void flight_free(struct flight *request);

bool flight_writes(const struct flight *request);

#endif
