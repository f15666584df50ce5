/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "volume/root.h"

#define FORMAT "vdisk"
#define VERSION 1
#define UUID_TEXT 37

static const char *const state_names[] = {
    [ROOT_CLOSED] = "closed",
    [ROOT_CLAIMING] = "claiming",
    [ROOT_OPEN] = "open",
};

void root_clear(struct root *root) {
    json_decref(root->json);
    free(root->epochs);
    *root = (struct root){0};
}

/* ------------------------------------------------------------ small members */

static void uuid_text(char text[UUID_TEXT], const uint8_t uuid[UUID_LEN]) {
    char *at = text;

    for (unsigned i = 0; i < UUID_LEN; i++)
        at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
}

static bool uuid_parse(const char *text, uint8_t uuid[UUID_LEN]) {
    char again[UUID_TEXT];
    const char *at = text;

    for (unsigned i = 0; i < UUID_LEN; i++) {
        unsigned byte;

        at += *at == '-';
        if (sscanf(at, "%2x", &byte) != 1)
            return false;
        uuid[i] = (uint8_t)byte;
        at += 2;
    }
    uuid_text(again, uuid);
    return strcmp(text, again) == 0;
}

/* A whole number that cannot be taken for another one. */
static bool get_number(const json_t *object, const char *name, uint64_t max, uint64_t *ret) {
    const json_t *value = json_object_get(object, name);
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < 0 || (uint64_t)number > max)
        return false;
    *ret = (uint64_t)number;
    return true;
}

static bool get_text(const json_t *object, const char *name, char *text, size_t room) {
    const char *value = json_string_value(json_object_get(object, name));

    if (!value || strlen(value) >= room)
        return false;
    strcpy(text, value);
    return true;
}

/* A text, "" where it is null or missing. */
static bool get_maybe(const json_t *object, const char *name, char *text, size_t room) {
    const json_t *value = json_object_get(object, name);

    text[0] = '\0';
    return !value || json_is_null(value) || get_text(object, name, text, room);
}

/* Eight hex digits, which a reader in another language cannot get wrong as a number. */
static bool get_nonce(const json_t *object, uint32_t *ret) {
    char text[9], again[9];

    if (!get_text(object, "nonce", text, sizeof(text)) || sscanf(text, "%8" SCNx32, ret) != 1)
        return false;
    snprintf(again, sizeof(again), "%08" PRIx32, *ret);
    return strcmp(text, again) == 0;
}

/* ------------------------------------------------------------------- decode */

static bool get_owner(const json_t *json, struct root_owner *owner) {
    const json_t *object = json_object_get(json, "owner");
    char state[16];
    uint64_t epoch;

    if (!get_text(object, "state", state, sizeof(state)) ||
        !get_number(object, "epoch", UINT32_MAX, &epoch) || !get_nonce(object, &owner->nonce) ||
        !get_text(object, "node", owner->node, sizeof(owner->node)) ||
        !get_text(object, "incarnation", owner->incarnation, sizeof(owner->incarnation)))
        return false;
    owner->epoch = (uint32_t)epoch;
    for (int i = ROOT_CLOSED; i <= ROOT_OPEN; i++)
        if (strcmp(state, state_names[i]) == 0)
            return owner->state = (enum root_state)i, true;
    return false;
}

static bool get_epoch(const json_t *object, struct root_epoch *epoch) {
    uint64_t e;

    if (!get_number(object, "e", UINT32_MAX, &e) || !get_nonce(object, &epoch->nonce) ||
        !get_number(object, "first", INT64_MAX, &epoch->first) || !epoch->first)
        return false;
    epoch->epoch = (uint32_t)e;
    if (!json_object_get(object, "last"))
        return epoch->last = 0, true;
    return get_number(object, "last", INT64_MAX, &epoch->last) && epoch->last >= epoch->first - 1;
}

/* In order, and one after the other; only the last may not be over.  One without a segment ends
 * before it begins. */
static bool get_epochs(const json_t *json, struct root *root) {
    const json_t *array = json_object_get(json, "epochs");
    size_t n = json_array_size(array);

    if (!json_is_array(array) || n > ROOT_EPOCHS_MAX)
        return false;
    root->epochs = calloc(n + 1, sizeof(*root->epochs));
    if (!root->epochs)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct root_epoch *epoch = &root->epochs[i], *last = i ? epoch - 1 : NULL;

        if (!get_epoch(json_array_get(array, i), epoch))
            return false;
        if (last && (epoch->epoch <= last->epoch || epoch->first != last->last + 1))
            return false;
        root->n_epochs++;
    }
    return true;
}

static bool get_head(const json_t *json, struct root *root) {
    const json_t *head = json_object_get(json, "head");

    return get_number(head, "seq", INT64_MAX, &root->head_seq) &&
           get_maybe(head, "checkpoint", root->head_checkpoint, sizeof(root->head_checkpoint)) &&
           (root->head_seq == 0 || root->head_checkpoint[0]);
}

static bool get_members(const json_t *json, struct root *root) {
    char uuid[UUID_TEXT];
    uint64_t segment;

    if (!get_text(json, "uuid", uuid, sizeof(uuid)) || !uuid_parse(uuid, root->uuid) ||
        !get_number(json, "rev", INT64_MAX, &root->rev) ||
        !get_number(json, "size", VOLUME_BYTES_MAX, &root->size) || root->size % 512 ||
        !get_number(json, "object_size", SEGMENT_BLOCKS_MAX * (uint64_t)BLOCK, &segment) ||
        segment < BLOCK || segment % BLOCK)
        return false;
    root->segment_blocks = (uint32_t)(segment / BLOCK);
    root->read_only = json_array_size(json_object_get(json, "ro_compat")) != 0;
    root->deleting = json_is_true(json_object_get(json, "deleting"));
    return get_maybe(json, "moving_to", root->moving_to, sizeof(root->moving_to)) &&
           get_maybe(json, "moving_from", root->moving_from, sizeof(root->moving_from)) &&
           get_owner(json, &root->owner) && get_epochs(json, root) && get_head(json, root);
}

static bool is_newer(const json_t *json) {
    uint64_t block;

    return json_integer_value(json_object_get(json, "version")) != VERSION ||
           json_array_size(json_object_get(json, "incompat")) != 0 ||
           !get_number(json, "block", UINT32_MAX, &block) || block != BLOCK;
}

int root_decode(struct root *root, const char *text, size_t len, struct s3pve_error *err) {
    const char *format;

    *root = (struct root){0};
    if (len <= ROOT_BYTES_MAX)
        root->json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    format = json_string_value(json_object_get(root->json, "format"));
    if (!format || strcmp(format, FORMAT) != 0) {
        root_clear(root);
        return error_set(err, S3PVE_E_CORRUPT, "volume.json is not one");
    }
    if (is_newer(root->json)) {
        root_clear(root);
        return error_set(
            err, S3PVE_E_UNSUPPORTED, "the volume was written by a newer version: update this node"
        );
    }
    if (get_members(root->json, root))
        return 0;
    root_clear(root);
    return error_set(err, S3PVE_E_CORRUPT, "volume.json has members that cannot be");
}

int root_check_writable(const struct root *root, struct s3pve_error *err) {
    if (root->read_only)
        return error_set(
            err, S3PVE_E_UNSUPPORTED, "a newer version has to write to the volume: update this node"
        );
    if (root->deleting)
        return error_set(err, S3PVE_E_CONFLICT, "the volume is being deleted");
    if (root->moving_to[0] || root->moving_from[0])
        return error_set(err, S3PVE_E_CONFLICT, "the volume is being renamed");
    return 0;
}

/* ------------------------------------------------------------------- encode */

static json_t *nonce_json(uint32_t nonce) {
    return json_sprintf("%08" PRIx32, nonce);
}

static json_t *owner_json(const struct root_owner *owner) {
    return json_pack(
        "{s:s, s:I, s:o, s:s, s:s}",
        "state",
        state_names[owner->state],
        "epoch",
        (json_int_t)owner->epoch,
        "nonce",
        nonce_json(owner->nonce),
        "node",
        owner->node,
        "incarnation",
        owner->incarnation
    );
}

static json_t *epochs_json(const struct root *root) {
    json_t *array = json_array();

    for (uint32_t i = 0; i < root->n_epochs; i++) {
        const struct root_epoch *epoch = &root->epochs[i];
        json_t *object = json_pack(
            "{s:I, s:o, s:I}",
            "e",
            (json_int_t)epoch->epoch,
            "nonce",
            nonce_json(epoch->nonce),
            "first",
            (json_int_t)epoch->first
        );

        if (i + 1 < root->n_epochs || epoch->last)
            json_object_set_new(object, "last", json_integer((json_int_t)epoch->last));
        if (json_array_append_new(array, object) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *text_json(const char *text) {
    return text[0] ? json_string(text) : json_null();
}

/* Over what was read, so that members of others stay. */
static int set_members(json_t *json, const struct root *root) {
    char uuid[UUID_TEXT];
    int rc = 0;

    uuid_text(uuid, root->uuid);
    rc |= json_object_set_new(json, "format", json_string(FORMAT));
    rc |= json_object_set_new(json, "version", json_integer(VERSION));
    rc |= json_object_set_new(json, "uuid", json_string(uuid));
    rc |= json_object_set_new(json, "rev", json_integer((json_int_t)root->rev));
    rc |= json_object_set_new(json, "size", json_integer((json_int_t)root->size));
    rc |= json_object_set_new(json, "block", json_integer(BLOCK));
    rc |= json_object_set_new(
        json, "object_size", json_integer((json_int_t)root->segment_blocks * BLOCK)
    );
    rc |= json_object_set_new(json, "owner", owner_json(&root->owner));
    rc |= json_object_set_new(json, "epochs", epochs_json(root));
    rc |= json_object_set_new(
        json,
        "head",
        json_pack(
            "{s:I, s:o}",
            "seq",
            (json_int_t)root->head_seq,
            "checkpoint",
            text_json(root->head_checkpoint)
        )
    );
    rc |= json_object_set_new(json, "deleting", json_boolean(root->deleting));
    rc |= json_object_set_new(json, "moving_to", text_json(root->moving_to));
    json_object_del(json, "moving_from");
    if (root->moving_from[0])
        rc |= json_object_set_new(json, "moving_from", text_json(root->moving_from));
    return rc;
}

int root_encode(const struct root *root, char **ret_text, struct s3pve_error *err) {
    json_t *json = root->json ? json_deep_copy(root->json) : json_object();

    *ret_text = json && set_members(json, root) == 0 ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return *ret_text ? 0 : error_set(err, S3PVE_E_NOMEM, "no memory for volume.json");
}

/* ------------------------------------------------------------------- epochs */

const struct root_epoch *root_epoch_of(const struct root *root, uint64_t seq) {
    for (uint32_t i = 0; i < root->n_epochs; i++) {
        const struct root_epoch *epoch = &root->epochs[i];
        bool over = i + 1 < root->n_epochs || epoch->last;

        if (seq >= epoch->first && (!over || seq <= epoch->last))
            return epoch;
    }
    return NULL;
}

void root_forget_epochs(struct root *root) {
    uint32_t n = 0;

    while (n + 1 < root->n_epochs && root->epochs[n].last <= root->head_seq)
        n++;
    root->n_epochs -= n;
    memmove(root->epochs, root->epochs + n, root->n_epochs * sizeof(*root->epochs));
}

int root_add_epoch(struct root *root, uint64_t first) {
    struct root_epoch *epochs;

    if (root->n_epochs)
        root->epochs[root->n_epochs - 1].last = first - 1;
    root_forget_epochs(root);
    if (root->n_epochs >= ROOT_EPOCHS_MAX)
        return -1;
    epochs = reallocarray(root->epochs, root->n_epochs + 1, sizeof(*epochs));
    if (!epochs)
        return -1;
    root->epochs = epochs;
    epochs[root->n_epochs++] =
        (struct root_epoch){.epoch = root->owner.epoch, .nonce = root->owner.nonce, .first = first};
    return 0;
}
