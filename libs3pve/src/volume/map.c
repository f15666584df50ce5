/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "volume/map.h"

/* A leaf of 1024 places takes 8 KiB; more runs than this would take more. */
#define RUNS_MAX (MAP_LEAF * sizeof(place_t) / sizeof(struct run))
#define RUNS_MIN 4
#define NODE_BLOCKS ((uint64_t)MAP_LEAF * MAP_LEAF)
#define PACK_BLOCKS 64 /* so many written at once make it worth a look whether runs are smaller */

struct run {
    uint16_t start, n;
    place_t place; /* of the first block */
} __attribute__((packed));

struct leaf {
    uint16_t n_runs, room; /* runs in order of start, without overlap; 0 when flat */
    uint16_t n_placed;     /* blocks that have a place; counted when flat */
    bool flat;
    union {
        struct run runs[0];
        place_t places[0];
    };
};

struct node {
    struct leaf *leaves[MAP_LEAF]; /* owned; NULL: none of its blocks has a place */
};

struct map {
    struct node **nodes; /* owned */
    size_t n_nodes;
    uint64_t step;
    size_t memory;
};

/* ------------------------------------------------------------------- leaves */

static size_t leaf_size(uint16_t room, bool flat) {
    return sizeof(struct leaf) + (flat ? MAP_LEAF * sizeof(place_t) : room * sizeof(struct run));
}

static place_t place_at(const struct map *map, place_t place, uint32_t n) {
    return place_kind(place) == PLACE_DATA ? place + n * map->step : place;
}

static uint32_t run_end(const struct run *run) {
    return (uint32_t)run->start + run->n;
}

/* The first run that ends beyond @start, or n_runs. */
static unsigned leaf_seek(const struct leaf *leaf, uint32_t start) {
    unsigned low = 0, high = leaf->n_runs;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (run_end(&leaf->runs[middle]) > start)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The run in a flat leaf that begins at @start, up to @end. */
static uint32_t flat_run(
    const struct map *map, const struct leaf *leaf, uint32_t start, uint32_t end
) {
    uint32_t n = 1;

    while (start + n < end && leaf->places[start + n] == place_at(map, leaf->places[start], n))
        n++;
    return n;
}

/* The place of @start, and how many of the next @n blocks share its run. */
static place_t leaf_find(
    const struct map *map, const struct leaf *leaf, uint32_t start, uint32_t n, uint32_t *ret_n
) {
    unsigned i;

    if (leaf->flat) {
        *ret_n = flat_run(map, leaf, start, start + n);
        return leaf->places[start];
    }
    i = leaf_seek(leaf, start);
    if (i == leaf->n_runs || leaf->runs[i].start >= start + n) {
        *ret_n = n;
        return PLACE_NONE;
    }
    if (leaf->runs[i].start > start) {
        *ret_n = leaf->runs[i].start - start;
        return PLACE_NONE;
    }
    *ret_n = run_end(&leaf->runs[i]) - start < n ? run_end(&leaf->runs[i]) - start : n;
    return place_at(map, leaf->runs[i].place, start - leaf->runs[i].start);
}

static struct leaf *leaf_resize(
    struct map *map, struct leaf *leaf, uint16_t room, bool flat, struct leaf **slot
) {
    size_t before = leaf ? leaf_size(leaf->room, leaf->flat) : 0;
    struct leaf *larger = realloc(leaf, leaf_size(room, flat));

    if (!larger)
        return NULL;
    if (!leaf)
        larger->n_runs = 0;
    larger->room = room;
    larger->flat = flat;
    map->memory += leaf_size(room, flat) - before;
    return *slot = larger;
}

/* From runs to an array, in a new leaf: the old one is what it is made from. */
static struct leaf *leaf_flatten(struct map *map, struct leaf *leaf, struct leaf **slot) {
    struct leaf *flat = calloc(1, leaf_size(0, true));

    if (!flat)
        return NULL;
    flat->flat = true;
    for (unsigned i = 0; i < leaf->n_runs; i++)
        for (uint32_t k = 0; k < leaf->runs[i].n; k++, flat->n_placed++)
            flat->places[leaf->runs[i].start + k] = place_at(map, leaf->runs[i].place, k);
    map->memory += leaf_size(0, true) - leaf_size(leaf->room, false);
    free(leaf);
    return *slot = flat;
}

/* With room for two more runs, or flat. */
static struct leaf *leaf_room(struct map *map, struct leaf **slot) {
    struct leaf *leaf = *slot;
    unsigned room;

    if (!leaf)
        return leaf_resize(map, NULL, RUNS_MIN, false, slot);
    if (leaf->flat || leaf->n_runs + 2u <= leaf->room)
        return leaf;
    room = leaf->room + leaf->room / 2u;
    if (leaf->n_runs + 2u > RUNS_MAX)
        return leaf_flatten(map, leaf, slot);
    return leaf_resize(map, leaf, (uint16_t)(room > RUNS_MAX ? RUNS_MAX : room), false, slot);
}

static unsigned count_runs(const struct map *map, const struct leaf *leaf) {
    unsigned n_runs = 0;
    uint32_t n;

    for (uint32_t start = 0; start < MAP_LEAF; start += n) {
        n = flat_run(map, leaf, start, MAP_LEAF);
        n_runs += place_kind(leaf->places[start]) != PLACE_NONE;
    }
    return n_runs;
}

/* Back to runs where they take half the room; without memory it stays as it is. */
static void leaf_pack(struct map *map, struct leaf **slot) {
    struct leaf *flat = *slot, *leaf;
    unsigned n_runs = count_runs(map, flat);
    uint32_t n;

    if (n_runs > RUNS_MAX / 2)
        return;
    leaf = calloc(1, leaf_size((uint16_t)(n_runs + RUNS_MIN), false));
    if (!leaf)
        return;
    leaf->room = (uint16_t)(n_runs + RUNS_MIN);
    for (uint32_t start = 0; start < MAP_LEAF; start += n) {
        n = flat_run(map, flat, start, MAP_LEAF);
        if (place_kind(flat->places[start]) != PLACE_NONE)
            leaf->runs[leaf->n_runs++] =
                (struct run){(uint16_t)start, (uint16_t)n, flat->places[start]};
    }
    map->memory += leaf_size(leaf->room, false) - leaf_size(0, true);
    free(flat);
    *slot = leaf;
}

static void flat_set(
    struct map *map, struct leaf **slot, uint32_t start, uint32_t n, place_t place
) {
    struct leaf *leaf = *slot;

    for (uint32_t k = 0; k < n; k++) {
        leaf->n_placed -= place_kind(leaf->places[start + k]) != PLACE_NONE;
        leaf->places[start + k] = place_at(map, place, k);
        leaf->n_placed += place_kind(place) != PLACE_NONE;
    }
    if (leaf->n_placed == 0 || n >= PACK_BLOCKS)
        leaf_pack(map, slot);
}

static bool joins(const struct map *map, const struct run *run, const struct run *next) {
    return run_end(run) == next->start && place_at(map, run->place, run->n) == next->place &&
           place_kind(run->place) == place_kind(next->place);
}

/* Append @run to the @n runs at @runs, as part of the last one where it goes on from that. */
static unsigned push(const struct map *map, struct run *runs, unsigned n, struct run run) {
    if (run.n == 0 || place_kind(run.place) == PLACE_NONE)
        return n;
    if (n > 0 && joins(map, &runs[n - 1], &run)) {
        runs[n - 1].n = (uint16_t)(runs[n - 1].n + run.n);
        return n;
    }
    runs[n] = run;
    return n + 1;
}

/* What of the runs from @first to before @last is left of and right of the new one, and it. */
static void runs_set(
    const struct map *map, struct leaf *leaf, uint32_t start, uint32_t n, place_t place
) {
    uint32_t end = start + n;
    unsigned first = leaf_seek(leaf, start), last = first, n_new = 0;
    struct run set = {(uint16_t)start, (uint16_t)n, place}, left = {0}, right = {0};
    struct run new[5]; /* the neighbours, what is left of the first and of the last, and ours */
    unsigned tail;

    while (last < leaf->n_runs && leaf->runs[last].start < end)
        last++;
    if (first < last && leaf->runs[first].start < start) {
        left = leaf->runs[first];
        left.n = (uint16_t)(start - left.start);
    }
    if (first < last && run_end(&leaf->runs[last - 1]) > end) {
        right = leaf->runs[last - 1];
        right.place = place_at(map, right.place, end - right.start);
        right.n = (uint16_t)(run_end(&right) - end);
        right.start = (uint16_t)end;
    }
    if (first > 0)
        n_new = push(map, new, n_new, leaf->runs[--first]);
    n_new = push(map, new, n_new, left);
    n_new = push(map, new, n_new, set);
    n_new = push(map, new, n_new, right);
    if (last < leaf->n_runs)
        n_new = push(map, new, n_new, leaf->runs[last++]);

    tail = leaf->n_runs - last;
    memmove(&leaf->runs[first + n_new], &leaf->runs[last], tail * sizeof(struct run));
    memcpy(&leaf->runs[first], new, n_new * sizeof(struct run));
    leaf->n_runs = (uint16_t)(first + n_new + tail);
    assert(leaf->n_runs <= leaf->room);
}

static void leaf_drop(struct map *map, struct leaf **slot) {
    map->memory -= leaf_size((*slot)->room, (*slot)->flat);
    free(*slot);
    *slot = NULL;
}

/* ---------------------------------------------------------------------- map */

struct map *map_new(uint64_t step) {
    struct map *map = calloc(1, sizeof(*map));

    if (map)
        map->step = step;
    return map;
}

struct map *map_free(struct map *map) {
    for (size_t i = 0; map && i < map->n_nodes; i++) {
        for (unsigned k = 0; map->nodes[i] && k < MAP_LEAF; k++)
            free(map->nodes[i]->leaves[k]);
        free(map->nodes[i]);
    }
    if (map)
        free(map->nodes);
    free(map);
    return NULL;
}

static struct leaf *leaf_of(const struct map *map, uint64_t block) {
    uint64_t node = block / NODE_BLOCKS;

    if (node >= map->n_nodes || !map->nodes[node])
        return NULL;
    return map->nodes[node]->leaves[block / MAP_LEAF % MAP_LEAF];
}

static int grow(struct map *map, size_t n_nodes) {
    struct node **nodes = reallocarray(map->nodes, n_nodes, sizeof(*nodes));

    if (!nodes)
        return -1;
    memset(nodes + map->n_nodes, 0, (n_nodes - map->n_nodes) * sizeof(*nodes));
    map->memory += (n_nodes - map->n_nodes) * sizeof(*nodes);
    map->nodes = nodes;
    map->n_nodes = n_nodes;
    return 0;
}

/* Where the leaf of @block is or would be; NULL without memory. */
static struct leaf **leaf_slot(struct map *map, uint64_t block) {
    uint64_t node = block / NODE_BLOCKS;

    if (node >= map->n_nodes && grow(map, node + 1) < 0)
        return NULL;
    if (!map->nodes[node]) {
        map->nodes[node] = calloc(1, sizeof(struct node));
        if (!map->nodes[node])
            return NULL;
        map->memory += sizeof(struct node);
    }
    return &map->nodes[node]->leaves[block / MAP_LEAF % MAP_LEAF];
}

static uint32_t within_leaf(uint64_t block, uint64_t n) {
    uint32_t left = MAP_LEAF - (uint32_t)(block % MAP_LEAF);

    return n < left ? (uint32_t)n : left;
}

/* Each run with a place within one leaf. */
static void each_in_leaf(
    const struct map *map, uint64_t block, uint32_t n, map_run_fn fn, void *ctx
) {
    const struct leaf *leaf = leaf_of(map, block);

    while (leaf && n > 0) {
        uint32_t run;
        place_t place = leaf_find(map, leaf, (uint32_t)(block % MAP_LEAF), n, &run);

        if (place_kind(place) != PLACE_NONE)
            fn(ctx, block, run, place);
        block += run;
        n -= run;
    }
}

static void leaf_shrink(struct map *map, struct leaf **slot) {
    struct leaf *leaf = *slot;

    if (leaf->flat)
        return;
    if (leaf->n_runs == 0)
        leaf_drop(map, slot);
    else if (leaf->room > 4u * RUNS_MIN && leaf->n_runs < leaf->room / 4u)
        (void)leaf_resize(map, leaf, (uint16_t)(leaf->n_runs + RUNS_MIN), false, slot);
}

/* All of it at once: whatever it was, one run is left, or nothing. */
static int set_leaf(struct map *map, struct leaf **slot, place_t place) {
    struct leaf *fresh = NULL;

    if (place_kind(place) != PLACE_NONE) {
        if (!leaf_resize(map, NULL, RUNS_MIN, false, &fresh))
            return -1;
        runs_set(map, fresh, 0, MAP_LEAF, place);
    }
    if (*slot)
        leaf_drop(map, slot);
    *slot = fresh;
    return 0;
}

static int set_in_leaf(struct map *map, uint64_t block, uint32_t n, place_t place) {
    struct leaf **slot, *leaf;

    if (place_kind(place) == PLACE_NONE && !leaf_of(map, block))
        return 0;
    slot = leaf_slot(map, block);
    if (!slot)
        return -1;
    if (n == MAP_LEAF)
        return set_leaf(map, slot, place);
    leaf = leaf_room(map, slot);
    if (!leaf)
        return -1;
    if (leaf->flat)
        flat_set(map, slot, (uint32_t)(block % MAP_LEAF), n, place);
    else
        runs_set(map, leaf, (uint32_t)(block % MAP_LEAF), n, place);
    leaf_shrink(map, slot);
    return 0;
}

int map_set(struct map *map, uint64_t block, uint32_t n, place_t place) {
    while (n > 0) {
        uint32_t now = within_leaf(block, n);

        if (set_in_leaf(map, block, now, place) < 0)
            return -1;
        place = place_at(map, place, now);
        block += now;
        n -= now;
    }
    return 0;
}

place_t map_find(const struct map *map, uint64_t block, uint32_t n, uint32_t *ret_n) {
    const struct leaf *leaf = leaf_of(map, block);

    n = within_leaf(block, n);
    if (leaf)
        return leaf_find(map, leaf, (uint32_t)(block % MAP_LEAF), n, ret_n);
    *ret_n = n;
    return PLACE_NONE;
}

void map_each(const struct map *map, uint64_t block, uint64_t end, map_run_fn fn, void *ctx) {
    uint64_t limit = (uint64_t)map->n_nodes * NODE_BLOCKS;

    if (end > limit)
        end = limit;
    while (block < end) {
        uint32_t now = within_leaf(block, end - block);

        if (!map->nodes[block / NODE_BLOCKS]) {
            block = (block / NODE_BLOCKS + 1) * NODE_BLOCKS;
            continue;
        }
        each_in_leaf(map, block, now, fn, ctx);
        block += now;
    }
}

size_t map_memory(const struct map *map) {
    return map->memory;
}
