/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* store_private.h - what store*.c share: the calls of struct volume_store, by their names there */
#ifndef VOLUME_STORE_PRIVATE_H
#define VOLUME_STORE_PRIVATE_H

#include "volume/open.h"
#include "volume/store.h"

#define KEY_ROOM (LIMIT_KEY + 64)

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
int store_root_delete(void *ctx, struct s3pve_error *err);

#endif
