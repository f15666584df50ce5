/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static int buf_reserve(struct buf *buf, size_t more) {
    size_t need, room = buf->room ? buf->room : 64;
    char *data;

    if (__builtin_add_overflow(buf->len, more, &need) || need == SIZE_MAX)
        return -1;
    if (buf->max && need > buf->max)
        return -1;
    if (need < buf->room)
        return 0;

    while (room <= need) {
        if (__builtin_mul_overflow(room, 2, &room))
            return -1;
    }
    data = malloc(room);
    if (!data)
        return -1;

    /* realloc() would leave a copy behind, which buf_wipe() could never find. */
    if (buf->data) {
        memcpy(data, buf->data, buf->len + 1);
        explicit_bzero(buf->data, buf->len);
        free(buf->data);
    }
    buf->data = data;
    buf->room = room;
    return 0;
}

int buf_add(struct buf *buf, const void *data, size_t len) {
    if (buf_reserve(buf, len) < 0)
        return -1;

    if (len)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return 0;
}

int buf_str(struct buf *buf, const char *text) {
    return buf_add(buf, text, strlen(text));
}

int buf_printf(struct buf *buf, const char *fmt, ...) {
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || buf_reserve(buf, (size_t)n) < 0)
        return -1;

    va_start(ap, fmt);
    vsnprintf(buf->data + buf->len, buf->room - buf->len, fmt, ap);
    va_end(ap);
    buf->len += (size_t)n;
    return 0;
}

const char *buf_text(const struct buf *buf) {
    return buf->data ? buf->data : "";
}

char *buf_steal(struct buf *buf) {
    char *data = steal_ptr(&buf->data);

    buf->len = buf->room = 0;
    return data;
}

void buf_clear(struct buf *buf) {
    free(buf->data);
    buf->data = NULL;
    buf->len = buf->room = 0;
}

void buf_wipe(struct buf *buf) {
    if (buf->data)
        explicit_bzero(buf->data, buf->room);
    buf_clear(buf);
}
