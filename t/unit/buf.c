/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "tap.h"

static void empty(void) {
    struct buf buf = {0};

    is_str(buf_text(&buf), "", "an empty buffer reads as an empty text");
    ok(!buf_steal(&buf), "... and has nothing to give away");
    is_int(buf_add(&buf, NULL, 0), 0, "adding nothing is possible");
    is_str(buf_text(&buf), "", "... and changes nothing");
    buf_clear(&buf);
    buf_clear(&buf);
    buf_wipe(&buf);
    is_int(buf.room, 0, "clearing twice is harmless");
}

static void growing(void) {
    _cleanup_(buf_clear) struct buf buf = {0};
    bool terminated = true, intact = true;

    for (unsigned i = 0; i < 100000; i++) {
        buf_add(&buf, (char[]){(char)('a' + i % 26)}, 1);
        terminated = terminated && buf.data[buf.len] == '\0';
    }
    for (unsigned i = 0; i < 100000; i++)
        intact = intact && buf.data[i] == (char)('a' + i % 26);
    is_int(buf.len, 100000, "100,000 single bytes are 100,000 bytes");
    ok(intact, "... in order");
    ok(terminated, "... with a zero behind them at all times");
    ok(buf.room < 400000, "... and room for a few times that at most");
}

static void exact_fits(void) {
    for (size_t len = 60; len <= 68; len++) {
        _cleanup_(buf_clear) struct buf buf = {0}, text = {0};
        char filler[128];

        memset(filler, 'x', sizeof(filler));
        is_int(buf_add(&buf, filler, len), 0, "%zu bytes go in", len);
        ok(buf.room > len && buf.data[len] == '\0', "... and their zero");
        is_int(buf_printf(&text, "%.*s", (int)len, filler), 0, "%zu bytes print", len);
        is_int(strlen(text.data), (long long)len, "... uncut");
    }
}

static void bytes(void) {
    _cleanup_(buf_clear) struct buf buf = {0};

    buf_add(&buf, "a\0b", 3);
    buf_str(&buf, "c");
    is_int(buf.len, 4, "a zero byte is a byte");
    ok(memcmp(buf.data, "a\0bc", 5) == 0, "... kept with those around it");
}

static void printing(void) {
    _cleanup_(buf_clear) struct buf buf = {0};

    buf_printf(&buf, "%s-%d", "vm", 100);
    buf_printf(&buf, "%s", "");
    buf_printf(&buf, "-%05.1f", 2.5);
    is_str(buf_text(&buf), "vm-100-002.5", "printf appends");
}

static void bounds(void) {
    _cleanup_(buf_clear) struct buf buf = {.max = 10};

    is_int(buf_str(&buf, "1234567"), 0, "7 bytes of 10");
    is_int(buf_str(&buf, "4567"), -1, "4 more are too many");
    is_str(buf_text(&buf), "1234567", "... and leave the buffer as it was");
    is_int(buf_printf(&buf, "%d", 1234), -1, "... printed as well");
    is_str(buf_text(&buf), "1234567", "... and leave the buffer as it was");
    is_int(buf_str(&buf, "890"), 0, "3 more fill it");
    is_int(buf_add(&buf, "", 0), 0, "nothing fits always");
    is_int(buf_add(&buf, "x", 1), -1, "one more does not");
    is_int(buf_add(&buf, "x", SIZE_MAX), -1, "a length that overflows is refused");
    is_int(buf_add(&buf, "x", SIZE_MAX - 10), -1, "... or nearly does");
    is_str(buf_text(&buf), "1234567890", "... and the buffer is as it was");
    buf_clear(&buf);
    is_int(buf_str(&buf, "12345678901"), -1, "the bound survives a clear");
}

static void stealing(void) {
    struct buf buf = {0};
    char *text;

    buf_str(&buf, "mine");
    text = buf_steal(&buf);
    is_str(text, "mine", "a stolen text is whole");
    is_str(buf_text(&buf), "", "... and the buffer empty");
    buf_str(&buf, "next");
    is_str(buf_text(&buf), "next", "... and ready for more");
    is_str(text, "mine", "... which does not touch the stolen");
    free(text);
    buf_clear(&buf);
}

int main(void) {
    empty();
    growing();
    exact_fits();
    bytes();
    printing();
    bounds();
    stealing();
    return done_testing();
}
