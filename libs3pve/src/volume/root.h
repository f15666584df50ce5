/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * root.h - volume.json, the one object of a volume that changes
 *
 * s3pve-format(5) has its members.  Those we do not know are kept as they are.
 */
#ifndef VOLUME_ROOT_H
#define VOLUME_ROOT_H

#include <jansson.h>

#include "volume/segment.h"

#define ROOT_NODE 64        /* room for a node's name */
#define ROOT_INCARNATION 40 /* and for a boot id */
#define ROOT_FOLDER 256     /* and for a volume's folder: its name has up to 199 characters */
#define ROOT_OBJECT 64      /* and for an object's name below the data directory */

enum root_state { ROOT_CLOSED, ROOT_CLAIMING, ROOT_OPEN };

/* Who writes, or did last. */
struct root_owner {
    enum root_state state;
    uint32_t epoch, nonce;
    char node[ROOT_NODE], incarnation[ROOT_INCARNATION];
};

/* The segments of one epoch: from first to last, or while it lasts without end. */
struct root_epoch {
    uint32_t epoch, nonce;
    uint64_t first, last; /* last 0: not over */
};

struct root {
    json_t *json; /* owned; what it was read from, or NULL */
    uint8_t uuid[UUID_LEN];
    uint64_t rev, size; /* size: bytes */
    uint32_t segment_blocks;
    struct root_owner owner;
    struct root_epoch *epochs; /* owned; in order, of what a checkpoint does not cover */
    uint32_t n_epochs;
    uint64_t head_seq;                 /* the segment up to which the checkpoint goes */
    char head_checkpoint[ROOT_OBJECT]; /* its last object; "" the empty map */
    bool read_only;                    /* ro_compat names something that we do not know */
    bool deleting;
    char moving_to[ROOT_FOLDER];   /* "" it is not; else the folder of its new name ... */
    char moving_from[ROOT_FOLDER]; /* ... or of its old one, whose root is still there */
};

void root_clear(struct root *root);

/* Return: 0, or -1 with @err set (CORRUPT, UNSUPPORTED, NOMEM) and nothing owned. */
int root_decode(struct root *root, const char *text, size_t len, struct s3pve_error *err);

/* May we write to it?  0, or -1 with @err set: UNSUPPORTED, CONFLICT (it is deleted or renamed). */
int root_check_writable(const struct root *root, struct s3pve_error *err);

/* Into *ret_text, which the caller frees.  Return: 0, or -1 with @err set (NOMEM). */
int root_encode(const struct root *root, char **ret_text, struct s3pve_error *err);

/* A new epoch of the owner, from @first on; the last one ends before it.  0, or -1 without memory
 * or beyond ROOT_EPOCHS_MAX. */
int root_add_epoch(struct root *root, uint64_t first);

/* Those that end before head_seq go, but for the last. */
void root_forget_epochs(struct root *root);

/* Which epoch segment @seq is of, or NULL. */
const struct root_epoch *root_epoch_of(const struct root *root, uint64_t seq);

#endif
