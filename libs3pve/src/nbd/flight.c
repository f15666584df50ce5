/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "nbd/flight.h"

#include "nbd/conn.h"

bool flight_writes(const struct flight *request) {
    enum nbd_type type = request->nbd.type;
    return type == NBD_WRITE || type == NBD_TRIM || type == NBD_ZERO;
}

size_t flight_pages(const struct wire_command *command) {
    if (command->type == CMD_BLOCK_STATUS)
        return (command->flags & CMD_FLAG_REQ_ONE ? 1 : (size_t)NBD_EXTENTS) * WIRE_EXTENT_LEN;
    if (command->type != CMD_READ && command->type != CMD_WRITE)
        return 0;
    uint64_t end = command->offset % NBD_BLOCK + command->len;
    return (end + NBD_BLOCK - 1) / NBD_BLOCK * NBD_BLOCK;
}

struct flight *flight_new(struct conn *conn, const struct wire_command *command, int errnum) {
    struct flight *request = calloc(1, sizeof(*request));
    if (!request)
        return NULL;
    request->conn = conn;
    request->command = *command;
    request->errnum = errnum;
    request->pages_len = errnum ? 0 : flight_pages(command);
    if (!errnum)
        wire_command_take(command, &request->nbd);
    if (request->pages_len > 0) {
        request->pages = pages_take(&conn->server->pages, request->pages_len);
        request->nbd.data = request->pages;
        if (command->type != CMD_BLOCK_STATUS)
            request->nbd.data += command->offset % NBD_BLOCK;
    }
    if (request->pages_len > 0 && !request->pages) {
        free(request);
        return NULL;
    }
    conn->n_requests++;
    conn->bytes += request->pages_len;
    conn->server->bytes += request->pages_len;
    return request;
}

void flight_free(struct flight *request) {
    struct conn *conn = request->conn;
    conn->n_requests--;
    conn->bytes -= request->pages_len;
    conn->server->bytes -= request->pages_len;
    conn->server->released = true;
    if (request->pages_len > 0)
        pages_give(&conn->server->pages, request->pages, request->pages_len);
    free(request);
}

/* --- block status */

static uint8_t *extent(struct flight *request, uint32_t n) {
    return request->pages + (size_t)n * WIRE_EXTENT_LEN;
}

bool nbd_status_add(struct nbd_request *request, uint64_t len, bool hole, bool zero) {
    struct flight *flight = (struct flight *)request;
    uint32_t left = request->len - flight->covered, n = flight->n_extents;
    uint32_t part = len < left ? (uint32_t)len : left;
    uint32_t state = (hole ? STATE_HOLE : 0) | (zero ? STATE_ZERO : 0);
    if (part > 0 && n > 0 && get_be32(extent(flight, n - 1) + 4) == state) {
        put_be32(extent(flight, n - 1), get_be32(extent(flight, n - 1)) + part);
    } else if (part > 0) {
        if ((size_t)(n + 1) * WIRE_EXTENT_LEN > flight->pages_len) {
            flight->covered = request->len; /* what follows is not next to the last one */
            return false;
        }
        put_be32(put_be32(extent(flight, n), part), state);
        flight->n_extents++;
    }
    flight->covered += part;
    return flight->covered < request->len;
}
