/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "files/window.h"
#include "base/limits.h"

#define SLACK (2 * FUSE_AHEAD) /* requests arrive in any order, of one read-ahead and the next */
#define RUN_MIN KIB(64)        /* bytes that follow each other before we believe it */
#define AHEAD_FIRST MIB(2)     /* who wants a header only does not pay for more */
#define CHUNKS_AHEAD 4         /* while the window is small, its chunks are too */
#define SLOW_MS 4000           /* a chunk that takes longer is one of too many */

static bool follows(const struct run *run, uint64_t offset) {
    return run->is_valid && offset <= run->high + SLACK && offset + SLACK >= run->high;
}

static void advance(struct run *run, uint64_t offset, size_t len) {
    if (offset + len <= run->high)
        return;
    run->bytes += offset + len - run->high;
    run->high = offset + len;
}

static void open_window(struct window *window, uint64_t offset) {
    window->is_open = true;
    window->start = window->end = (offset + CACHE_BLOCK - 1) / CACHE_BLOCK * CACHE_BLOCK;
    window->ahead = AHEAD_FIRST;
}

static void widen(struct window *window, uint64_t before) {
    if (window->main.high / CACHE_BLOCK == before / CACHE_BLOCK || window->is_slow)
        return;
    window->ahead = window->ahead * 2 < READ_AHEAD_MAX ? window->ahead * 2 : READ_AHEAD_MAX;
}

enum window_advice window_read(struct window *window, uint64_t offset, size_t len) {
    uint64_t before = window->main.high;

    if (window->is_open && follows(&window->main, offset)) {
        advance(&window->main, offset, len);
        widen(window, before);
        return WINDOW_FOLLOW;
    }
    if (!follows(&window->next, offset)) {
        window->next = (struct run){.is_valid = true, .high = offset + len};
        window->next.from_start = offset == 0 && !window->main.is_valid;
        return WINDOW_NONE;
    }
    advance(&window->next, offset, len);
    if (window->next.bytes < RUN_MIN)
        return WINDOW_NONE;
    window->main = window->next;
    window->next = (struct run){0};
    open_window(window, offset);
    return WINDOW_MOVED;
}

bool window_want(
    struct window *window, uint64_t size, uint64_t must, uint64_t *ret_offset, size_t *ret_len
) {
    uint64_t len = window->ahead / CHUNKS_AHEAD / CACHE_BLOCK * CACHE_BLOCK;
    uint64_t until = window->main.high + window->ahead;

    if (!window->is_open || window->end >= size)
        return false;
    if (window->end >= must && window->end >= until)
        return false;
    len = len < CACHE_BLOCK ? CACHE_BLOCK : len > READ_CHUNK ? READ_CHUNK : len;
    if (len > size - window->end)
        len = size - window->end;
    *ret_offset = window->end;
    *ret_len = (size_t)len;
    window->end += len;
    return true;
}

void window_pace(struct window *window, int64_t took_ms) {
    window->is_slow = took_ms > SLOW_MS / 2;
    if (took_ms > SLOW_MS && window->ahead > AHEAD_FIRST)
        window->ahead /= 2;
}

uint64_t window_floor(const struct window *window) {
    return window->main.high > SLACK ? window->main.high - SLACK : 0;
}
