/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * list.c - keys below a prefix, page after page
 *
 * Version 2 of ListObjects, and version 1 where the server knows no other: it says so, or it
 * answers in version 1, which has to be noticed as it would silently ignore start-after.  The next
 * page is asked for as soon as its token is known, so the server works while the caller reads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "core/client.h"
#include "core/error.h"
#include "core/list_page.h"
#include "core/request.h"

#define WAIT_MS 60000 /* any: the request's own deadline ends it */

struct s3pve_list {
    struct s3pve_client *client; /* borrowed */
    struct s3pve_call call;
    char *prefix;    /* owned, with the client's in front */
    char *delimiter; /* owned, or NULL */
    char *start;     /* owned, with the client's prefix in front, or NULL */
    char *token;     /* owned: where the next page begins; NULL at first */
    bool v1;
    bool done; /* the page in hand is the last */
    unsigned n_pages;
    struct list_page page;
    size_t at; /* next entry of the page */
    bool told_odd;
    struct request *ahead; /* owned: the next page, on its way; NULL */
};

DEFINE_CLEANUP(struct s3pve_list *, s3pve_list_close)

static void request_free(struct request *rq) {
    if (!rq)
        return;
    request_clear(rq);
    free(rq);
}

DEFINE_CLEANUP(struct request *, request_free)

static int check_text(const char *what, const char *text, struct s3pve_error *err) {
    if (text && strlen(text) > LIMIT_KEY)
        return error_set(err, S3PVE_E_INVALID, "%s: %zu bytes long, no key is", what, strlen(text));
    if (text && !utf8_valid(text, strlen(text)))
        return error_set(err, S3PVE_E_INVALID, "%s: not valid UTF-8", what);
    return 0;
}

_public_ int s3pve_list_open(
    struct s3pve_client *client,
    const char *prefix,
    const char *delimiter,
    const char *start,
    struct s3pve_list **ret_list,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(s3pve_list_closep) struct s3pve_list *list = NULL;

    if (check_text("prefix", prefix, err) < 0 || check_text("start", start, err) < 0 ||
        check_text("delimiter", delimiter, err) < 0)
        return -1;

    list = calloc(1, sizeof(*list));
    if (!list)
        return error_set(err, S3PVE_E_NOMEM, "list: out of memory");
    list->client = client;
    if (call)
        list->call = *call;
    if (client_full_key(client, prefix ? prefix : "", &list->prefix, err) < 0)
        return -1;
    if (start && *start && client_full_key(client, start, &list->start, err) < 0)
        return -1;
    if (delimiter && *delimiter && !(list->delimiter = strdup(delimiter)))
        return error_set(err, S3PVE_E_NOMEM, "list: out of memory");
    list->v1 = client->list_v1;

    *ret_list = steal_ptr(&list);
    return 0;
}

_public_ struct s3pve_list *s3pve_list_close(struct s3pve_list *list) {
    if (!list)
        return NULL;

    if (list->ahead)
        request_cancel(list->client, list->ahead);
    request_free(list->ahead);
    list_page_clear(&list->page);
    free(list->prefix);
    free(list->delimiter);
    free(list->start);
    free(list->token);
    free(list);
    return NULL;
}

static struct request *page_request(const struct s3pve_list *list) {
    struct request *rq = calloc(1, sizeof(*rq));
    const char *from = list->token ? list->token : list->start;

    if (!rq)
        return NULL;
    request_init(rq, list->v1 ? "ListObjects" : "ListObjectsV2", "GET", NULL, &list->call);
    rq->root = "ListBucketResult";
    if (list->delimiter)
        request_query(rq, "delimiter", list->delimiter);
    request_query(rq, "encoding-type", "url");
    request_query(rq, "max-keys", "1000");
    request_query(rq, "prefix", list->prefix);
    if (list->v1 && from)
        request_query(rq, "marker", from);
    if (!list->v1)
        request_query(rq, "list-type", "2");
    if (!list->v1 && from)
        request_query(rq, list->token ? "continuation-token" : "start-after", from);
    return rq;
}

/* Start the next page.  Not having it is no failure: it is asked for again when it is needed. */
static void send_ahead(struct s3pve_list *list) {
    list->ahead = page_request(list);
    if (!list->ahead)
        return;
    list->ahead->urgent = true;
    request_submit(list->client, list->ahead);
    (void)request_wait(list->client, &list->ahead, 1, 0); /* gets it onto the wire */
}

/* The page that is on its way, when it has arrived or failed; NULL: there is none. */
static struct request *take_ahead(struct s3pve_list *list) {
    struct request *rq = steal_ptr(&list->ahead);

    while (rq && request_wait(list->client, &rq, 1, WAIT_MS) < 0)
        ;
    return rq;
}

static int64_t now_ms(const struct s3pve_list *list) {
    return list->client->transport.now_ms(list->client->transport.ctx);
}

/* One timeout from now on, for the page that was asked for before and for asking again. */
static struct request *send_for_page(struct s3pve_list *list) {
    unsigned timeout_ms = list->call.timeout_ms;
    int64_t until, left;
    struct request *rq;

    if (!timeout_ms)
        timeout_ms = list->client->config.timeout_ms;
    until = now_ms(list) + timeout_ms;
    rq = take_ahead(list);
    left = until - now_ms(list);
    if (rq && (rq->error.code == S3PVE_OK || left <= 0))
        return rq;

    request_free(rq);
    rq = page_request(list);
    if (!rq)
        return NULL;
    rq->urgent = true;
    rq->call.timeout_ms = (unsigned)left;
    (void)request_send(list->client, rq, NULL);
    return rq;
}

static int get_page(struct s3pve_list *list, struct list_page *ret_page, struct s3pve_error *err) {
    _cleanup_(request_freep) struct request *rq = send_for_page(list);

    if (!rq)
        return error_set(err, S3PVE_E_NOMEM, "list: out of memory");
    if (rq->error.code != S3PVE_OK) {
        if (err)
            *err = rq->error;
        return -1;
    }
    if (list_page_parse(
            rq->reply.body ? rq->reply.body : "", rq->reply.body_len, list->prefix, ret_page, err
        ) < 0) {
        if (err)
            err->http_status = rq->reply.status;
        return -1;
    }
    return 0;
}

static void fall_back(struct s3pve_list *list) {
    list->v1 = true;
    free(list->token);
    list->token = NULL;
    list->client->list_v1 = true;
}

/* Only the first page can show that the server has no version 2. */
static int get_first_page(
    struct s3pve_list *list, struct list_page *ret_page, struct s3pve_error *err
) {
    struct s3pve_error reason = S3PVE_ERROR_INIT;
    bool foreign;

    if (get_page(list, ret_page, &reason) == 0) {
        foreign = ret_page->is_v1 || (ret_page->more && !*ret_page->token);
        if (list->v1 || !foreign)
            return 0;
        list_page_clear(ret_page);
    } else if (list->v1 || reason.code != S3PVE_E_UNSUPPORTED) {
        if (err)
            *err = reason;
        return -1;
    }
    fall_back(list);
    return get_page(list, ret_page, err);
}

/* Remember where the next page begins.  A server that sends us back would keep us forever. */
static int advance(struct s3pve_list *list, struct s3pve_error *err) {
    const char *next = list->v1 ? list->page.marker : list->page.token;
    bool stuck = !next || !*next || (list->token && strcmp(next, list->token) == 0);

    list->done = !list->page.more;
    if (list->done)
        return 0;
    if (stuck || ++list->n_pages >= LIMIT_LIST_PAGES)
        return error_set(
            err, S3PVE_E_CORRUPT, "listing: the server %s", stuck ? "goes in circles" : "never ends"
        );
    free(list->token);
    list->token = strdup(next);
    return list->token ? 0 : error_set(err, S3PVE_E_NOMEM, "list: out of memory");
}

static void tell_odd_names(struct s3pve_list *list) {
    if (!list->page.n_odd || list->told_odd)
        return;
    list->told_odd = true;
    client_log(
        list->client,
        S3PVE_LOG_WARNING,
        "ListObjectsV2",
        list->prefix,
        "objects whose names are not valid UTF-8 are left out"
    );
}

static int next_page(struct s3pve_list *list, struct s3pve_error *err) {
    struct list_page page = {0};
    int rc = list->token ? get_page(list, &page, err) : get_first_page(list, &page, err);

    if (rc < 0)
        return error_wrap(err, "list '%s'", list->prefix);
    list_page_clear(&list->page);
    list->page = page;
    list->at = 0;
    tell_odd_names(list);
    if (advance(list, err) < 0) {
        list->page.n_entries = 0; /* what such a server says is not worth handing out */
        return error_wrap(err, "list '%s'", list->prefix);
    }
    if (!list->done)
        send_ahead(list);
    return 0;
}

/* Piece by piece: clearing the whole entry, metadata included, would cost more than reading it. */
static void hand_out(
    const struct list_entry *entry, const char *key, struct s3pve_entry *ret_entry
) {
    struct s3pve_info *info = &ret_entry->info;

    ret_entry->key = key;
    ret_entry->is_prefix = entry->is_prefix;
    info->size = entry->size;
    info->mtime = entry->mtime;
    info->n_meta = 0;
    info->content_type[0] = '\0';
    snprintf(info->etag, sizeof(info->etag), "%s", entry->etag);
    snprintf(info->storage_class, sizeof(info->storage_class), "%s", entry->storage_class);
}

_public_ int s3pve_list_next(
    struct s3pve_list *list, struct s3pve_entry *ret_entry, struct s3pve_error *err
) {
    for (;;) {
        while (list->at < list->page.n_entries) {
            const struct list_entry *entry = &list->page.entries[list->at++];
            const char *key = client_relative_key(list->client, entry->key);

            if (!key || !*key) /* a marker for the prefix itself */
                continue;
            hand_out(entry, key, ret_entry);
            return 1;
        }
        if (list->done)
            return 0;
        if (next_page(list, err) < 0)
            return -1;
    }
}
