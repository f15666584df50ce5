/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The map against an array: random runs of every kind and length, and what it costs. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "tap.h"
#include "volume/map.h"

#define BLOCKS (5 * MAP_LEAF + 100)

DEFINE_CLEANUP(struct map *, map_free)

static place_t model[BLOCKS];
static uint64_t seed = 1;

static uint32_t chance(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static place_t data(uint64_t offset) {
    return offset << 8 | PLACE_DATA;
}

#define DATA_STEP (1u << 8)

static place_t place_of(place_t place, uint32_t k) {
    return place_kind(place) == PLACE_DATA ? place + k * (place_t)DATA_STEP : place;
}

static int set(struct map *map, uint64_t block, uint32_t n, place_t place) {
    for (uint32_t k = 0; k < n; k++)
        model[block + k] = place_of(place, k);
    return map_set(map, block, n, place);
}

/* The first block whose place is not the model's, or -1. */
static long long differs(const struct map *map) {
    uint32_t n;

    for (uint64_t block = 0; block < BLOCKS; block += n) {
        place_t place = map_find(map, block, (uint32_t)(BLOCKS - block), &n);

        if (n == 0)
            return (long long)block;
        for (uint32_t k = 0; k < n; k++)
            if (model[block + k] != place_of(place, k))
                return (long long)(block + k);
    }
    return -1;
}

struct sum {
    uint64_t next, blocks;
    bool in_order, same;
};

static void add(void *ctx, uint64_t block, uint32_t n, place_t place) {
    struct sum *sum = ctx;

    sum->in_order &= block >= sum->next;
    sum->next = block + n;
    for (uint32_t k = 0; k < n; k++, sum->blocks++)
        sum->same &= model[block + k] == place_of(place, k);
}

static void check_each(const struct map *map, uint64_t from, uint64_t end, const char *what) {
    struct sum sum = {.in_order = true, .same = true};
    uint64_t placed = 0;

    for (uint64_t block = from; block < end && block < BLOCKS; block++)
        placed += place_kind(model[block]) != PLACE_NONE;
    map_each(map, from, end, add, &sum);
    ok(sum.in_order && sum.same, "%s: runs come in order, with their places", what);
    is_int((long long)sum.blocks, (long long)placed, "%s: every block once", what);
}

static struct map *fresh(void) {
    memset(model, 0, sizeof(model));
    return map_new(DATA_STEP);
}

static void test_random(uint32_t longest, const char *what) {
    _cleanup_(map_freep) struct map *map = fresh();
    long long bad = -1;

    for (int i = 0; bad < 0 && i < 4000; i++) {
        uint32_t n = 1 + chance(longest);
        uint64_t block = chance(BLOCKS - n);
        static const enum place_kind kinds[] = {PLACE_DATA, PLACE_DATA, PLACE_ZERO, PLACE_NONE};
        place_t place = kinds[chance(4)];

        if (place == PLACE_DATA)
            place = data(chance(1 << 20));
        if (set(map, block, n, place) < 0)
            bad = (long long)block;
        else if (i % 50 == 0)
            bad = differs(map);
    }
    is_int(bad < 0 ? differs(map) : bad, -1, "%s: as the model says", what);
    check_each(map, 0, UINT64_MAX, what);
    check_each(map, 1000, 3333, what);
}

static void test_empty(void) {
    _cleanup_(map_freep) struct map *map = fresh();
    uint32_t n;

    is_int((long long)map_find(map, 77, 5000, &n), PLACE_NONE, "nothing has a place at first");
    is_int(n, MAP_LEAF - 77, "a run ends with its leaf");
    is_int((long long)map_memory(map), 0, "and nothing is held for it");
    is_int(map_set(map, 1 << 30, 10, PLACE_NONE), 0, "taking away what is not there is fine");
    is_int((long long)map_memory(map), 0, "and costs nothing");
}

static void test_memory(void) {
    _cleanup_(map_freep) struct map *map = fresh();
    size_t one;

    for (uint64_t block = 0; block < BLOCKS - 256; block += 256)
        set(map, block, 256, data(block));
    one = map_memory(map);
    set(map, 0, MAP_LEAF, data(0));
    ok(map_memory(map) <= one, "what follows in block and place is one run");

    for (uint32_t i = 0; i < 20000; i++)
        set(map, chance(MAP_LEAF), 1, data(chance(1 << 20)));
    ok(map_memory(map) - one < MAP_LEAF * sizeof(place_t) + 64, "the worst leaf is an array");
    is_int(differs(map), -1, "with the same places");

    for (uint32_t block = 0; block < MAP_LEAF; block += 128)
        set(map, block, 128, data(block));
    ok(map_memory(map) <= one + 64, "written in order again it becomes runs");
    is_int(differs(map), -1, "with the same places");

    for (uint32_t i = 0; i < 20000; i++)
        set(map, chance(MAP_LEAF), 1, data(chance(1 << 20)));
    for (uint32_t block = 0; block < MAP_LEAF; block++)
        set(map, block, 1, PLACE_NONE);
    ok(map_memory(map) <= one, "discarded block by block it goes");
    is_int(differs(map), -1, "with the same places");
}

static void test_ends(void) {
    _cleanup_(map_freep) struct map *map = fresh();
    uint64_t far = ((uint64_t)1 << 34) - 3; /* the last blocks of 64 TiB */
    uint32_t n;

    is_int(map_set(map, far, 3, data(1)), 0, "the end of 64 TiB");
    is_int((long long)map_find(map, far + 2, 1, &n), (long long)data(3), "is found");
    set(map, MAP_LEAF - 2, 4, data(9));
    is_int(
        (long long)map_find(map, MAP_LEAF + 1, 9, &n), (long long)data(12), "runs go on over leaves"
    );
    is_int(n, 1, "and end where they end");
}

int main(void) {
    test_empty();
    test_ends();
    test_random(3, "short runs");
    test_random(100, "runs");
    test_random(3000, "runs over leaves");
    test_memory();
    return done_testing();
}
