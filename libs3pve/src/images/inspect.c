/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "images/inspect.h"

/* ------------------------------------------------------------ pages of the map */

struct page_job {
    struct crew_job job;
    struct inspect *inspect;
    const struct volume_page *page;
    uint8_t data[PAGE_BYTES_MAX];
    struct s3pve_error err;
};

static void get_page(void *arg) {
    struct page_job *job = arg;
    const struct volume_page *page = job->page;

    if (inspect_get(job->inspect, page->object, page->offset, job->data, page->len, &job->err) < 0)
        error_wrap(&job->err, "%s", page->object);
}

struct getting {
    struct page_job jobs[INSPECT_THREADS];
    int (*each)(void *ctx, uint32_t i, const struct buf *bytes, struct s3pve_error *err);
    void *ctx;
};

static int got_page(struct getting *getting, uint32_t i, struct s3pve_error *err) {
    _cleanup_(buf_clear) struct buf bytes = {0};
    struct page_job *job = &getting->jobs[i % INSPECT_THREADS];

    crew_wait(&job->inspect->crew, &job->job);
    if (job->err.code) {
        if (err)
            *err = job->err;
        return -1;
    }
    if (buf_add(&bytes, job->data, job->page->len) < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a page of the map");
    return getting->each(getting->ctx, i, &bytes, err);
}

static int pages_get(
    void *ctx,
    const struct volume_page *pages,
    uint32_t n,
    int (*each)(void *each_ctx, uint32_t i, const struct buf *bytes, struct s3pve_error *err),
    void *each_ctx,
    struct s3pve_error *err
) {
    _free_ struct getting *getting = calloc(1, sizeof(*getting));
    struct inspect *inspect = ctx;
    uint32_t asked = 0;
    int rc = 0;

    if (!getting)
        return error_set(err, S3PVE_E_NOMEM, "no memory for pages of the map");
    getting->each = each;
    getting->ctx = each_ctx;
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        for (; asked < n && asked < i + INSPECT_THREADS; asked++) {
            struct page_job *job = &getting->jobs[asked % INSPECT_THREADS];

            job->inspect = inspect;
            job->page = &pages[asked];
            crew_start(&inspect->crew, &job->job, get_page, job);
        }
        rc = got_page(getting, i, err);
    }
    for (uint32_t i = 0; i < INSPECT_THREADS; i++)
        crew_wait(&inspect->crew, &getting->jobs[i].job);
    return rc;
}

/* --------------------------------------------------------------------- root */

int inspect_begin(
    struct inspect *inspect,
    struct s3pve_client *client,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct store *store = &inspect->idle.store;

    *inspect = (struct inspect){.ops = store_ops};
    inspect->ops.pages_get = pages_get;
    crew_init(&inspect->crew);
    if (idle_begin(&inspect->idle, client, name, call, err) < 0)
        return -1;
    store->until_ms = 0;
    if (idle_read(&inspect->idle, err) < 0)
        return -1;
    store->headers = headers_new(client, store->data, store->cancel);
    return store->headers ? 0 : error_set(err, S3PVE_E_NOMEM, "no memory for a volume");
}

void inspect_end(struct inspect *inspect) {
    crew_clear(&inspect->crew);
    headers_free(inspect->idle.store.headers);
    idle_end(&inspect->idle);
}

void inspect_key(const struct inspect *inspect, const char *name, char key[INSPECT_KEY]) {
    const struct store *store = &inspect->idle.store;

    if (name)
        snprintf(key, INSPECT_KEY, "%s/%s", store->data, name);
    else
        snprintf(key, INSPECT_KEY, "%s/volume.json", store->folder);
}

bool inspect_is_damage(const struct s3pve_error *err) {
    return err->code == S3PVE_E_CORRUPT || err->code == S3PVE_E_NOT_FOUND ||
           err->code == S3PVE_E_UNSUPPORTED;
}

/* ------------------------------------------------------------------ objects */

int inspect_get(
    struct inspect *inspect,
    const char *name,
    uint64_t offset,
    void *data,
    size_t len,
    struct s3pve_error *err
) {
    size_t got = 0;

    if (store_get(&inspect->idle.store, name, offset, data, len, &got, err) < 0)
        return -1;
    if (got == len)
        return 0;
    return error_set(
        err,
        S3PVE_E_CORRUPT,
        "it ends at %llu, before what is to be there",
        (unsigned long long)(offset + got)
    );
}

/* The first @len bytes, which say themselves whether they are right: if not, they may have been
 * broken on their way only, and are read once more. */
static int get_header(
    struct inspect *inspect,
    const char *name,
    uint32_t len,
    int (*decode)(void *ctx, const uint8_t *header, uint32_t len, struct s3pve_error *err),
    void *ctx,
    struct s3pve_error *err
) {
    _free_ uint8_t *header = malloc(len);
    struct s3pve_error why = S3PVE_ERROR_INIT;

    if (!header)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a header");
    for (unsigned i = 0; i < 2; i++) {
        why = S3PVE_ERROR_INIT;
        if (inspect_get(inspect, name, 0, header, len, &why) == 0 &&
            decode(ctx, header, len, &why) == 0)
            return 0;
        if (why.code != S3PVE_E_CORRUPT)
            break;
    }
    if (err)
        *err = why;
    return -1;
}

struct decoding {
    const struct inspect *inspect;
    const struct segment_id *id;
    struct segment *segment;
    uint8_t *hash; /* or NULL */
    const struct map_id *map_id;
    struct map_object *object;
};

static int decode_segment(void *ctx, const uint8_t *header, uint32_t len, struct s3pve_error *err) {
    const struct decoding *d = ctx;

    if (d->hash)
        segment_hash(header, len, d->hash);
    return segment_decode(d->segment, header, len, d->id, d->inspect->idle.root.uuid, err);
}

int inspect_header(
    struct inspect *inspect,
    const struct segment_id *id,
    uint32_t header_len,
    struct segment *ret_segment,
    uint8_t *ret_hash,
    struct s3pve_error *err
) {
    struct decoding decoding = {
        .inspect = inspect, .id = id, .segment = ret_segment, .hash = ret_hash};
    char name[SEGMENT_NAME];

    *ret_segment = (struct segment){.extents = NULL};
    if (!header_len || header_len > SEGMENT_HEADER_MAX)
        return error_set(err, S3PVE_E_CORRUPT, "the map has an impossible header for it");
    segment_name(name, id);
    return get_header(inspect, name, header_len, decode_segment, &decoding, err);
}

int inspect_next_header(
    struct inspect *inspect,
    const struct segment_id *id,
    struct segment *ret_segment,
    uint8_t ret_hash[HASH_LEN],
    struct s3pve_error *err
) {
    _cleanup_(buf_clear) struct buf header = {0};
    struct decoding decoding = {
        .inspect = inspect, .id = id, .segment = ret_segment, .hash = ret_hash};
    uint32_t len;

    *ret_segment = (struct segment){.extents = NULL};
    if (headers_get(inspect->idle.store.headers, id, &header, err) < 0)
        return -1;
    len = (uint32_t)header.len;
    if (decode_segment(&decoding, (const uint8_t *)header.data, len, NULL) == 0)
        return 0;
    return inspect_header(inspect, id, len, ret_segment, ret_hash, err);
}

static int decode_map(void *ctx, const uint8_t *header, uint32_t len, struct s3pve_error *err) {
    const struct decoding *d = ctx;

    return map_object_decode(d->object, header, len, d->map_id, d->inspect->idle.root.uuid, err);
}

int inspect_map_header(
    struct inspect *inspect,
    const struct table_row *row,
    struct map_object *ret_object,
    struct s3pve_error *err
) {
    struct map_id id = {row->id, row->part};
    struct decoding decoding = {.inspect = inspect, .map_id = &id, .object = ret_object};
    char name[OBJECT_NAME];

    *ret_object = (struct map_object){.pages = NULL};
    if (!row->header_len || row->header_len > map_object_header_len(MAP_PAGES_MAX))
        return error_set(err, S3PVE_E_CORRUPT, "the map has an impossible header for it");
    map_name(name, &id);
    return get_header(inspect, name, row->header_len, decode_map, &decoding, err);
}

int inspect_list(
    struct inspect *inspect,
    const char *prefix,
    int (*each)(void *ctx, const char *name, uint64_t size),
    void *ctx,
    struct s3pve_error *err
) {
    const struct store *store = &inspect->idle.store;
    struct s3pve_call call = {.timeout_ms = VOLUME_CALL_MS, .cancel = store->cancel};
    struct s3pve_list *list = NULL;
    struct s3pve_entry entry;
    char below[INSPECT_KEY];
    int rc, said = 0;

    snprintf(below, sizeof(below), "%s/%s", store->data, prefix);
    if (s3pve_list_open(store->client, below, NULL, NULL, &list, &call, err) < 0)
        return -1;
    while (said == 0 && (rc = s3pve_list_next(list, &entry, err)) > 0)
        said = each(ctx, entry.key + strlen(store->data) + 1, entry.info.size);
    s3pve_list_close(list);
    if (said < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for names");
    return said ? said : rc;
}
