/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "core/error.h"
#include "images/rename.h"
#include "images/trash.h"
#include "volume/swap.h"

#define SETTLE_TRIES 3

int64_t idle_until_ms(const struct s3pve_client *client, const struct s3pve_call *call) {
    unsigned ms = call && call->timeout_ms ? call->timeout_ms : client->config.timeout_ms;

    return clock_monotonic_ms() + ms;
}

int idle_begin(
    struct idle *idle,
    struct s3pve_client *client,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    *idle = (struct idle){.store = {.client = client, .cancel = call ? call->cancel : NULL}};
    if (s3pve_volume_check_name(name, err) < 0)
        return -1;
    names_folder(name, idle->store.folder);
    idle->store.until_ms = idle_until_ms(client, call);
    return 0;
}

int idle_read(struct idle *idle, struct s3pve_error *err) {
    root_clear(&idle->root);
    return store_root(&idle->store, &idle->root, idle->etag, err);
}

static int settle_once(struct idle *idle, struct s3pve_error *err) {
    if (idle->root.deleting)
        return trash_finish(idle, err);
    return idle->root.moving_to[0] ? rename_finish(idle, err) : rename_arrive(idle, err);
}

int idle_settle(struct idle *idle, struct s3pve_error *err) {
    for (int i = 0; i < SETTLE_TRIES; i++) {
        struct s3pve_error cause = S3PVE_ERROR_INIT;

        if (idle_read(idle, err) < 0)
            return -1;
        if (!idle->root.deleting && !idle->root.moving_to[0] && !idle->root.moving_from[0])
            return 0;
        if (settle_once(idle, &cause) == 0 || cause.code == S3PVE_E_CONFLICT)
            continue;
        if (err)
            *err = cause;
        return -1;
    }
    return error_set(err, S3PVE_E_CONFLICT, "others delete or rename the volume");
}

void idle_end(struct idle *idle) {
    root_clear(&idle->root);
}

/* --------------------------------------------------------- what a root tells */

bool idle_is_file(const struct root *root) {
    return json_is_integer(json_object_get(root->json, "length"));
}

uint64_t idle_length(const struct root *root) {
    json_int_t length = json_integer_value(json_object_get(root->json, "length"));

    return length < 0 || (uint64_t)length > root->size ? root->size : (uint64_t)length;
}

static enum s3pve_volume_state state_of(const struct root *root) {
    static const enum s3pve_volume_state states[] = {
        [ROOT_CLOSED] = S3PVE_VOLUME_CLOSED,
        [ROOT_CLAIMING] = S3PVE_VOLUME_CLAIMED,
        [ROOT_OPEN] = S3PVE_VOLUME_OPEN,
    };

    return root->moving_to[0] ? S3PVE_VOLUME_MOVING : states[root->owner.state];
}

void idle_info(const char *name, const struct root *root, struct s3pve_volume_info *ret_info) {
    *ret_info = (struct s3pve_volume_info){
        .is_file = idle_is_file(root),
        .size = idle_is_file(root) ? idle_length(root) : root->size,
        .created = json_integer_value(json_object_get(root->json, "created")),
        .state = state_of(root),
    };
    snprintf(ret_info->name, sizeof(ret_info->name), "%s", name);
    if (root->owner.state != ROOT_CLOSED)
        snprintf(ret_info->node, sizeof(ret_info->node), "%s", root->owner.node);
}

/* --------------------------------------------------------------------- calls */

static int make_root(struct root *root, uint64_t size, struct s3pve_error *err) {
    bool is_file = size == S3PVE_VOLUME_FILE;

    *root = (struct root){.size = is_file ? FILE_ROOM : size, .segment_blocks = SEGMENT_BLOCKS};
    if (getrandom(root->uuid, UUID_LEN, 0) != UUID_LEN)
        return error_set(err, S3PVE_E_IO, "no random bytes");
    root->json = json_pack("{s:I}", "created", (json_int_t)clock_wall_s());
    if (!root->json ||
        (is_file && json_object_set_new(root->json, "length", json_integer(0)) < 0)) {
        root_clear(root);
        return error_set(err, S3PVE_E_NOMEM, "no memory for a volume");
    }
    return 0;
}

/* What has the name may be about to lose it. */
static int create(struct idle *idle, struct s3pve_error *err) {
    _cleanup_(idle_end) struct idle there = {.store = idle->store};
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (volume_create(&store_ops, &idle->store, &idle->root, &cause) == 0)
        return 0;
    if (cause.code == S3PVE_E_CONFLICT) {
        if (idle_settle(&there, &cause) == 0)
            return error_set(err, S3PVE_E_CONFLICT, "there already is a volume of that name");
        if (cause.code == S3PVE_E_NOT_FOUND)
            return volume_create(&store_ops, &idle->store, &idle->root, err);
    }
    if (err)
        *err = cause;
    return -1;
}

_public_ int s3pve_volume_create(
    struct s3pve_client *client,
    const char *name,
    uint64_t size,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(idle_end) struct idle idle;
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (idle_begin(&idle, client, name, call, err) < 0)
        return -1;
    if (size != S3PVE_VOLUME_FILE && (!size || size % 512 || size > VOLUME_BYTES_MAX))
        return error_set(
            err,
            S3PVE_E_INVALID,
            "%s: its size must be whole sectors of 512 bytes, at least one",
            name
        );
    if (make_root(&idle.root, size, &cause) == 0 && create(&idle, &cause) == 0)
        return 0;
    if (err)
        *err = cause;
    return error_wrap(err, "%s", name);
}

int idle_look(
    struct idle *idle,
    struct s3pve_client *client,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    if (idle_begin(idle, client, name, call, err) < 0)
        return -1;
    if (idle_read(idle, err) < 0)
        return error_wrap(err, "%s", name);
    if (idle->root.deleting)
        return error_set(err, S3PVE_E_NOT_FOUND, "%s is being deleted", name);
    return 0;
}

_public_ int s3pve_volume_stat(
    struct s3pve_client *client,
    const char *name,
    struct s3pve_volume_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(idle_end) struct idle idle;

    if (idle_look(&idle, client, name, call, err) < 0)
        return -1;
    idle_info(name, &idle.root, ret_info);
    return 0;
}

/* ----------------------------------------------------------------- deletion */

int idle_delete(
    struct idle *idle,
    const struct volume_node *me,
    const struct lease_times *times,
    struct s3pve_error *err
) {
    const struct volume_node nobody = {0};
    int rc;

    idle->store.lease = lease_new(idle->store.client, me ? me : &nobody, times);
    if (!idle->store.lease)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a volume");
    rc = idle_read(idle, err);
    if (rc == 0 && !idle->root.deleting)
        rc = idle_settle(idle, err);
    if (rc == 0)
        rc = volume_mark_deleted(&store_ops, &idle->store, me ? me : &nobody, &idle->root, err);
    if (rc == 0)
        rc = trash_finish(idle, err);
    idle->store.lease = lease_free(idle->store.lease);
    return rc;
}

_public_ int s3pve_volume_delete(
    struct s3pve_client *client,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(idle_end) struct idle idle;

    if (idle_begin(&idle, client, name, call, err) < 0)
        return -1;
    if (idle_delete(&idle, NULL, &lease_times, err) < 0)
        return error_wrap(err, "%s", name);
    return 0;
}
