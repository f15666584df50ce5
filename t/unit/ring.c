/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The ring never gives out what the superblock on the disk still needs. */
#include "volume/ring.h"
#include "tap.h"

#define LEN 100

static void test_end(void) {
    struct ring ring = {.len = LEN};
    uint64_t pad;

    is_int((long long)ring_take(&ring, 60), 0, "the first record");
    ok(ring_has_room(&ring, 39, &pad), "nearly to the end");
    is_int((long long)pad, 0, "without padding");
    ok(!ring_has_room(&ring, 40, &pad), "never so that head and tail meet");
    ok(!ring_has_room(&ring, 41, &pad), "a record that would not fit waits");
    is_int((long long)pad, 40, "though it would go round");
    ring_release(&ring, 60);
    ok(!ring_has_room(&ring, 41, &pad), "also when the first is released");
    ring_keep(&ring, 60);
    ok(ring_has_room(&ring, 41, &pad), "until the disk says so");
    ok(ring_has_room(&ring, 40, &pad) && pad == 0, "or just to the end of the lap");
    is_int((long long)ring_take(&ring, 41), LEN, "it begins with the next lap");
    is_int((long long)ring_place(&ring, LEN), 0, "which is the start");
    is_int((long long)ring_used(&ring), 81, "the padding counts as used");
}

static void test_keeping(void) {
    struct ring ring = {.len = LEN};

    ring_take(&ring, 80);
    ok(!ring_wants_keeping(&ring), "no superblock while all is needed");
    ring_release(&ring, 25);
    ok(!ring_wants_keeping(&ring), "nor for a quarter of the ring");
    ring_release(&ring, 26);
    ok(ring_wants_keeping(&ring), "beyond it one is due");
    ring_keep(&ring, 26);
    ok(!ring_wants_keeping(&ring), "and then not again");
}

static void test_laps(void) {
    struct ring ring = {.len = LEN};
    uint64_t position, pad, last = 0, bad = 0;

    for (unsigned i = 0; i < 1000; i++) {
        uint64_t n = 1 + i * 7 % 30;

        if (!ring_has_room(&ring, n, &pad)) {
            ring_release(&ring, last);
            ring_keep(&ring, last);
        }
        position = ring_take(&ring, n);
        bad += ring_place(&ring, position) + n > LEN || position < last;
        last = position;
    }
    is_int((long long)bad, 0, "no record of a thousand is broken at the end");
}

int main(void) {
    test_end();
    test_keeping();
    test_laps();
    return done_testing();
}
