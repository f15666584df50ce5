/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A page of a listing, its prefix in the first line: names are text below it, or it is refused. */
#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "core/list_page.h"
#include "fuzz.h"

static size_t check_entry(const struct list_entry *entry, const char *prefix) {
    must(utf8_valid(entry->key, strlen(entry->key)));
    must(strncmp(entry->key, prefix, strlen(prefix)) == 0);
    must(strlen(entry->etag) < S3PVE_ETAG_MAX && !strchr(entry->etag, '"'));
    must(entry->size <= INT64_MAX);
    return strlen(entry->key) + strlen(entry->etag) + strlen(entry->storage_class);
}

static void check_page(const struct list_page *page, size_t size, const char *prefix) {
    size_t total = 0;

    must(page->n_entries <= LIMIT_LIST_ENTRIES);
    must(page->n_odd <= size && page->n_entries <= size);
    for (size_t i = 0; i < page->n_entries; i++)
        total += check_entry(&page->entries[i], prefix);
    must(total <= 4 * size); /* a character reference may be shorter than its UTF-8; not by far */
    must(strlen(page->token) <= LIMIT_TOKEN && page->marker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, '\n', size);
    char *prefix = end ? strndup((const char *)data, (size_t)(end - data)) : strdup("");
    const char *document = end ? (const char *)end + 1 : (const char *)data;
    const size_t len = size - (size_t)(document - (const char *)data);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct list_page page = {0};

    if (list_page_parse(document, len, prefix, &page, &err) == 0)
        check_page(&page, size, prefix);
    else
        must(err.code == S3PVE_E_CORRUPT && err.message[0] && !strchr(err.message, '\n'));
    list_page_clear(&page);
    free(prefix);
    return 0;
}
