/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* buf.h - a growing text or byte buffer, always zero-terminated beyond its length */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>

#include "base/cleanup.h"

struct buf {
    char *data; /* owned; NULL until something was added */
    size_t len, room;
    size_t max; /* 0: no bound; else adding beyond it fails */
};

/* All return 0, or -1 without memory or beyond max; the buffer is unchanged then. */
int buf_add(struct buf *buf, const void *data, size_t len);
int buf_str(struct buf *buf, const char *text);
int buf_printf(struct buf *buf, const char *fmt, ...) _printf_(2, 3);

/* The text so far; "" when empty.  Borrowed until the next change. */
const char *buf_text(const struct buf *buf);

/* Gives the data away (free() it) and leaves the buffer empty; NULL when nothing was added. */
char *buf_steal(struct buf *buf);

void buf_clear(struct buf *buf);
void buf_wipe(struct buf *buf); /* the same, after overwriting a secret */

#endif
