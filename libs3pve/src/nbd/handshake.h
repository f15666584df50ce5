/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * handshake.h - a client finds an export and agrees on how to speak: bytes in, bytes out
 *
 *     greeting --flags--> options: LIST, INFO, STRUCTURED_REPLY, ... --GO--> chosen --accept-->
 * done |                                    EXPORT_NAME
 *                           +--ABORT, nonsense--> end
 *
 * There is no reply to the choice before handshake_accept(), so that whoever drives this may let
 * the client wait.
 */
#ifndef NBD_HANDSHAKE_H
#define NBD_HANDSHAKE_H

#include "base/limits.h"
#include "nbd/exports.h"
#include "nbd/wire.h"

enum handshake_state {
    HANDSHAKE_FLAGS,   /* the client's are missing */
    HANDSHAKE_OPTIONS, /* any number of them */
    HANDSHAKE_CHOSEN,  /* .export is what it wants */
    HANDSHAKE_END,     /* send what is in .out, then close */
    HANDSHAKE_BROKEN,  /* close; .why says what it did */
};

struct handshake {
    struct exports *exports; /* borrowed */
    enum handshake_state state;
    struct buf out;            /* what is to be sent */
    struct nbd_export *export; /* held */
    const char *why;

    /* Agreed so far. */
    bool zeroes, structured;
    char context[NBD_NAME + 1]; /* the export of which allocation may be asked; "": none */

    uint32_t option;   /* that chose */
    bool wants_name;   /* and what it asked besides */
    uint32_t skipping; /* bytes of an option that is too long */
};

int handshake_init(struct handshake *handshake, struct exports *exports); /* -1: no memory */
void handshake_clear(struct handshake *handshake);

/* Takes one message from @bytes.  Return: how many of them it had; 0 when it is not whole, or the
 * state is none of the first two. */
size_t handshake_take(struct handshake *handshake, const uint8_t *bytes, size_t len);

/* Answers the choice.  Return: 0, or -1 without memory. */
int handshake_accept(struct handshake *handshake, struct wire_session *ret_session);

#endif
