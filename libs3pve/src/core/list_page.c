/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * list_page.c
 *
 * Elements come in any order and all but Key and Size may be missing, so the document is read into
 * offsets first and made sense of at its end: only then is it known whether names are encoded.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "core/error.h"
#include "core/list_page.h"
#include "core/xml.h"

#define NONE SIZE_MAX /* no such text */

/* An entry while the text still grows and moves. */
struct raw_entry {
    size_t key, etag, storage_class; /* offsets */
    uint64_t size;
    int64_t mtime;
    bool has_size, is_prefix;
};

struct parse {
    const char *prefix;
    struct buf text; /* texts, each with its zero byte; offset 0 is "" */
    struct raw_entry *entries;
    size_t n_entries, room;
    struct raw_entry now; /* the <Contents> that is open */
    size_t token, next_marker;
    bool encoded, truncated, says_truncated, has_marker, has_v2;
    const char *fault;
    enum s3pve_code code;
};

static int fail(struct parse *parse, enum s3pve_code code, const char *fault) {
    if (!parse->fault) {
        parse->code = code;
        parse->fault = fault;
    }
    return 1; /* stops the walk */
}

static int keep(struct parse *parse, const char *text, size_t *ret_offset) {
    size_t offset = parse->text.len;

    if (buf_add(&parse->text, text, strlen(text) + 1) < 0)
        return fail(parse, S3PVE_E_NOMEM, "out of memory");
    *ret_offset = offset;
    return 0;
}

static int add_entry(struct parse *parse, const struct raw_entry *entry) {
    size_t room = parse->room ? parse->room * 2 : LIMIT_LIST_PAGE;
    struct raw_entry *entries;

    if (parse->n_entries == LIMIT_LIST_ENTRIES)
        return fail(parse, S3PVE_E_CORRUPT, "far more names than were asked for");
    if (parse->n_entries == parse->room) {
        entries = realloc(parse->entries, room * sizeof(*entries));
        if (!entries)
            return fail(parse, S3PVE_E_NOMEM, "out of memory");
        parse->entries = entries;
        parse->room = room;
    }
    parse->entries[parse->n_entries++] = *entry;
    return 0;
}

static int take_size(struct parse *parse, const char *text) {
    char *end;

    errno = 0;
    parse->now.size = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end || errno || parse->now.size > INT64_MAX)
        return fail(parse, S3PVE_E_CORRUPT, "a size that is no number");
    parse->now.has_size = true;
    return 0;
}

/* Without its quotes; texts too long for struct s3pve_info are no ETags. */
static int take_etag(struct parse *parse, const char *text) {
    char etag[S3PVE_ETAG_MAX];

    if (strncmp(text, "W/", 2) == 0)
        text += 2;
    text += *text == '"';
    if (strlen(text) >= sizeof(etag))
        return 0;
    snprintf(etag, sizeof(etag), "%.*s", (int)strcspn(text, "\""), text);
    return keep(parse, etag, &parse->now.etag);
}

static int close_contents(struct parse *parse) {
    struct raw_entry entry = parse->now;

    parse->now = (struct raw_entry){.key = NONE};
    if (entry.key == NONE)
        return fail(parse, S3PVE_E_CORRUPT, "an object without a name");
    if (!entry.has_size)
        return fail(parse, S3PVE_E_CORRUPT, "an object without a size");
    return add_entry(parse, &entry);
}

static int take_contents(struct parse *parse, const char *name, const char *text) {
    if (strcmp(name, "Key") == 0)
        return keep(parse, text, &parse->now.key);
    if (strcmp(name, "Size") == 0)
        return take_size(parse, text);
    if (strcmp(name, "ETag") == 0)
        return take_etag(parse, text);
    if (strcmp(name, "StorageClass") == 0)
        return keep(parse, text, &parse->now.storage_class);
    if (strcmp(name, "LastModified") == 0 && clock_parse_iso8601(text, &parse->now.mtime) < 0)
        parse->now.mtime = 0;
    return 0;
}

static int take_common_prefix(struct parse *parse, const char *text) {
    struct raw_entry entry = {.is_prefix = true};

    return keep(parse, text, &entry.key) != 0 ? 1 : add_entry(parse, &entry);
}

static int take_top(struct parse *parse, const char *name, const char *text) {
    if (strcmp(name, "Contents") == 0)
        return close_contents(parse);
    if (strcmp(name, "NextContinuationToken") == 0) {
        if (strlen(text) > LIMIT_TOKEN)
            return fail(parse, S3PVE_E_CORRUPT, "a continuation token beyond reason");
        return keep(parse, text, &parse->token);
    }
    if (strcmp(name, "NextMarker") == 0)
        return keep(parse, text, &parse->next_marker);
    if (strcmp(name, "IsTruncated") == 0) {
        parse->says_truncated = true;
        parse->truncated = strcmp(text, "true") == 0;
    } else if (strcmp(name, "EncodingType") == 0) {
        parse->encoded = strcmp(text, "url") == 0;
    } else if (strcmp(name, "Marker") == 0) {
        parse->has_marker = true;
    } else if (strcmp(name, "KeyCount") == 0 || strcmp(name, "ContinuationToken") == 0) {
        parse->has_v2 = true;
    }
    return 0;
}

static int take_element(void *ctx, const char *path, const char *text) {
    struct parse *parse = ctx;
    const char *name = strchr(path, '/');

    if (!name)
        return 0;
    name++;
    if (strncmp(name, "Contents/", 9) == 0)
        return take_contents(parse, name + 9, text);
    if (strcmp(name, "CommonPrefixes/Prefix") == 0)
        return take_common_prefix(parse, text);
    return strchr(name, '/') ? 0 : take_top(parse, name, text);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %XX into bytes, in place; '+' stays '+', as S3 encodes a space as %20.  Returns the length. */
static size_t decode(char *text) {
    char *to = text;

    for (const char *from = text; *from; from++) {
        int high = *from == '%' ? hex_digit(from[1]) : -1;
        int low = high >= 0 ? hex_digit(from[2]) : -1;

        if (low >= 0) {
            *to++ = (char)(high << 4 | low);
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

/* Where version 1 goes on: after what it says, or after the last name in byte order. */
static const char *find_marker(const struct parse *parse, const struct list_page *page) {
    const char *marker = "";

    if (parse->next_marker)
        return page->text + parse->next_marker;
    for (size_t i = 0; i < page->n_entries; i++) {
        if (strcmp(page->entries[i].key, marker) > 0)
            marker = page->entries[i].key;
    }
    return marker;
}

static int finish_entries(struct parse *parse, struct list_page *page) {
    for (size_t i = 0; i < parse->n_entries; i++) {
        const struct raw_entry *raw = &parse->entries[i];
        char *key = page->text + raw->key;
        size_t len = parse->encoded ? decode(key) : strlen(key);

        if (len != strlen(key) || !utf8_valid(key, len)) {
            page->n_odd++;
            continue;
        }
        if (strncmp(key, parse->prefix, strlen(parse->prefix)) != 0)
            return fail(parse, S3PVE_E_CORRUPT, "a name outside of the prefix that was asked for");
        page->entries[page->n_entries++] = (struct list_entry){
            .key = key,
            .etag = page->text + raw->etag,
            .storage_class = page->text + raw->storage_class,
            .size = raw->size,
            .mtime = raw->mtime,
            .is_prefix = raw->is_prefix,
        };
    }
    return 0;
}

/* The walk is over and the text has its final place. */
static int finish(struct parse *parse, struct list_page *page) {
    page->entries = calloc(parse->n_entries ? parse->n_entries : 1, sizeof(*page->entries));
    page->text = buf_steal(&parse->text);
    if (!page->entries || !page->text)
        return fail(parse, S3PVE_E_NOMEM, "out of memory");
    if (parse->encoded && parse->next_marker)
        (void)decode(page->text + parse->next_marker);
    if (finish_entries(parse, page) != 0)
        return 1;

    page->is_v1 = parse->has_marker && !parse->has_v2 && !parse->token;
    page->token = page->text + parse->token;
    page->marker = find_marker(parse, page);
    if (parse->says_truncated)
        page->more = parse->truncated;
    else
        page->more = *page->token || parse->next_marker || parse->n_entries >= LIMIT_LIST_PAGE;
    return 0;
}

int list_page_parse(
    const char *data,
    size_t len,
    const char *prefix,
    struct list_page *ret_page,
    struct s3pve_error *err
) {
    struct list_page page = {0};
    struct parse parse = {.prefix = prefix, .now.key = NONE};
    char root[64];
    int rc;

    if (buf_add(&parse.text, "", 1) < 0)
        return error_set(err, S3PVE_E_NOMEM, "listing: out of memory");
    rc = xml_walk(data, len, root, take_element, &parse, err);
    if (rc == 0 && !parse.fault && strcmp(root, "ListBucketResult") != 0)
        fail(&parse, S3PVE_E_CORRUPT, "not a listing");
    if (rc == 0 && !parse.fault)
        finish(&parse, &page);
    buf_clear(&parse.text);
    free(parse.entries);
    if (rc < 0)
        return error_wrap(err, "listing");
    if (parse.fault) {
        list_page_clear(&page);
        return error_set(err, parse.code, "listing: %s", parse.fault);
    }

    *ret_page = page;
    return 0;
}

void list_page_clear(struct list_page *page) {
    free(page->entries);
    free(page->text);
    *page = (struct list_page){0};
}
