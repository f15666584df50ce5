/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/error.h"
#include "images/state.h"
#include "images/trash.h"

#define FOLDER ".s3pve/trash/"
#define FORMAT "trash"
#define NOTE_MAX 4096 /* bytes of a note */

/* ----------------------------------------------------------------- in it goes */

static void key_of(const struct idle *idle, char key[LIMIT_KEY]) {
    char uuid[STATE_UUID];

    state_uuid(idle->root.uuid, uuid);
    snprintf(key, LIMIT_KEY, FOLDER "%s.json", uuid);
}

static int write_note(struct idle *idle, struct s3pve_error *err) {
    struct s3pve_call call = store_call(&idle->store);
    struct s3pve_put_options options = {.content_type = "application/json"};
    json_t *json = json_pack(
        "{s:s, s:i, s:s, s:s, s:I}",
        "format",
        FORMAT,
        "version",
        1,
        "folder",
        idle->store.folder,
        "data",
        idle->store.data,
        "deleted",
        (json_int_t)clock_wall_s()
    );
    _free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    char key[LIMIT_KEY];

    json_decref(json);
    if (!text)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a note");
    key_of(idle, key);
    return s3pve_object_put(
        idle->store.client, key, text, strlen(text), &options, NULL, &call, err
    );
}

int trash_finish(struct idle *idle, struct s3pve_error *err) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (write_note(idle, err) < 0)
        return -1;
    if (volume_delete_root(&store_ops, &idle->store, &idle->root, &cause) == 0 ||
        cause.code == S3PVE_E_NOT_FOUND || cause.code == S3PVE_E_CONFLICT)
        return 0; /* the last two: somebody else did */
    if (err)
        *err = cause;
    return -1;
}

/* ------------------------------------------------------------- out of it again */

/* Nothing but a volume's data directory: "images/100/vm-100-disk-0/d-0123abcd". */
static bool is_data(const char *path) {
    const char *slash = strrchr(path, '/');
    char folder[ROOT_FOLDER], name[S3PVE_VOLUME_NAME];

    if (!slash || slash - path >= ROOT_FOLDER || strlen(slash) != 11 ||
        strncmp(slash, "/d-", 3) != 0 || strspn(slash + 3, "0123456789abcdef") != 8)
        return false;
    snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
    return names_of_folder(folder, name);
}

static int read_note(struct store *store, const char *key, struct s3pve_error *err) {
    struct s3pve_call call = store_call(store);
    _free_ char *text = NULL;
    const char *format, *data;
    json_t *json;
    size_t len;
    bool good;

    if (s3pve_object_get(store->client, key, NOTE_MAX, &text, &len, NULL, &call, err) < 0)
        return -1;
    json = json_loadb(text, len, 0, NULL);
    format = json_string_value(json_object_get(json, "format"));
    data = json_string_value(json_object_get(json, "data"));
    good = format && strcmp(format, FORMAT) == 0 && data && is_data(data);
    if (good)
        snprintf(store->data, sizeof(store->data), "%s", data);
    json_decref(json);
    return good ? 0 : error_set(err, S3PVE_E_CORRUPT, "%s is no note of a deleted volume", key);
}

static int empty_one(struct store *store, const char *key, struct s3pve_error *err) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    struct s3pve_call call;

    if (read_note(store, key, &cause) < 0) {
        if (cause.code == S3PVE_E_NOT_FOUND) /* somebody else did */
            return 0;
        if (cause.code == S3PVE_E_CORRUPT) {
            client_log(store->client, S3PVE_LOG_WARNING, "trash", key, "%s", cause.message);
            return 0;
        }
        if (err)
            *err = cause;
        return -1;
    }
    if (volume_delete_objects(&store_ops, store, err) < 0)
        return -1;
    call = store_call(store);
    return s3pve_object_delete(store->client, key, &call, err);
}

_public_ int s3pve_volume_empty_trash(
    struct s3pve_client *client, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct store store = {
        .client = client,
        .cancel = call ? call->cancel : NULL,
        .until_ms = idle_until_ms(client, call),
    };
    struct s3pve_call page = store_call(&store);
    struct s3pve_list *list = NULL;
    struct s3pve_entry entry;
    int rc;

    if (s3pve_list_open(client, FOLDER, NULL, NULL, &list, &page, err) < 0)
        return -1;
    while ((rc = s3pve_list_next(list, &entry, err)) > 0)
        if (empty_one(&store, entry.key, err) < 0) {
            rc = error_wrap(err, "%s", entry.key);
            break;
        }
    s3pve_list_close(list);
    return rc;
}
