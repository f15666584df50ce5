/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* pattern.h - bytes that tell where they belong: neighbours, pages and blocks all differ */
#ifndef PATTERN_H
#define PATTERN_H

#include <stddef.h>

static inline char pattern_byte(size_t i) {
    return (char)(i * 7 + (i >> 11) * 3 + (i >> 20));
}

#endif
