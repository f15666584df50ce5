/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdint.h>

#include "base/utf8.h"

/* Bytes of the sequence that begins with @lead; 0 for a byte that cannot begin one. */
static size_t sequence_len(unsigned char lead) {
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead < 0xe0)
        return 2;
    if (lead >= 0xe0 && lead < 0xf0)
        return 3;
    return lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

/* The second byte's range rules out overlong forms, surrogates and what lies beyond U+10FFFF. */
static bool second_fits(unsigned char lead, unsigned char second) {
    unsigned char low = 0x80, high = 0xbf;

    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    return second >= low && second <= high;
}

bool utf8_valid(const char *text, size_t len) {
    const unsigned char *p = (const unsigned char *)text, *end = p + len;

    while (p < end) {
        size_t n = sequence_len(*p);

        if (n == 0 || n > (size_t)(end - p))
            return false;
        if (n > 1 && !second_fits(p[0], p[1]))
            return false;
        for (size_t i = 2; i < n; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return false;
        }
        p += n;
    }
    return true;
}

void utf8_make_printable(char *text) {
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) /* U+0080 to U+009F */
            *p++ = '?';
        else if (*p >= 0x20 && *p != 0x7f)
            continue;
        *p = '?';
    }
}

size_t utf8_cut(const char *text, size_t len) {
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    return len;
}
