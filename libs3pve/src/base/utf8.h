/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* utf8.h - is it text? */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing beyond U+10FFFF. */
bool utf8_valid(const char *text, size_t len);

#endif
