/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "core/error.h"
#include "volume/store_private.h"

/* --------------------------------------------------------------------- root */

static int root_get(void *ctx, struct buf *text, char etag[ETAG_ROOM], struct s3pve_error *err) {
    struct store *store = ctx;
    struct s3pve_call call = store_call(store);
    struct s3pve_info info;
    _free_ char *data = NULL;
    char key[KEY_ROOM];
    size_t len;

    snprintf(key, sizeof(key), "%s/volume.json", store->folder);
    if (s3pve_object_get(store->client, key, ROOT_BYTES_MAX, &data, &len, &info, &call, err) < 0)
        return -1;
    strcpy(etag, info.etag);
    return buf_add(text, data, len) < 0 ? error_set(err, S3PVE_E_NOMEM, "no memory") : 0;
}

static int root_put(
    void *ctx, const char *text, const char *etag, char new_etag[ETAG_ROOM], struct s3pve_error *err
) {
    struct store *store = ctx;
    struct s3pve_call call = store_call(store);
    struct s3pve_put_options options = {
        .content_type = "application/json",
        .if_match = etag[0] ? etag : NULL,
        .if_absent = !etag[0],
    };
    struct s3pve_info info;
    char key[KEY_ROOM];
    bool by_lock;

    if (store_choose_swap(store, &by_lock, err) < 0)
        return -1;
    if (by_lock)
        return store_put_by_lock(store, text, etag, new_etag, err);
    snprintf(key, sizeof(key), "%s/volume.json", store->folder);
    if (s3pve_object_put(store->client, key, text, strlen(text), &options, &info, &call, err) < 0)
        return -1;
    strcpy(new_etag, info.etag);
    return 0;
}

static int root_delete(void *ctx, const char *etag, struct s3pve_error *err) {
    struct store *store = ctx;
    struct s3pve_call call = store_call(store);
    char key[KEY_ROOM];
    bool by_lock;

    if (store_choose_swap(store, &by_lock, err) < 0)
        return -1;
    if (by_lock)
        return store_remove_by_lock(store, etag, err);
    snprintf(key, sizeof(key), "%s/volume.json", store->folder);
    return s3pve_object_delete(store->client, key, &call, err);
}

/* A volume that was renamed keeps its data where it was. */
static int find_data(struct store *store, const struct root *root, struct s3pve_error *err) {
    const char *named = json_string_value(json_object_get(root->json, "data"));
    const uint8_t *id = root->uuid;
    int len;

    if (named)
        len = snprintf(store->data, sizeof(store->data), "%s", named);
    else
        len = snprintf(
            store->data,
            sizeof(store->data),
            "%s/d-%02x%02x%02x%02x",
            store->folder,
            id[0],
            id[1],
            id[2],
            id[3]
        );
    if (len >= (int)sizeof(store->data))
        return error_set(err, S3PVE_E_CORRUPT, "volume.json names too long a data directory");
    return 0;
}

int store_root(
    struct store *store, struct root *ret_root, char etag[ETAG_ROOM], struct s3pve_error *err
) {
    _cleanup_(buf_clear) struct buf text = {0};

    if (root_get(store, &text, etag, err) < 0 ||
        root_decode(ret_root, buf_text(&text), text.len, err) < 0)
        return -1;
    return find_data(store, ret_root, err);
}

int store_create(
    struct store *store, uint64_t size, uint32_t segment_blocks, struct s3pve_error *err
) {
    struct root root = {.size = size, .segment_blocks = segment_blocks};

    if (getrandom(root.uuid, UUID_LEN, 0) != UUID_LEN)
        return error_set(err, S3PVE_E_IO, "no random bytes");
    return volume_create(&store_ops, store, &root, err);
}

/* ---------------------------------------------------------------------- log */

static int note_key(
    const struct store *store,
    const char *key,
    int (*each)(void *each_ctx, const struct segment_id *id),
    void *each_ctx
) {
    struct segment_id id;

    if (!segment_name_parse(key + strlen(store->data) + 1, &id))
        return 0; /* not ours, or no segment's name */
    if (headers_note(store->headers, &id) < 0)
        return -1;
    return each(each_ctx, &id);
}

static int log_list(
    void *ctx,
    uint64_t after,
    int (*each)(void *each_ctx, const struct segment_id *id),
    void *each_ctx,
    struct s3pve_error *err
) {
    struct store *store = ctx;
    struct s3pve_call call = store_call(store);
    char prefix[KEY_ROOM], start[KEY_ROOM], last[SEGMENT_NAME];
    struct s3pve_list *list = NULL;
    struct s3pve_entry entry;
    int rc;

    segment_name(last, &(struct segment_id){after, UINT32_MAX, UINT32_MAX});
    snprintf(prefix, sizeof(prefix), "%s/log/", store->data);
    snprintf(start, sizeof(start), "%s/%s", store->data, last);
    if (s3pve_list_open(store->client, prefix, NULL, start, &list, &call, err) < 0)
        return -1;
    while ((rc = s3pve_list_next(list, &entry, err)) > 0)
        if (note_key(store, entry.key, each, each_ctx) < 0) {
            rc = error_set(err, S3PVE_E_NOMEM, "no memory for the log");
            break;
        }
    s3pve_list_close(list);
    return rc;
}

static int header_get(
    void *ctx, const struct segment_id *id, struct buf *header, struct s3pve_error *err
) {
    struct store *store = ctx;

    return headers_get(store->headers, id, header, err);
}

/* ----------------------------------------------------------- node's concerns */

struct watched {
    struct store *store;
    const struct volume_node *owner;
};

/* Who closes it writes his lease no more, if it was his last: then the root alone tells. */
static bool has_let_go(void *ctx) {
    const struct watched *watched = ctx;
    _cleanup_(root_clear) struct root root = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char etag[ETAG_ROOM];

    if (store_root(watched->store, &root, etag, &err) < 0)
        return err.code == S3PVE_E_NOT_FOUND;
    return root.owner.state == ROOT_CLOSED || strcmp(root.owner.node, watched->owner->name) != 0;
}

static int owner_lives(
    void *ctx, const char *node, const char *incarnation, bool *ret_lives, struct s3pve_error *err
) {
    struct store *store = ctx;
    struct volume_node owner = {0};
    struct watched watched = {store, &owner};
    struct lease_watch watch = {
        .call.cancel = store->cancel, .has_let_go = has_let_go, .ctx = &watched};

    if (store->until_ms)
        watch.call.timeout_ms = store_left_ms(store);
    snprintf(owner.name, sizeof(owner.name), "%s", node);
    snprintf(owner.incarnation, sizeof(owner.incarnation), "%s", incarnation);
    return lease_owner_lives(store->lease, &owner, &watch, ret_lives, err);
}

static int superblocks_read(
    void *ctx, uint8_t blocks[2 * BLOCK], uint64_t *ret_ring_len, struct s3pve_error *err
) {
    struct store *store = ctx;

    *ret_ring_len = journal_file_ring_len(store->journal);
    return journal_file_superblocks(store->journal, blocks, err);
}

static int superblock_write(
    void *ctx, const struct superblock *superblock, struct s3pve_error *err
) {
    struct store *store = ctx;

    return journal_file_write_superblock(store->journal, superblock, err);
}

static int ring_read(void *ctx, uint64_t place, void *data, size_t len, struct s3pve_error *err) {
    struct store *store = ctx;

    return journal_file_read(store->journal, place, data, len, err);
}

static int ring_write(
    void *ctx, uint64_t place, const void *data, size_t len, struct s3pve_error *err
) {
    struct store *store = ctx;
    struct iovec iov = {(void *)data, len};

    if (journal_file_write(store->journal, place, &iov, 1, err) < 0)
        return -1;
    return journal_file_sync(store->journal, err);
}

static int journal_set_aside(
    void *ctx, uint64_t jseq_first, uint64_t jseq_last, struct s3pve_error *err
) {
    struct store *store = ctx;

    client_log(
        store->client,
        S3PVE_LOG_ERROR,
        "volume",
        store->folder,
        "this node's journal is of a lost epoch and is kept aside, from record %" PRIu64 " on",
        jseq_first
    );
    return journal_file_set_aside(store->journal, jseq_first, err);
}

static uint32_t store_random(void *ctx) {
    uint32_t value = 0;

    while (getrandom(&value, sizeof(value), 0) != sizeof(value))
        ;
    return value;
}

const struct volume_store store_ops = {
    .root_get = root_get,
    .root_put = root_put,
    .root_delete = root_delete,
    .log_list = log_list,
    .header_get = header_get,
    .pages_get = store_pages_get,
    .object_get = store_object_get,
    .object_put = store_object_put,
    .objects_list = store_objects_list,
    .objects_delete = store_objects_delete,
    .owner_lives = owner_lives,
    .superblocks_read = superblocks_read,
    .superblock_write = superblock_write,
    .ring_read = ring_read,
    .ring_write = ring_write,
    .journal_set_aside = journal_set_aside,
    .random = store_random,
};
