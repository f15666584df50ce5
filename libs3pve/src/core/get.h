/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* get.h - what get.c (one stream) and get_ranges.c (several at once) share */
#ifndef CORE_GET_H
#define CORE_GET_H

#include "core/object.h"

struct get {
    struct s3pve_client *client; /* borrowed, as all it points to */
    const char *key;
    int fd;
    uint64_t next;             /* offset of the next byte to be written */
    uint64_t end;              /* one past the last; UINT64_MAX while nobody said */
    char etag[S3PVE_ETAG_MAX]; /* the version we read; "" before the first answer */
    uint64_t *progress;
    struct s3pve_call call;
    int write_errno; /* of the file descriptor */
    char *gathered;  /* owned, or NULL; GET_GATHER bytes, what of a stream is not written yet */
    size_t n_gathered;
};

/* Write to the file descriptor and advance.  Return: 0, or -1 with write_errno set (ECANCELED:
 * the caller gave up while nobody read). */
int get_write(struct get *get, const void *data, size_t len);

/* The deadline is for a stretch without a byte: did this one bring some, and may go on? */
bool get_goes_on(const struct request *rq);

/* Why writing failed, or @err as it is. */
int get_fail(const struct get *get, struct s3pve_error *err);

/* A request for @len bytes at @offset of the version we read. */
void get_request(struct get *get, struct request *rq, uint64_t offset, uint64_t len);

/* From next to @until, which must be known to exist, @width ranges at a time. */
int get_ranges(struct get *get, uint64_t until, unsigned width, struct s3pve_error *err);

#endif
