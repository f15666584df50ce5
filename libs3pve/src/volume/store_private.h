/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* store_private.h - what store*.c share: the calls of struct volume_store, by their names there */
#ifndef VOLUME_STORE_PRIVATE_H
#define VOLUME_STORE_PRIVATE_H

#include "volume/open.h"
#include "volume/store.h"

#define KEY_ROOM (LIMIT_KEY + 64)

unsigned store_left_ms(const struct store *store); /* until until_ms, which is set; never 0 */

/* --- store_arbiter.c */

/* Whether roots are swapped under a lock.  0, or -1 (UNSUPPORTED: there is no way; what the probe
 * failed with). */
int store_choose_swap(const struct store *store, bool *ret_by_lock, struct s3pve_error *err);
int store_put_by_lock(
    struct store *store,
    const char *text,
    const char *etag,
    char new_etag[ETAG_ROOM],
    struct s3pve_error *err
);
int store_remove_by_lock(struct store *store, const char *etag, struct s3pve_error *err);

/* --- store_objects.c */

int store_pages_get(
    void *ctx,
    const struct volume_page *pages,
    uint32_t n,
    int (*each)(void *each_ctx, uint32_t i, const struct buf *bytes, struct s3pve_error *err),
    void *each_ctx,
    struct s3pve_error *err
);
int store_object_get(void *ctx, const char *name, struct buf *bytes, struct s3pve_error *err);
int store_object_put(void *ctx, const char *name, const struct buf *bytes, struct s3pve_error *err);
int store_objects_list(
    void *ctx,
    const char *prefix,
    int (*each)(void *each_ctx, const char *name),
    void *each_ctx,
    struct s3pve_error *err
);
int store_objects_delete(
    void *ctx, const char (*names)[OBJECT_NAME], uint32_t n, struct s3pve_error *err
);

#endif
