/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "core/error.h"
#include "volume/mapobject.h"
#include "volume/pack.h"

#define VERSION 1
#define FIXED 128u
#define ENTRY_SIZE 16u
#define CRC_AT 16u

static const uint8_t magic[8] = "VDMAP\0\0\1";

void map_object_clear(struct map_object *object) {
    free(object->pages);
    *object = (struct map_object){0};
}

static uint64_t pages_len(const struct map_object *object) {
    uint64_t len = 0;

    for (uint32_t i = 0; i < object->n_pages; i++)
        len += object->pages[i].len;
    return len;
}

int map_object_encode(const struct map_object *object, struct buf *out) {
    uint32_t len = map_object_header_len(object->n_pages);
    _free_ uint8_t *header = calloc(1, len);
    uint8_t *at = header;

    if (!header)
        return -1;
    pack_bytes(&at, magic, sizeof(magic));
    pack_u16(&at, VERSION);
    pack_u16(&at, OBJECT_MAP);
    pack_u32(&at, len);
    at += 8; /* the sum, which comes last; flags */
    pack_bytes(&at, object->uuid, UUID_LEN);
    pack_u64(&at, object->id.at.seq);
    pack_u32(&at, object->id.at.epoch);
    pack_u32(&at, object->id.at.nonce);
    pack_u32(&at, object->id.part);
    pack_u32(&at, object->n_pages);
    pack_u64(&at, pages_len(object));
    at += 24; /* incompat, ro_compat, compat */
    pack_u64(&at, object->made_ns);
    at = header + FIXED;
    for (uint32_t i = 0; i < object->n_pages; i++) {
        pack_u32(&at, object->pages[i].kind);
        pack_u32(&at, object->pages[i].index);
        pack_u32(&at, object->pages[i].len);
        pack_u32(&at, object->pages[i].sum);
    }
    at = header + CRC_AT;
    pack_u32(&at, pack_sum(header, len, CRC_AT, 0));
    return buf_add(out, header, len);
}

/* ------------------------------------------------------------------- decode */

static int corrupt(const struct map_id *id, struct s3pve_error *err, const char *what) {
    char name[OBJECT_NAME];

    map_name(name, id);
    return error_set(err, S3PVE_E_CORRUPT, "%s: %s", name, what);
}

/* Its length by its own word, which its number of pages must agree with; 0: it is none. */
static uint32_t header_len(const uint8_t *header, size_t len) {
    const uint8_t *at = header + 12, *n_pages = header + 60;
    uint32_t claimed;

    if (len < FIXED || memcmp(header, magic, sizeof(magic)) != 0)
        return 0;
    claimed = unpack_u32(&at);
    if (claimed > len || claimed < FIXED || (claimed - FIXED) / ENTRY_SIZE > MAP_PAGES_MAX)
        return 0;
    return claimed == map_object_header_len(unpack_u32(&n_pages)) ? claimed : 0;
}

static const char *check_name(
    const struct map_object *object, const struct map_id *id, const uint8_t *uuid
) {
    if (memcmp(object->uuid, uuid, UUID_LEN) != 0)
        return "of another volume";
    if (object->id.at.seq != id->at.seq || object->id.at.epoch != id->at.epoch ||
        object->id.at.nonce != id->at.nonce || object->id.part != id->part)
        return "of another name";
    return NULL;
}

static bool unpack_entries(const uint8_t *at, struct map_object *object, uint32_t n) {
    for (; object->n_pages < n; object->n_pages++) {
        struct page_entry *entry = &object->pages[object->n_pages];

        entry->kind = unpack_u32(&at);
        entry->index = unpack_u32(&at);
        entry->len = unpack_u32(&at);
        entry->sum = unpack_u32(&at);
        if (entry->kind < PAGE_LEAF || entry->kind > PAGE_ROOT || !entry->len)
            return false;
    }
    return true;
}

/* Return: the flags that we would have to understand. */
static uint64_t unpack_fixed(const uint8_t *at, struct map_object *object, uint64_t *ret_len) {
    uint32_t part;
    uint64_t flags;

    at += 24;
    unpack_bytes(&at, object->uuid, UUID_LEN);
    object->id.at.seq = unpack_u64(&at);
    object->id.at.epoch = unpack_u32(&at);
    object->id.at.nonce = unpack_u32(&at);
    part = unpack_u32(&at);
    object->id.part = (uint16_t)part;
    at += 4; /* pages */
    *ret_len = unpack_u64(&at);
    flags = unpack_u64(&at);
    flags |= unpack_u64(&at);
    at += 8; /* compat */
    object->made_ns = unpack_u64(&at);
    return flags | part >> 16;
}

static int decode(
    struct map_object *object,
    const uint8_t *header,
    size_t len,
    const struct map_id *id,
    const uint8_t *uuid,
    struct s3pve_error *err
) {
    uint32_t all = header_len(header, len), n_pages;
    const uint8_t *sum = header + CRC_AT;
    uint64_t flags, claimed;
    const char *bad;

    if (!all)
        return corrupt(id, err, "no header");
    if (unpack_u32(&sum) != pack_sum(header, all, CRC_AT, 0))
        return corrupt(id, err, "the header's sum is wrong");
    flags = unpack_fixed(header, object, &claimed);
    if (header[8] != VERSION || header[9] || header[10] != OBJECT_MAP || header[11] || flags)
        return error_set(err, S3PVE_E_UNSUPPORTED, "the volume was written by a newer version");
    bad = check_name(object, id, uuid);
    if (bad)
        return corrupt(id, err, bad);
    n_pages = (all - FIXED) / ENTRY_SIZE;
    object->pages = calloc(n_pages + 1u, sizeof(*object->pages));
    if (!object->pages)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a checkpoint");
    if (!n_pages || !unpack_entries(header + FIXED, object, n_pages) ||
        pages_len(object) != claimed)
        return corrupt(id, err, "pages that cannot be");
    return 0;
}

int map_object_decode(
    struct map_object *object,
    const void *data,
    size_t len,
    const struct map_id *id,
    const uint8_t uuid[UUID_LEN],
    struct s3pve_error *err
) {
    *object = (struct map_object){0};
    if (decode(object, data, len, id, uuid, err) == 0)
        return 0;
    map_object_clear(object);
    return -1;
}
