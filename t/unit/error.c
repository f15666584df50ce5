/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "core/error.h"
#include "tap.h"

static void a_message_is_one_printable_line(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(error_set(&err, S3PVE_E_DENIED, "key %s", "a\nb\r\x1b[2J\x7f"), -1, "an error is -1");
    is_str(err.message, "key a?b??[2J?", "... in one line that no terminal obeys");
    is_int(err.errnum, EACCES, "... with an errno");
    error_wrap(&err, "list '%s'", "x\ty");
    is_str(err.message, "list 'x?y': key a?b??[2J?", "... and so is what is put in front");
    error_set(
        &err,
        S3PVE_E_IO,
        "\xc2\x9b"
        "31m \xc3\xa9"
    );
    is_str(err.message, "??31m \xc3\xa9", "... but letters stay as they are");
    is_int(error_set(NULL, S3PVE_E_IO, "x"), -1, "nobody has to listen");
    is_int(error_wrap(NULL, "x"), -1, "... at any time");
}

static bool ends_in_dots(const char *text) {
    size_t len = strlen(text);

    return len > 3 && strcmp(text + len - 3, "...") == 0;
}

static void a_message_that_is_cut_says_so(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char longer[sizeof(err.message) * 2];

    for (int shift = 0; shift < 3; shift++) {
        memset(longer, 'x', sizeof(longer));
        for (size_t i = (size_t)shift; i + 3 < sizeof(longer); i += 3)
            memcpy(longer + i, "\xe2\x82\xac", 3);
        longer[sizeof(longer) - 1] = '\0';

        error_set(&err, S3PVE_E_IO, "%s", longer);
        ok(ends_in_dots(err.message), "a message that is too long ends in dots");
        ok(utf8_valid(err.message, strlen(err.message)), "... after a whole character");
        error_set(&err, S3PVE_E_IO, "inner");
        error_wrap(&err, "%s", longer);
        ok(ends_in_dots(err.message), "... and so does one with too much in front");
        ok(utf8_valid(err.message, strlen(err.message)), "... after a whole character");
        error_set(&err, S3PVE_E_IO, "%.470s", longer);
        error_wrap(&err, "0123456789");
        ok(ends_in_dots(err.message), "... or with a little too much");
        ok(utf8_valid(err.message, strlen(err.message)), "... after a whole character");
    }
}

static void every_code_has_a_name_and_an_errno(void) {
    for (enum s3pve_code code = S3PVE_OK; code <= S3PVE_E_NOMEM; code++) {
        ok(strcmp(s3pve_code_name(code), "UNKNOWN") != 0, "%s has a name", s3pve_code_name(code));
        ok((code == S3PVE_OK) == (error_errno(code) == 0), "... and an errno");
    }
    is_str(s3pve_code_name((enum s3pve_code)999), "UNKNOWN", "a code from the future is unknown");
    is_int(error_errno((enum s3pve_code)999), EIO, "... and an I/O error");
}

int main(void) {
    a_message_is_one_printable_line();
    a_message_that_is_cut_says_so();
    every_code_has_a_name_and_an_errno();
    return done_testing();
}
