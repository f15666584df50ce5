/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Encoding can be undone, and no value can add a line to what is signed. */
#include <string.h>

#include "core/sigv4.h"
#include "fuzz.h"

#define PAIRS 16

static size_t decode(char *text) {
    char *to = text, hex[3] = "";

    for (const char *from = text; *from; to++) {
        if (*from != '%') {
            *to = *from++;
            continue;
        }
        memcpy(hex, from + 1, 2);
        must(strspn(hex, "0123456789ABCDEF") == 2);
        *to = (char)strtol(hex, NULL, 16);
        from += 3;
    }
    return (size_t)(to - text);
}

static void check_encode(const char *data, size_t size, bool keep_slash) {
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%";
    _cleanup_(buf_clear) struct buf out = {0};

    must(sigv4_encode(&out, data, size, keep_slash) == 0);
    for (size_t i = 0; i < out.len; i++)
        must(strchr(plain, out.data[i]) || (keep_slash && out.data[i] == '/'));
    must(out.len == strlen(buf_text(&out)));
    if (out.len)
        must(decode(out.data) == size && memcmp(out.data, data, size) == 0);
    must(out.len || !size);
}

static unsigned count_lines(const char *text) {
    unsigned n = 1;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* Each line of the text is the value of a parameter and of a header. */
static void check_request(char *text) {
    static const char *const names[PAIRS] = {
        "Host", "host", "x-amz-date", "X-Amz-Meta-A", "Range", "x-amz-meta-a", "Content-MD5", "a"};
    struct sigv4_pair query[PAIRS], headers[PAIRS];
    struct sigv4_request rq = {.method = "GET", .path = "/", .query = query, .headers = headers};
    const struct sigv4_scope scope = {"us-east-1", "s3", 1369353600};
    _cleanup_(buf_clear) struct buf canonical = {0}, authorization = {0}, url = {0};
    struct sigv4_key key;
    char *value;

    while (rq.n_query < 8 && (value = strsep(&text, "\n"))) {
        query[rq.n_query++] = (struct sigv4_pair){value, text};
        headers[rq.n_headers] = (struct sigv4_pair){names[rq.n_headers], text ? text : value};
        rq.n_headers++;
    }
    must(sigv4_canonical(&rq, &canonical) == 0);

    /* Of the first eight names, two repeat: "host" the first, "x-amz-meta-a" the fourth. */
    const unsigned n_names = (unsigned)rq.n_headers - (rq.n_headers > 1) - (rq.n_headers > 5);

    must(count_lines(canonical.data) == 6 + n_names);
    must(sigv4_derive(&key, "secret", &scope) == 0);
    must(sigv4_authorization(&rq, &scope, "AK", &key, &authorization) == 0);
    must(count_lines(authorization.data) == 1);
    must(sigv4_presign(&rq, &scope, "AK", NULL, &key, 60, &url) == 0);
    must(!strpbrk(url.data, "\r\n #\"<>"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = strndup((const char *)data, size);

    check_encode((const char *)data, size, false);
    check_encode((const char *)data, size, true);
    check_request(text);
    free(text);
    return 0;
}
