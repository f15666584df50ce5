/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bucket.h"

void bucket_init(struct bucket *bucket, struct world *world) {
    *bucket = (struct bucket){.world = world};
}

void bucket_clear(struct bucket *bucket) {
    for (size_t i = 0; i < bucket->n_objects; i++)
        free(bucket->objects[i].data);
    free(bucket->objects);
    free(bucket->root);
}

/* Where @name is or would be. */
static size_t seek(const struct bucket *bucket, const char *name) {
    size_t i = bucket->n_objects;

    while (i > 0 && strcmp(bucket->objects[i - 1].name, name) >= 0)
        i--;
    return i;
}

const struct sim_object *bucket_find(const struct bucket *bucket, const char *name) {
    size_t i = seek(bucket, name);

    if (i == bucket->n_objects || strcmp(bucket->objects[i].name, name) != 0)
        return NULL;
    return &bucket->objects[i];
}

void bucket_put(struct bucket *bucket, const char *name, uint8_t *data, size_t len) {
    size_t i = seek(bucket, name);
    struct sim_object *object;

    world_note(bucket->world, "bucket has %s", name);
    if (bucket_find(bucket, name)) {
        object = &bucket->objects[i];
        must_hold(
            bucket->world,
            object->len == len && memcmp(object->data, data, len) == 0,
            "(I3) %s is written with other bytes",
            name
        );
        free(data);
        return;
    }
    bucket->objects = realloc(bucket->objects, (bucket->n_objects + 1) * sizeof(*bucket->objects));
    memmove(
        &bucket->objects[i + 1],
        &bucket->objects[i],
        (bucket->n_objects - i) * sizeof(*bucket->objects)
    );
    bucket->n_objects++;
    object = &bucket->objects[i];
    strcpy(object->name, name);
    object->data = data;
    object->len = len;
}

bool bucket_delete(struct bucket *bucket, const char *name) {
    size_t i = seek(bucket, name);

    if (!bucket_find(bucket, name))
        return false;
    world_note(bucket->world, "bucket has %s no more", name);
    free(bucket->objects[i].data);
    bucket->n_objects--;
    memmove(
        &bucket->objects[i],
        &bucket->objects[i + 1],
        (bucket->n_objects - i) * sizeof(*bucket->objects)
    );
    return true;
}

void bucket_etag(const struct bucket *bucket, char etag[ETAG_ROOM]) {
    snprintf(etag, ETAG_ROOM, bucket->root ? "%llu" : "", (unsigned long long)bucket->root_version);
}

bool bucket_swap(struct bucket *bucket, const char *etag, const char *text) {
    struct root root;
    char now[ETAG_ROOM];

    bucket_etag(bucket, now);
    if (strcmp(now, etag) != 0)
        return false;
    free(bucket->root);
    bucket->root = text ? strdup(text) : NULL;
    bucket->root_version++;
    world_note(bucket->world, "root %s", text ? text : "is gone");
    if (text && root_decode(&root, text, strlen(text), NULL) == 0) {
        bucket->owner_nonce = root.owner.nonce;
        bucket->deleting = root.deleting;
        root_clear(&root);
    }
    return true;
}
