/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * pages.h - block-aligned memory for what is in flight
 *
 * The kernel zeroes pages when they are touched first, which for large requests takes as long as
 * copying into them: so some that are given back are kept.  One thread.
 */
#ifndef NBD_PAGES_H
#define NBD_PAGES_H

#include <stddef.h>

#include "base/limits.h"

#define PAGES_CLASSES 15 /* 4 KiB, 8 KiB, ... 64 MiB: NBD_PAYLOAD and two blocks' edges */

struct pages {
    void *kept[PAGES_CLASSES]; /* lists, through the first word of each */
    size_t bytes;              /* in them, at most NBD_PAGES_KEPT */
};

void *pages_take(struct pages *pages, size_t len); /* NULL: no memory, or beyond the last class */
void pages_give(struct pages *pages, void *memory, size_t len); /* @len as it was asked for */
void pages_clear(struct pages *pages);

#endif
