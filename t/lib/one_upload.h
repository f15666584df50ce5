/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* one_upload.h - a scripted store for one upload, with faults, and a client that is writing it */
#ifndef ONE_UPLOAD_H
#define ONE_UPLOAD_H

#include "base/limits.h"
#include "core/upload.h"
#include "script.h"

#define PART MIB(5)                                  /* what this client's parts have */
#define EMPTY_MD5 "d41d8cd98f00b204e9800998ecf8427e" /* every part's ETag in this world */

struct store {
    uint64_t part[16]; /* bytes of each part as stored; index 0 unused */
    unsigned n_put, n_create, n_part, n_complete, n_abort, n_head;
    uint64_t object;                /* bytes published; UINT64_MAX while there is nothing */
    unsigned fail_part, fail_times; /* this part number is refused so often */
    struct answer failure;          /* like this */
    unsigned take_ms;               /* of each part */
    struct answer complete;         /* instead of success, when it has a status */
    bool published_anyway;
    char body[512], headers[256];
};

struct world {
    struct script script;
    struct store store;
    struct s3pve_client *client;
    struct s3pve_upload *upload;
    struct s3pve_error err;
    char *bytes; /* three parts of them */
};

struct world *world_new(void);
/* Closes the upload, and checks that memory and wire are free then. */
void world_free(struct world *w);

/* Write @len of the bytes, from @from; the error goes to w->err. */
int world_put(struct world *w, size_t from, size_t len);
int world_finish(struct world *w);

/* Does every part that was sent hold just its own of the bytes? */
bool world_sent_right(const struct world *w);

#endif
