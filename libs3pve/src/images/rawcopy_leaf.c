/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "base/crc32c.h"
#include "core/error.h"
#include "images/rawcopy.h"
#include "volume/machine.h"

#define GAP 16u /* blocks read for nothing rather than what is behind them apart */

/* --------------------------------------------------------------------- sums */

void copy_sums_clear(struct copy_sums *sums) {
    for (uint32_t i = 0; i < COPY_SUMS; i++)
        free(sums->slots[i].sums);
    pthread_mutex_destroy(&sums->lock);
}

/* A copy, as they may be forgotten at any time. */
static bool find_sums(struct copy_sums *all, uint32_t row, uint32_t *sums, uint32_t *ret_n) {
    LOCK_SCOPE(&all->lock);

    for (uint32_t i = 0; i < COPY_SUMS; i++) {
        const struct copy_sums_slot *slot = &all->slots[i];

        if (!slot->sums || slot->row != row)
            continue;
        memcpy(sums, slot->sums, slot->n * sizeof(*sums));
        *ret_n = slot->n;
        return true;
    }
    return false;
}

static void keep_sums(struct copy_sums *all, uint32_t row, struct segment *segment) {
    LOCK_SCOPE(&all->lock);
    struct copy_sums_slot *slot = &all->slots[all->next++ % COPY_SUMS];

    free(slot->sums);
    *slot = (struct copy_sums_slot){row, segment->n_data, steal_ptr(&segment->sums)};
}

static int get_sums(
    struct copy_source *source,
    uint32_t row,
    uint32_t *sums,
    uint32_t *ret_n,
    struct s3pve_error *err
) {
    _cleanup_(segment_clear) struct segment segment = {0};
    const struct table_row *r = &source->table->rows[row];

    if (find_sums(&source->sums, row, sums, ret_n))
        return 0;
    if (inspect_header(source->inspect, &r->id, r->header_len, &segment, NULL, err) < 0)
        return -1;
    if (segment.header_len != r->header_len)
        return error_set(err, S3PVE_E_CORRUPT, "its header is not as long as it should be");
    memcpy(sums, segment.sums, segment.n_data * sizeof(*sums));
    *ret_n = segment.n_data;
    keep_sums(&source->sums, row, &segment);
    return 0;
}

/* ------------------------------------------------------------------- groups */

/* Runs whose data lies near to each other in one segment. */
struct group {
    struct copy_leaf *leaf;
    const struct page_run *const *runs;
    uint32_t n;
    uint32_t row, first, n_blocks; /* of the segment's data */
    const uint32_t *sums;
    uint32_t n_sums;
};

static void lose(struct copy_leaf *leaf, uint32_t block, const struct s3pve_error *why) {
    if (!leaf->any_lost)
        leaf->why = *why;
    leaf->any_lost = true;
    leaf->lost[block] = true;
    memset(leaf->data + (size_t)block * BLOCK, 0, BLOCK);
}

/* Return: whether that is to be lived with. */
static bool lose_group(const struct group *group, const struct s3pve_error *why) {
    struct copy_leaf *leaf = group->leaf;

    if (!leaf->source->salvage || !inspect_is_damage(why)) {
        leaf->why = *why;
        leaf->any_lost = false;
        return false;
    }
    for (uint32_t i = 0; i < group->n; i++)
        for (uint32_t b = 0; b < group->runs[i]->n; b++)
            lose(leaf, group->runs[i]->start + b, why);
    return true;
}

static bool block_is_right(
    const struct group *group, const uint8_t *data, uint32_t block, uint32_t n_got
) {
    return block < group->n_sums && block - group->first < n_got &&
           crc32c(0, data + (size_t)(block - group->first) * BLOCK, BLOCK) == group->sums[block];
}

static bool all_are_right(const struct group *group, const uint8_t *data, uint32_t n_got) {
    for (uint32_t i = 0; i < group->n; i++)
        for (uint32_t b = 0; b < group->runs[i]->n; b++)
            if (!block_is_right(group, data, map_data(group->runs[i]->place) + b, n_got))
                return false;
    return true;
}

/* What is wrong is fetched twice: it may have been so on its way only. */
static int fetch_range(
    const struct group *group, uint8_t *data, uint32_t *ret_n_got, struct s3pve_error *err
) {
    const struct copy_source *source = group->leaf->source;
    const struct table_row *row = &source->table->rows[group->row];
    uint64_t at = row->header_len + (uint64_t)group->first * BLOCK;
    char name[OBJECT_NAME];
    size_t got = 0;

    table_name(name, row);
    for (unsigned i = 0; i < 2; i++) {
        size_t len = (size_t)group->n_blocks * BLOCK;

        if (store_get(&source->inspect->idle.store, name, at, data, len, &got, err) < 0)
            return -1;
        *ret_n_got = (uint32_t)(got / BLOCK);
        if (all_are_right(group, data, *ret_n_got))
            break;
    }
    return 0;
}

static void tell_damage(const struct group *group, uint32_t block, struct s3pve_error *why) {
    char name[OBJECT_NAME];

    table_name(name, &group->leaf->source->table->rows[group->row]);
    error_set(
        why, S3PVE_E_CORRUPT, "%s: block %" PRIu32 " of its data is damaged or missing", name, block
    );
}

/* To where it belongs, if it is not there already.  Return: whether all is well, or may be lost. */
static bool place(const struct group *group, const uint8_t *data, uint32_t n_got) {
    struct copy_leaf *leaf = group->leaf;

    for (uint32_t i = 0; i < group->n; i++) {
        const struct page_run *run = group->runs[i];

        for (uint32_t b = 0; b < run->n; b++) {
            uint32_t block = map_data(run->place) + b;
            uint8_t *to = leaf->data + (size_t)(run->start + b) * BLOCK;
            struct s3pve_error why = S3PVE_ERROR_INIT;

            if (block_is_right(group, data, block, n_got)) {
                if (to != data + (size_t)(block - group->first) * BLOCK)
                    memcpy(to, data + (size_t)(block - group->first) * BLOCK, BLOCK);
                continue;
            }
            tell_damage(group, block, &why);
            if (!leaf->source->salvage)
                return leaf->why = why, false;
            lose(leaf, run->start + b, &why);
        }
    }
    return true;
}

static bool fetch_group(struct group *group) {
    struct copy_leaf *leaf = group->leaf;
    uint32_t sums[SEGMENT_BLOCKS_MAX], n_got;
    struct s3pve_error why = S3PVE_ERROR_INIT;
    char name[OBJECT_NAME];
    uint8_t *data =
        group->n == 1 ? leaf->data + (size_t)group->runs[0]->start * BLOCK : leaf->range;

    group->sums = sums;
    if (get_sums(leaf->source, group->row, sums, &group->n_sums, &why) == 0 &&
        fetch_range(group, data, &n_got, &why) == 0)
        return place(group, data, n_got);
    table_name(name, &leaf->source->table->rows[group->row]);
    error_wrap(&why, "%s", name);
    return lose_group(group, &why);
}

/* --------------------------------------------------------------------- leaf */

static int by_source(const void *a, const void *b) {
    place_t x = (*(const struct page_run *const *)a)->place;
    place_t y = (*(const struct page_run *const *)b)->place;

    return x < y ? -1 : x > y; /* row, then where in its data */
}

static bool goes_on(const struct group *group, const struct page_run *run) {
    uint32_t first = map_data(run->place), end = group->first + group->n_blocks;

    return map_row(run->place) == group->row && first <= end + GAP &&
           first + run->n - group->first <= MAP_LEAF;
}

static uint32_t collect(const struct copy_leaf *leaf, const struct page_run **runs) {
    uint32_t n = 0;

    for (uint32_t i = 0; i < leaf->n_runs; i++)
        if (place_kind(leaf->runs[i].place) == PLACE_DATA)
            runs[n++] = &leaf->runs[i];
    qsort(runs, n, sizeof(*runs), by_source);
    return n;
}

static void fetch_all(struct copy_leaf *leaf) {
    const struct page_run *runs[MAP_LEAF];
    uint32_t n = collect(leaf, runs), i = 0;

    while (i < n) {
        struct group group = {
            .leaf = leaf,
            .runs = &runs[i],
            .row = map_row(runs[i]->place),
            .first = map_data(runs[i]->place),
        };

        do {
            uint32_t end = map_data(runs[i]->place) + runs[i]->n;

            if (end - group.first > group.n_blocks)
                group.n_blocks = end - group.first;
            group.n++;
        } while (++i < n && goes_on(&group, runs[i]));
        if (!fetch_group(&group))
            return;
    }
}

/* What a place can be was not asked when the page was read. */
static bool runs_can_be(const struct copy_leaf *leaf) {
    const struct table *table = leaf->source->table;

    for (uint32_t i = 0; i < leaf->n_runs; i++) {
        place_t place_of = leaf->runs[i].place;

        if (place_kind(place_of) != PLACE_DATA)
            continue;
        if (map_row(place_of) >= table->n_rows || !table->rows[map_row(place_of)].id.seq ||
            table->rows[map_row(place_of)].type == OBJECT_MAP)
            return false;
    }
    return true;
}

static int read_page(struct copy_leaf *leaf, struct s3pve_error *err) {
    int n = pages_get_leaf(leaf->source->inspect, &leaf->page, leaf->runs, err);

    if (n < 0 && err->code == S3PVE_E_CORRUPT) /* maybe on its way only */
        n = pages_get_leaf(leaf->source->inspect, &leaf->page, leaf->runs, err);
    if (n < 0)
        return error_wrap(err, "%s: leaf %" PRIu64 " of the map", leaf->page.object, leaf->index);
    leaf->n_runs = (uint32_t)n;
    if (runs_can_be(leaf))
        return 0;
    return error_set(
        err, S3PVE_E_CORRUPT, "leaf %" PRIu64 " of the map has a place that cannot be", leaf->index
    );
}

void copy_leaf_fetch(void *arg) {
    struct copy_leaf *leaf = arg;
    struct s3pve_error why = S3PVE_ERROR_INIT;

    memset(leaf->data, 0, COPY_LEAF);
    if (!leaf->has_page || read_page(leaf, &why) == 0) {
        fetch_all(leaf);
        return;
    }
    leaf->n_runs = 0;
    leaf->why = why;
    if (!leaf->source->salvage || !inspect_is_damage(&why))
        return;
    leaf->any_lost = true;
    memset(leaf->lost, true, sizeof(leaf->lost));
}
