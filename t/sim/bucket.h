/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* bucket.h - a store that answers when it likes, or not at all, and may do late what it was asked
 */
#ifndef SIM_BUCKET_H
#define SIM_BUCKET_H

#include "volume/open.h"
#include "world.h"

struct sim_object {
    char name[SEGMENT_NAME];
    uint8_t *data;
    size_t len;
};

struct bucket {
    struct world *world;
    struct sim_object *objects; /* in order of name */
    size_t n_objects;
    char *root;
    uint64_t root_version; /* the etag; 0: there is no root */
};

void bucket_init(struct bucket *bucket, struct world *world);
void bucket_clear(struct bucket *bucket);

/* What it holds now; NULL: nothing of that name. */
const struct sim_object *bucket_find(const struct bucket *bucket, const char *name);

/* Takes the bytes over.  A name that exists must get the same bytes again (I3). */
void bucket_put(struct bucket *bucket, const char *name, uint8_t *data, size_t len);

#endif
