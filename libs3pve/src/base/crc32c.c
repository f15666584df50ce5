/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <isa-l/crc.h>

#include "base/crc32c.h"

#define PIECE (1u << 30) /* isa-l counts in int */

uint32_t crc32c(uint32_t crc, const void *data, size_t len) {
    const unsigned char *p = data;

    while (len) {
        size_t n = len < PIECE ? len : PIECE;

        crc = ~crc32_iscsi((unsigned char *)p, (int)n, ~crc);
        p += n;
        len -= n;
    }
    return crc;
}
