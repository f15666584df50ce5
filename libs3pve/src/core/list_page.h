/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* list_page.h - one answer of ListObjects, taken apart: a pure function of its bytes */
#ifndef CORE_LIST_PAGE_H
#define CORE_LIST_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "s3pve.h"

struct list_entry {
    const char *key; /* decoded, with every prefix; in the page's text, like all of these */
    const char *etag;
    const char *storage_class;
    uint64_t size;
    int64_t mtime; /* 0 when it was not told */
    bool is_prefix;
};

struct list_page {
    struct list_entry *entries; /* owned */
    size_t n_entries;
    char *text;         /* owned: what the entries point into */
    const char *token;  /* where the next page of version 2 begins; "" none */
    const char *marker; /* the same for version 1; "" none */
    bool more;          /* there is a next page */
    bool is_v1;         /* a server that does not know version 2 answered in version 1 */
    unsigned n_odd;     /* names left out because they are no UTF-8 text */
};

/*
 * @prefix: what the full keys must begin with; others are an error, as the server then did not do
 * what it was asked.  Return: 0, or -1 (CORRUPT, NOMEM).  Free with list_page_clear().
 */
int list_page_parse(
    const char *data,
    size_t len,
    const char *prefix,
    struct list_page *ret_page,
    struct s3pve_error *err
);
void list_page_clear(struct list_page *page);

#endif
