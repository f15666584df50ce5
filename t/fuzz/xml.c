/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Whatever a server sends: bounded depth, bounded texts, every text an end. */
#include <string.h>

#include "base/limits.h"
#include "core/xml.h"
#include "fuzz.h"

struct seen {
    char root[64];
    unsigned n;
};

static int see(void *ctx, const char *path, const char *text) {
    struct seen *seen = ctx;
    unsigned depth = 1;

    must(*path && strlen(text) <= LIMIT_XML_TEXT);
    for (const char *c = path; *c; c++)
        depth += *c == '/';
    must(depth <= LIMIT_XML_DEPTH);
    seen->n++;
    return seen->n == 1000 ? 1 : 0;
}

static void check_error(const char *data, size_t size) {
    struct xml_error e;

    memset(&e, 'x', sizeof(e));
    if (!xml_error_parse(data, size, &e))
        return;
    must(strnlen(e.code, sizeof(e.code)) < sizeof(e.code));
    must(strnlen(e.message, sizeof(e.message)) < sizeof(e.message));
    must(strnlen(e.region, sizeof(e.region)) < sizeof(e.region));
    must(strnlen(e.endpoint, sizeof(e.endpoint)) < sizeof(e.endpoint));
    must(strnlen(e.request_id, sizeof(e.request_id)) < sizeof(e.request_id));
}

/* What we escape is text, and comes back as the same text. */
static int compare(void *ctx, const char *path, const char *text) {
    const char **want = ctx;

    must(strcmp(path, "a") == 0 && strcmp(text, *want) == 0);
    *want = NULL;
    return 0;
}

static void check_escape(const uint8_t *data, size_t size) {
    _cleanup_(buf_clear) struct buf out = {0};
    char ascii[257] = "", root[64];
    const char *want = ascii;

    for (size_t i = 0; i < size && i < 256; i++)
        ascii[i] = (char)(data[i] % 95 + 32);
    must(buf_str(&out, "<a>") == 0 && xml_escape(&out, ascii) == 0 && buf_str(&out, "</a>") == 0);
    must(xml_walk(out.data, out.len, root, compare, &want, NULL) == 0 && !want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct seen seen = {0};

    if (xml_walk((const char *)data, size, seen.root, see, &seen, &err) == 0)
        must(seen.root[0] && memchr(seen.root, 0, sizeof(seen.root)));
    else
        must(err.code == S3PVE_E_CORRUPT && err.message[0] && !strchr(err.message, '\n'));
    check_error((const char *)data, size);
    check_escape(data, size);
    return 0;
}
