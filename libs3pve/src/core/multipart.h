/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * multipart.h - one multipart upload as the store knows it: its id and its parts
 *
 *     multipart_create -> multipart_note, once a part -> multipart_complete   or multipart_abort
 *
 * Moving the parts is the caller's: upload.c sends them, copy.c has the store copy them.
 */
#ifndef CORE_MULTIPART_H
#define CORE_MULTIPART_H

#include "core/object.h"

struct multipart_part {
    uint64_t size;
    char etag[S3PVE_ETAG_MAX]; /* "" while the store has not confirmed it */
};

struct multipart {
    struct s3pve_client *client;  /* borrowed */
    const char *key;              /* borrowed, relative to the prefix */
    char *id;                     /* owned; NULL while there is none */
    struct object_marker marker;  /* "" when an earlier process began it */
    struct multipart_part *parts; /* owned; part n is parts[n - 1] */
    unsigned n_parts, room;
    uint64_t size; /* of all confirmed parts */
};

int multipart_create(
    struct multipart *mp,
    const struct s3pve_put_options *options,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/* Start filling in a request for part @number; body or copy source are the caller's. */
void multipart_part_request(
    const struct multipart *mp,
    struct request *rq,
    const char *operation,
    unsigned number,
    const struct s3pve_call *call
);

/* The store has part @number; a part sent again replaces itself. Return: 0, or -1 (CORRUPT, ...) */
int multipart_note(
    struct multipart *mp, unsigned number, uint64_t size, const char *etag, struct s3pve_error *err
);

/* Is every part from the first to the last confirmed?  Return: 0, or -1 (CORRUPT). */
int multipart_check(const struct multipart *mp, struct s3pve_error *err);

/*
 * Make the object of its parts, and verify it (C4): by its ETag where that is the MD5 of the parts'
 * MD5s, else by its size.  A lost answer is resolved by reading (C3).  May be repeated.
 */
int multipart_complete(
    struct multipart *mp,
    const struct s3pve_put_options *options,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/* Already gone is success.  @raw: @key has its prefix. */
int multipart_abort(
    struct s3pve_client *client,
    const char *key,
    bool raw,
    const char *id,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/* The ETag that S3 gives an object of these parts; false when they are not all MD5s. */
bool multipart_etag(const struct multipart *mp, char ret_etag[S3PVE_ETAG_MAX]);

void multipart_clear(struct multipart *mp);

#endif
