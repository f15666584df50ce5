/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* utf8.h - is it text, and fit to be shown? */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing beyond U+10FFFF. */
bool utf8_valid(const char *text, size_t len);

/* Control characters become '?': what came from outside goes into logs and onto terminals. */
void utf8_make_printable(char *text);

/* Where to cut @text, at @len bytes or before, so that no character is cut in two. */
size_t utf8_cut(const char *text, size_t len);

#endif
