/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>

#include "one_upload.h"
#include "tap.h"

static void the_bytes_arrive_in_order(void) {
    struct world *w = world_new();
    size_t at = 0;

    for (size_t n = 1; at < 3 * PART; n = n * 3 % 100003) {
        size_t len = n < 3 * PART - at ? n : 3 * PART - at;

        world_put(w, at, len);
        at += len;
    }
    is_int(world_finish(w), 0, "15 MiB in pieces of all sizes");
    is_int(w->store.n_part, 3, "... are three parts");
    ok(world_sent_right(w), "... each with its own bytes");
    is_int((long long)w->store.object, (long long)(3 * PART), "... and the object has all of them");
    world_free(w);
}

static void parts_fly_together_in_bounded_memory(void) {
    struct world *w = world_new();
    uint64_t most = 0;

    w->store.take_ms = 100;
    for (int i = 0; i < 20; i++) {
        world_put(w, 0, PART / 2);
        if (w->client->part_memory > most)
            most = w->client->part_memory;
    }
    is_int(world_finish(w), 0, "50 MiB are written");
    ok(w->script.n_active_max > 1, "... several parts at a time");
    ok(w->script.n_active_max <= PARTS_IN_FLIGHT, "... but not too many");
    ok(most <= (PARTS_IN_FLIGHT + 1) * PART, "... in five parts' memory");
    world_free(w);
}

static void other_streams_leave_one_buffer(void) {
    struct world *w = world_new();

    w->store.take_ms = 100;
    atomic_fetch_add(&w->client->part_memory, STORAGE_MEMORY);
    for (int i = 0; i < 4; i++)
        world_put(w, 0, PART);
    is_int(w->client->part_memory - STORAGE_MEMORY <= PART, 1, "one buffer when memory is short");
    is_int(world_finish(w), 0, "... is enough to get through");
    is_int(w->script.n_active_max, 1, "... one part at a time");
    atomic_fetch_sub(&w->client->part_memory, STORAGE_MEMORY);
    world_free(w);
}

static void parts_grow_with_the_stream(void) {
    struct world *w = world_new();
    uint64_t most = 0;

    w->client->config.max_parts = 24; /* so that they double after every second */
    w->store.take_ms = 100;
    for (int i = 0; i < 20; i++) {
        is_int(world_put(w, 0, PART), 0, "5 MiB more");
        if (w->client->part_memory > most)
            most = w->client->part_memory;
    }
    is_int(world_finish(w), 0, "100 MiB");
    is_int(w->store.n_part, 7, "... are seven parts");
    is_int((long long)w->store.part[2], (long long)PART, "... two of 5 MiB");
    is_int((long long)w->store.part[4], 2 * (long long)PART, "... two of 10");
    is_int((long long)w->store.part[6], 4 * (long long)PART, "... two of 20");
    is_int((long long)w->store.part[7], 6 * (long long)PART, "... and the rest");
    ok(most <= 2 * 8 * PART, "in the memory of two of the largest");
    world_free(w);
}

static void too_much_for_the_parts_there_are_is_refused(void) {
    struct world *w = world_new();

    w->client->config.max_parts = 2;
    w->client->config.equal_parts = true;
    is_int(world_put(w, 0, PART), 0, "the first part");
    is_int(world_put(w, PART, PART), 0, "and the second");
    is_int(world_put(w, 0, 1), -1, "there is no third");
    is_int(w->err.code, S3PVE_E_NO_SPACE, "... NO_SPACE");
    is_int(w->err.errnum, EFBIG, "... EFBIG");
    world_free(w);
}

int main(void) {
    the_bytes_arrive_in_order();
    parts_fly_together_in_bounded_memory();
    other_streams_leave_one_buffer();
    parts_grow_with_the_stream();
    too_much_for_the_parts_there_are_is_refused();
    return done_testing();
}
