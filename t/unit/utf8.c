/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "base/utf8.h"
#include "tap.h"

static const struct {
    const char *name, *text;
    bool valid;
} cases[] = {
    {"the empty text", "", true},
    {"ASCII", "dump/a.vma.zst", true},
    {"two, three and four bytes", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", true},
    {"the last code point", "\xf4\x8f\xbf\xbf", true},
    {"a lone continuation byte", "a\x80", false},
    {"a cut sequence", "a\xe2\x82", false},
    {"an overlong slash of two bytes", "\xc0\xaf", false},
    {"an overlong slash of three bytes", "\xe0\x80\xaf", false},
    {"an overlong form of four bytes", "\xf0\x80\x80\xaf", false},
    {"a surrogate", "\xed\xa0\x80", false},
    {"beyond the last code point", "\xf4\x90\x80\x80", false},
    {"bytes that never occur", "\xff\xfe", false},
    {"Latin-1", "caf\xe9", false},
};

int main(void) {
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ok(utf8_valid(cases[i].text, strlen(cases[i].text)) == cases[i].valid,
           "%s is %svalid",
           cases[i].name,
           cases[i].valid ? "" : "not ");
    ok(!utf8_valid("\xe2\x82\xac", 2), "the length is respected, not the terminator");
    return done_testing();
}
