/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "images/rawcopy.h"
#include "volume/forward.h"
#include "volume/load.h"
#include "volume/machine.h"

struct copy {
    struct inspect inspect; /* first */
    const struct s3pve_volume_export *how;
    const char *name;
    struct copy_source source;
    struct volume *volume;    /* owned; takes no requests: its map is what there is of it */
    struct copy_leaf *leaves; /* owned; INSPECT_THREADS of them */
    uint64_t size;            /* bytes of the disk */
    bool sparse;              /* into a file that is empty */
};

/* ------------------------------------------------------------------- output */

static int fail_write(struct s3pve_error *err) {
    int errnum = errno;

    error_set(err, errnum == ENOSPC ? S3PVE_E_NO_SPACE : S3PVE_E_IO, "%s", strerror(errnum));
    if (err)
        err->errnum = errnum;
    return -1;
}

static int write_at(
    const struct copy *copy, const uint8_t *data, size_t len, uint64_t at, struct s3pve_error *err
) {
    while (len) {
        ssize_t n = copy->sparse ? pwrite(copy->how->fd, data, len, (off_t)at)
                                 : write(copy->how->fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_write(err);
        data += n;
        len -= (size_t)n;
        at += (uint64_t)n;
    }
    return 0;
}

/* Blocks of a leaf, as far as they are of the disk. */
static int write_blocks(
    const struct copy *copy,
    const struct copy_leaf *leaf,
    uint32_t first,
    uint32_t n,
    struct s3pve_error *err
) {
    uint64_t at = leaf->index * COPY_LEAF + (uint64_t)first * BLOCK, len = (uint64_t)n * BLOCK;

    if (at >= copy->size)
        return 0;
    if (len > copy->size - at)
        len = copy->size - at;
    return write_at(copy, leaf->data + (size_t)first * BLOCK, (size_t)len, at, err);
}

static int write_leaf(
    const struct copy *copy, const struct copy_leaf *leaf, struct s3pve_error *err
) {
    int rc = 0;

    if (!copy->sparse)
        return write_blocks(copy, leaf, 0, MAP_LEAF, err);
    for (uint32_t i = 0; i < leaf->n_runs && rc == 0; i++)
        if (place_kind(leaf->runs[i].place) == PLACE_DATA)
            rc = write_blocks(copy, leaf, leaf->runs[i].start, leaf->runs[i].n, err);
    return rc;
}

static void tell_lost(const struct copy *copy, const struct copy_leaf *leaf) {
    for (uint32_t b = 0, n; b < MAP_LEAF; b += n) {
        uint64_t at = leaf->index * COPY_LEAF + (uint64_t)b * BLOCK;

        for (n = 1; b + n < MAP_LEAF && leaf->lost[b + n] == leaf->lost[b]; n++)
            ;
        if (!leaf->lost[b] || at >= copy->size)
            continue;
        copy->how->lost(
            copy->how->ctx,
            at,
            copy->size - at < (uint64_t)n * BLOCK ? copy->size - at : (uint64_t)n * BLOCK,
            leaf->why.message
        );
    }
}

static void advance(const struct copy *copy, uint64_t len) {
    if (copy->how->progress)
        __atomic_fetch_add(copy->how->progress, len, __ATOMIC_RELAXED);
}

static int end_leaf(struct copy *copy, struct copy_leaf *leaf, struct s3pve_error *err) {
    uint64_t at = leaf->index * COPY_LEAF, left = copy->size - at;

    if (!leaf->begun)
        return 0;
    crew_wait(&copy->inspect.crew, &leaf->job);
    leaf->begun = false;
    if (leaf->why.code && !leaf->any_lost) {
        if (err)
            *err = leaf->why;
        return -1;
    }
    if (leaf->any_lost)
        tell_lost(copy, leaf);
    if (write_leaf(copy, leaf, err) < 0)
        return -1;
    advance(copy, left < COPY_LEAF ? left : COPY_LEAF);
    return 0;
}

/* ------------------------------------------------------------------- leaves */

static void note_run(void *ctx, uint64_t block, uint32_t n, place_t place) {
    struct copy_leaf *leaf = ctx;

    leaf->runs[leaf->n_runs++] =
        (struct page_run){(uint16_t)(block % MAP_LEAF), (uint16_t)n, place};
}

static int bring_node(struct copy *copy, const struct page_id *id, struct s3pve_error *err) {
    _cleanup_(buf_clear) struct buf bytes = {0};
    struct volume *volume = copy->volume;
    struct volume_page page;
    uint8_t data[PAGE_BYTES_MAX];

    want_place(volume, id, &page);
    if (inspect_get(&copy->inspect, page.object, page.offset, data, page.len, err) < 0)
        return error_wrap(err, "%s", page.object);
    if (buf_add(&bytes, data, page.len) < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a page of the map");
    if (leaves_bring(&volume->leaves, volume->map, &volume->table, id, &bytes, err) < 0)
        return error_wrap(err, "%s: node %" PRIu32 " of the map", page.object, id->index);
    return 0;
}

/* What says which places the leaf has: its runs, or the page they are in.  Return: 0, or -1. */
static int find_places(struct copy *copy, struct copy_leaf *leaf, struct s3pve_error *err) {
    struct volume *volume = copy->volume;
    uint64_t block = leaf->index * MAP_LEAF;
    struct page_id missing;

    leaf->n_runs = 0;
    leaf->has_page = false;
    for (unsigned i = 0; !leaves_have(&volume->leaves, block, &missing); i++) {
        leaf->has_page = missing.kind == PAGE_LEAF;
        if (leaf->has_page)
            return want_place(volume, &missing, &leaf->page), 0;
        if (bring_node(copy, &missing, err) < 0)
            return -1;
    }
    map_each(volume->map, block, block + MAP_LEAF, note_run, leaf);
    return 0;
}

/* Its leaves cannot be found: they are lost, one after the other. */
static int lose_leaf(struct copy *copy, struct copy_leaf *leaf, struct s3pve_error *err) {
    if (!copy->how->lost || !inspect_is_damage(err))
        return -1;
    leaf->why = *err;
    leaf->any_lost = true;
    memset(leaf->lost, true, sizeof(leaf->lost));
    memset(leaf->data, 0, COPY_LEAF);
    *err = S3PVE_ERROR_INIT;
    return 0;
}

static int begin_leaf(struct copy *copy, uint64_t index, struct s3pve_error *err) {
    struct copy_leaf *leaf = &copy->leaves[index % INSPECT_THREADS];
    struct s3pve_error why = S3PVE_ERROR_INIT;

    if (end_leaf(copy, leaf, err) < 0)
        return -1;
    leaf->index = index;
    leaf->why = S3PVE_ERROR_INIT;
    leaf->any_lost = false;
    memset(leaf->lost, 0, sizeof(leaf->lost));
    leaf->begun = true;
    if (find_places(copy, leaf, &why) < 0) {
        leaf->begun = lose_leaf(copy, leaf, &why) == 0;
        if (!leaf->begun && err)
            *err = why;
        return leaf->begun ? 0 : -1;
    }
    crew_start(&copy->inspect.crew, &leaf->job, copy_leaf_fetch, leaf);
    return 0;
}

static int copy_leaves(struct copy *copy, struct s3pve_error *err) {
    uint64_t n = (copy->size + COPY_LEAF - 1) / COPY_LEAF, i;
    int rc = 0;

    for (i = 0; i < n && rc == 0; i++)
        rc = begin_leaf(copy, i, err);
    for (uint64_t k = i; k < i + INSPECT_THREADS; k++) {
        struct copy_leaf *leaf = &copy->leaves[k % INSPECT_THREADS];

        if (rc == 0)
            rc = end_leaf(copy, leaf, err);
        else if (leaf->begun)
            crew_wait(&copy->inspect.crew, &leaf->job);
    }
    return rc;
}

/* ---------------------------------------------------------------------- map */

/* Counts of what lives are of no use to who only reads, and may be wrong. */
static void forget_counts(struct table *table) {
    for (uint32_t i = 0; i < table->n_rows; i++)
        table->rows[i].live = INT32_MAX;
}

static int roll(struct copy *copy, struct s3pve_error *err) {
    struct idle *idle = &copy->inspect.idle;
    _cleanup_(forward_clear) struct forward log = {
        .volume = copy->volume,
        .store = &copy->inspect.ops,
        .ctx = &idle->store,
        .root = &idle->root};
    struct s3pve_error why = S3PVE_ERROR_INIT;
    char text[sizeof(why.message)];

    if (forward_list(&log, err) < 0)
        return -1;
    if (forward_roll(&log, &why) == 0)
        return 0;
    if (!copy->how->lost || !inspect_is_damage(&why)) {
        if (err)
            *err = why;
        return -1;
    }
    snprintf(text, sizeof(text), "%.400s: what was written from then on is lost", why.message);
    copy->how->lost(copy->how->ctx, 0, 0, text);
    return 0;
}

static int load(struct copy *copy, struct s3pve_error *err) {
    struct idle *idle = &copy->inspect.idle;
    struct volume_params params = {.size = idle->root.size, .map_memory = VOLUME_MAP_MEMORY};

    memcpy(params.uuid, idle->root.uuid, UUID_LEN);
    copy->volume = volume_new(&params, NULL, NULL);
    if (!copy->volume)
        return error_set(err, S3PVE_E_NOMEM, "no memory for the map");
    if (load_checkpoint(copy->volume, &copy->inspect.ops, &idle->store, &idle->root, err) < 0)
        return -1;
    forget_counts(&copy->volume->table);
    return roll(copy, err);
}

/* When the last of it was stored, by the store's clock: for people. */
static int64_t as_of(struct copy *copy) {
    const struct store *store = &copy->inspect.idle.store;
    struct s3pve_call call = {.timeout_ms = VOLUME_CALL_MS, .cancel = store->cancel};
    const struct table *table = &copy->volume->table;
    char name[OBJECT_NAME], key[INSPECT_KEY];
    struct s3pve_info info = {0};

    for (uint32_t i = 0; i < table->n_rows && !info.mtime; i++) {
        if (table->rows[i].id.seq != copy->volume->tip || table->rows[i].type == OBJECT_MAP)
            continue;
        table_name(name, &table->rows[i]);
        inspect_key(&copy->inspect, name, key);
        (void)s3pve_object_head(store->client, key, &info, &call, NULL);
    }
    return info.mtime;
}

/* ---------------------------------------------------------------------- all */

static int make_leaves(struct copy *copy, struct s3pve_error *err) {
    copy->source = (struct copy_source){
        .inspect = &copy->inspect,
        .table = &copy->volume->table,
        .salvage = copy->how->lost != NULL,
    };
    pthread_mutex_init(&copy->source.sums.lock, NULL);
    copy->leaves = calloc(INSPECT_THREADS, sizeof(*copy->leaves));
    for (uint32_t i = 0; copy->leaves && i < INSPECT_THREADS; i++) {
        struct copy_leaf *leaf = &copy->leaves[i];

        leaf->source = &copy->source;
        leaf->data = malloc(COPY_LEAF);
        leaf->range = malloc(COPY_LEAF);
        if (!leaf->data || !leaf->range)
            return error_set(err, S3PVE_E_NOMEM, "no memory for a copy");
    }
    return copy->leaves ? 0 : error_set(err, S3PVE_E_NOMEM, "no memory for a copy");
}

static void copy_clear(struct copy *copy) {
    inspect_end(&copy->inspect); /* no job is under way then */
    for (uint32_t i = 0; copy->leaves && i < INSPECT_THREADS; i++) {
        free(copy->leaves[i].data);
        free(copy->leaves[i].range);
    }
    if (copy->source.inspect)
        copy_sums_clear(&copy->source.sums);
    free(copy->leaves);
    volume_free(copy->volume);
}

static int open_output(struct copy *copy, struct s3pve_error *err) {
    struct stat stat;

    if (fstat(copy->how->fd, &stat) < 0)
        return fail_write(err);
    copy->sparse = S_ISREG(stat.st_mode) && stat.st_size == 0;
    if (copy->sparse && ftruncate(copy->how->fd, (off_t)copy->size) < 0)
        return fail_write(err);
    return 0;
}

/* Who has it open deletes, after ten minutes, what his next checkpoint does not need. */
static int tell_why(struct copy *copy, const char *checkpoint, struct s3pve_error *err) {
    struct s3pve_error why = *err;

    if (why.code != S3PVE_E_NOT_FOUND)
        return -1;
    if (idle_read(&copy->inspect.idle, NULL) == 0 && !copy->inspect.idle.root.deleting &&
        strcmp(checkpoint, copy->inspect.idle.root.head_checkpoint) == 0)
        return error_set(err, S3PVE_E_CORRUPT, "%.300s: it is missing in the bucket", why.message);
    return error_set(
        err,
        S3PVE_E_CONFLICT,
        "%.300s: it was deleted meanwhile, as the volume is in use",
        why.message
    );
}

static int run(struct copy *copy, struct s3pve_volume_copy *ret_copy, struct s3pve_error *err) {
    const struct root *root = &copy->inspect.idle.root;
    char checkpoint[ROOT_OBJECT];

    if (root->deleting)
        return error_set(err, S3PVE_E_NOT_FOUND, "it is being deleted");
    strcpy(checkpoint, root->head_checkpoint);
    idle_info(copy->name, root, &ret_copy->info);
    copy->size = ret_copy->info.size;
    if (load(copy, err) < 0 || make_leaves(copy, err) < 0 || open_output(copy, err) < 0)
        return tell_why(copy, checkpoint, err);
    ret_copy->as_of_s = as_of(copy);
    return copy_leaves(copy, err) < 0 ? tell_why(copy, checkpoint, err) : 0;
}

_public_ int s3pve_volume_export(
    struct s3pve_client *client,
    const char *name,
    const struct s3pve_volume_export *how,
    struct s3pve_volume_copy *ret_copy,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_error why = S3PVE_ERROR_INIT;
    struct copy copy = {.how = how, .name = name};
    struct s3pve_volume_copy ignored;
    int rc = inspect_begin(&copy.inspect, client, name, call, &why);

    if (rc == 0)
        rc = run(&copy, ret_copy ? ret_copy : &ignored, &why);
    copy_clear(&copy);
    if (rc == 0)
        return 0;
    if (err)
        *err = why;
    return error_wrap(err, "%s", name);
}
