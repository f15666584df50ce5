/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * window.h - which reads follow each other, and what to fetch ahead of them; pure
 *
 *                SLACK            high                     ahead
 *     dropped |<---------->|<----- reads ----->|<-------------------------->| not asked for yet
 *             start                                                         end
 */
#ifndef FILES_WINDOW_H
#define FILES_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads that follow each other, more or less. */
struct run {
    bool is_valid, from_start;
    uint64_t high;  /* the highest byte read, plus one */
    uint64_t bytes; /* it has advanced since its first read */
};

struct window {
    struct run main, next; /* what the window follows, and what may become it */
    bool is_open;
    uint64_t start; /* where it was opened: what is below was never asked for */
    uint64_t end;   /* where the next chunk begins */
    uint64_t ahead; /* bytes to be asked for beyond main.high */
    bool is_slow;   /* more at once would only make each wait longer */
};

enum window_advice {
    WINDOW_NONE,   /* a read of its own */
    WINDOW_FOLLOW, /* in order: use the window, and see what is wanted */
    WINDOW_MOVED,  /* in order, at another place than so far: drop all chunks first */
};

/* A read of @len bytes at @offset of an object of @size comes in. */
enum window_advice window_read(struct window *window, uint64_t offset, size_t len);

/* The next chunk that should be fetched.  @must: the window has to reach this offset, whatever it
 * would like.  Return: false when there is none. */
bool window_want(
    struct window *window, uint64_t size, uint64_t must, uint64_t *ret_offset, size_t *ret_len
);

/* A chunk took so long.  On a slow line, a wide window has every chunk miss its deadline. */
void window_pace(struct window *window, int64_t took_ms);

/* Nobody will come back for what lies below this. */
uint64_t window_floor(const struct window *window);

#endif
