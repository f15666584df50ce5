/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* store_objects.c - what of a volume in the bucket is not its log: pages, checkpoints, and its end
 */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "volume/store_private.h"

static int get_page(
    struct store *store, const struct volume_page *page, struct buf *bytes, struct s3pve_error *err
) {
    _free_ char *data = malloc(page->len);
    size_t len;

    if (!data)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a page of the map");
    if (store_get(store, page->object, page->offset, data, page->len, &len, err) < 0)
        return -1;
    if (buf_add(bytes, data, len) < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a page of the map");
    return 0;
}

int store_page(
    struct store *store, const struct volume_page *page, struct buf *bytes, struct s3pve_error *err
) {
    for (unsigned n = 0;; n++) {
        struct s3pve_error cause = S3PVE_ERROR_INIT;

        if (get_page(store, page, bytes, &cause) == 0)
            return 0;
        if (cause.code != S3PVE_E_NOT_FOUND && store_again(store, n))
            continue;
        if (err)
            *err = cause;
        return error_wrap(err, "%s", page->object);
    }
}

int store_pages_get(
    void *ctx,
    const struct volume_page *pages,
    uint32_t n,
    int (*each)(void *each_ctx, uint32_t i, const struct buf *bytes, struct s3pve_error *err),
    void *each_ctx,
    struct s3pve_error *err
) {
    for (uint32_t i = 0; i < n; i++) {
        _cleanup_(buf_clear) struct buf bytes = {0};

        if (store_page(ctx, &pages[i], &bytes, err) < 0 || each(each_ctx, i, &bytes, err) < 0)
            return -1;
    }
    return 0;
}

int store_object_get(void *ctx, const char *name, struct buf *bytes, struct s3pve_error *err) {
    struct store *store = ctx;
    struct s3pve_call call = store_call(store);
    _free_ char *data = NULL;
    char key[KEY_ROOM];
    size_t len;

    snprintf(key, sizeof(key), "%s/%s", store->data, name);
    if (s3pve_object_get(store->client, key, ROOT_OBJECT_MAX, &data, &len, NULL, &call, err) < 0)
        return -1;
    return buf_add(bytes, data, len) < 0 ? error_set(err, S3PVE_E_NOMEM, "no memory") : 0;
}

int store_object_put(
    void *ctx, const char *name, const struct buf *bytes, struct s3pve_error *err
) {
    return store_put(ctx, name, bytes->data, bytes->len, err);
}

int store_objects_list(
    void *ctx,
    const char *prefix,
    int (*each)(void *each_ctx, const char *name),
    void *each_ctx,
    struct s3pve_error *err
) {
    struct store *store = ctx;
    struct s3pve_call call = store_call(store);
    struct s3pve_list *list = NULL;
    struct s3pve_entry entry;
    char below[KEY_ROOM];
    int rc, said = 0;

    snprintf(below, sizeof(below), "%s/%s", store->data, prefix);
    if (s3pve_list_open(store->client, below, NULL, NULL, &list, &call, err) < 0)
        return -1;
    while (said == 0 && (rc = s3pve_list_next(list, &entry, err)) > 0)
        said = each(each_ctx, entry.key + strlen(store->data) + 1);
    s3pve_list_close(list);
    if (said < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for names");
    return said > 0 ? 0 : rc;
}

int store_objects_delete(
    void *ctx, const char (*names)[OBJECT_NAME], uint32_t n, struct s3pve_error *err
) {
    struct store *store = ctx;
    struct s3pve_call call = store_call(store);
    _free_ char *text = malloc((size_t)n * KEY_ROOM);
    _free_ const char **keys = calloc(n + 1u, sizeof(*keys));

    if (!text || !keys)
        return error_set(err, S3PVE_E_NOMEM, "no memory for names");
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = text + (size_t)i * KEY_ROOM;
        snprintf(text + (size_t)i * KEY_ROOM, KEY_ROOM, "%s/%s", store->data, names[i]);
    }
    return s3pve_object_delete_many(store->client, keys, n, &call, err);
}
