/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* bucket.h - a store that answers when it likes, or not at all, and may do late what it was asked
 */
#ifndef SIM_BUCKET_H
#define SIM_BUCKET_H

#include "volume/open.h"
#include "world.h"

struct sim_object {
    char name[OBJECT_NAME];
    uint8_t *data;
    size_t len;
};

struct bucket {
    struct world *world;
    struct sim_object *objects; /* in order of name */
    size_t n_objects;
    char *root;
    uint64_t root_version; /* the etag; counts on when it is deleted */
    uint32_t owner_nonce;  /* by that root */
    bool deleting;
};

void bucket_init(struct bucket *bucket, struct world *world);
void bucket_clear(struct bucket *bucket);

/* What it holds now; NULL: nothing of that name. */
const struct sim_object *bucket_find(const struct bucket *bucket, const char *name);

/* Takes the bytes over.  A name that exists must get the same bytes again (I3). */
void bucket_put(struct bucket *bucket, const char *name, uint8_t *data, size_t len);

/* True: it was what is named there. */
bool bucket_delete(struct bucket *bucket, const char *name);

/* Replace version @etag, "" if there is none, by @text.  False: it is another one. */
bool bucket_swap(struct bucket *bucket, const char *etag, const char *text);
void bucket_etag(const struct bucket *bucket, char etag[ETAG_ROOM]);

#endif
