/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "files/window.h"
#include "base/limits.h"
#include "tap.h"

#define K 1024u

static uint64_t asked_to(struct window *window, uint64_t size, uint64_t must) {
    uint64_t offset, end = window->end;
    size_t len;

    while (window_want(window, size, must, &offset, &len))
        end = offset + len;
    return end;
}

static void reading_from_the_start(void) {
    struct window window = {0};
    uint64_t offset, end = 0;
    size_t len;

    is_int(window_read(&window, 0, 128 * K), WINDOW_NONE, "one read is not a habit");
    ok(!window_want(&window, GIB(1), 0, &offset, &len), "... and nothing is fetched ahead");
    is_int(window_read(&window, 128 * K, 128 * K), WINDOW_MOVED, "a second that follows is");
    ok(window.main.from_start, "... from the start");
    ok(window_want(&window, GIB(1), 0, &offset, &len), "so something is fetched ahead");
    is_int((long long)offset, (long long)MIB(1), "... from the next block on: this one is here");
    is_int((long long)len, (long long)CACHE_BLOCK, "... little at first");
    for (uint64_t at = 256 * K; at < MIB(64); at += 128 * K) {
        window_read(&window, at, 128 * K);
        end = asked_to(&window, GIB(1), at + 128 * K);
    }
    ok(end - MIB(64) > READ_AHEAD_MAX - READ_CHUNK, "in the end it runs far ahead");
    ok(end - MIB(64) <= READ_AHEAD_MAX + READ_CHUNK, "... but not without bound");
}

static void disorder(void) {
    static const unsigned order[] = {1, 0, 3, 2, 7, 4, 6, 5, 8, 12, 9, 11, 10};
    struct window window = {0};
    unsigned n_none = 0;

    window_read(&window, 0, 128 * K);
    window_read(&window, 128 * K, 128 * K);
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        n_none += window_read(&window, (2 + order[i]) * 128ull * K, 128 * K) != WINDOW_FOLLOW;
    is_int(n_none, 0, "reads that come out of order by a little still follow");
}

/* Of one read-ahead of the kernel's and the next, the last request may be the first to arrive. */
static void two_readaheads(void) {
    struct window window = {0};
    unsigned n_none = 0, n_dropped = 0;

    window_read(&window, 0, FUSE_WRITE);
    window_read(&window, FUSE_WRITE, FUSE_WRITE);
    for (uint64_t at = 2 * FUSE_WRITE; at < MIB(64); at += 2 * FUSE_AHEAD) {
        for (uint64_t back = FUSE_WRITE; back <= 2 * FUSE_AHEAD; back += FUSE_WRITE) {
            uint64_t offset = at + 2 * FUSE_AHEAD - back;

            n_dropped += window_floor(&window) > offset;
            n_none += window_read(&window, offset, FUSE_WRITE) != WINDOW_FOLLOW;
        }
    }
    is_int(n_none, 0, "all requests of two read-aheads follow, in the worst order");
    is_int(n_dropped, 0, "... and find what was fetched for them");
}

static void jumping(void) {
    struct window window = {0};
    uint64_t end;

    window_read(&window, 0, 128 * K);
    window_read(&window, 128 * K, 128 * K);
    end = asked_to(&window, GIB(1), 0);
    is_int(window_read(&window, MIB(500), 4 * K), WINDOW_NONE, "a jump is a read of its own");
    is_int(window_read(&window, 256 * K, 128 * K), WINDOW_FOLLOW, "the habit survives it");
    ok(asked_to(&window, GIB(1), 0) >= end, "... with what was fetched for it");
    is_int(window_read(&window, MIB(700), 4 * K), WINDOW_NONE, "random reads stay random");
    is_int(window_read(&window, MIB(100), 4 * K), WINDOW_NONE, "... however many");
    is_int(window_read(&window, MIB(300), 128 * K), WINDOW_NONE, "a new place ...");
    is_int(window_read(&window, MIB(300) + 128 * K, 128 * K), WINDOW_MOVED, "... is a new habit");
    ok(!window.main.from_start, "not from the start");
    is_int((long long)window.end, (long long)MIB(301), "... read ahead from there");
}

static void slow_line(void) {
    struct window window = {0};
    uint64_t ahead;

    window_read(&window, 0, 128 * K);
    window_read(&window, 128 * K, 128 * K);
    for (uint64_t at = 256 * K; at < MIB(4); at += 128 * K)
        window_read(&window, at, 128 * K);
    ahead = window.ahead;
    window_pace(&window, 10000);
    ok(window.ahead < ahead, "chunks that take long make the window smaller");
    for (int i = 0; i < 20; i++)
        window_pace(&window, 10000);
    is_int((long long)window.ahead, (long long)MIB(2), "... down to what it began with");
    window_pace(&window, 3000);
    for (uint64_t at = MIB(4); at < MIB(8); at += 128 * K)
        window_read(&window, at, 128 * K);
    is_int((long long)window.ahead, (long long)MIB(2), "... where it stays while they do");
    window_pace(&window, 100);
    for (uint64_t at = MIB(8); at < MIB(12); at += 128 * K)
        window_read(&window, at, 128 * K);
    ok(window.ahead > MIB(2), "... and grows again when they are quick");
}

static void the_end(void) {
    struct window window = {0};

    window_read(&window, 0, 128 * K);
    window_read(&window, 128 * K, 128 * K);
    is_int(
        (long long)asked_to(&window, MIB(1) + 5, 0), (long long)MIB(1) + 5, "not beyond the end"
    );
    is_int((long long)window_floor(&window), 0, "nothing is dropped near the start");
    window_read(&window, MIB(2), 128 * K);
    window_read(&window, MIB(4), 128 * K);
    window_read(&window, MIB(8), 128 * K);
    is_int(
        (long long)window_floor(&window), (long long)(MIB(4) + 128 * K), "later, what is behind"
    );
}

int main(void) {
    reading_from_the_start();
    disorder();
    two_readaheads();
    jumping();
    slow_line();
    the_end();
    return done_testing();
}
