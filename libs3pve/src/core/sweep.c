/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* sweep.c - multipart uploads that nobody will finish: found by listing, aborted by age */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "core/error.h"
#include "core/multipart.h"
#include "core/xml.h"

struct orphan {
    char *key, *id; /* owned; the key with its prefix */
    int64_t started_s;
};

struct sweep {
    struct s3pve_client *client;
    const char *prefix; /* full */
    unsigned older_s;
    struct span span;
    int64_t now_s; /* by the server's clock */
    unsigned n_aborted;
    struct s3pve_error first; /* failure */

    struct orphan page[LIMIT_LIST_PAGE];
    size_t n_page;
    struct orphan entry; /* being read */
    char key_marker[LIMIT_KEY + 1], id_marker[LIMIT_UPLOAD_ID + 1];
    bool truncated, out_of_memory;
};

static void orphan_clear(struct orphan *orphan) {
    free(orphan->key);
    free(orphan->id);
    *orphan = (struct orphan){0};
}

static void take_text(struct sweep *sweep, char **to, const char *text) {
    free(*to);
    *to = strdup(text);
    sweep->out_of_memory = sweep->out_of_memory || !*to;
}

static void take_entry(struct sweep *sweep) {
    struct orphan *entry = &sweep->entry;
    bool below = entry->key && strncmp(entry->key, sweep->prefix, strlen(sweep->prefix)) == 0;

    if (below && entry->id && *entry->id && entry->started_s && sweep->n_page < LIMIT_LIST_PAGE) {
        sweep->page[sweep->n_page++] = *entry;
        *entry = (struct orphan){0};
    }
    orphan_clear(entry);
}

static int on_element(void *ctx, const char *path, const char *text) {
    static const char root[] = "ListMultipartUploadsResult/";
    struct sweep *sweep = ctx;

    if (strncmp(path, root, strlen(root)) != 0)
        return 0;
    path += strlen(root);
    if (strcmp(path, "Upload/Key") == 0)
        take_text(sweep, &sweep->entry.key, text);
    else if (strcmp(path, "Upload/UploadId") == 0)
        take_text(sweep, &sweep->entry.id, text);
    else if (strcmp(path, "Upload/Initiated") == 0)
        (void)clock_parse_iso8601(text, &sweep->entry.started_s);
    else if (strcmp(path, "Upload") == 0)
        take_entry(sweep);
    else if (strcmp(path, "NextKeyMarker") == 0)
        snprintf(sweep->key_marker, sizeof(sweep->key_marker), "%s", text);
    else if (strcmp(path, "NextUploadIdMarker") == 0)
        snprintf(sweep->id_marker, sizeof(sweep->id_marker), "%s", text);
    else if (strcmp(path, "IsTruncated") == 0)
        sweep->truncated = strcmp(text, "true") == 0;
    return sweep->out_of_memory;
}

static int64_t server_now(struct s3pve_client *client, const struct request *rq) {
    int64_t now = rq->reply.date_s;

    if (now)
        return now;
    LOCK_SCOPE(&client->lock);
    return client->transport.wall_s(client->transport.ctx) + client->skew_s;
}

static int list_page(struct sweep *sweep, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    char root[64];

    request_init(&rq, "ListMultipartUploads", "GET", NULL, span_call(&sweep->span));
    request_query(&rq, "uploads", "");
    request_query(&rq, "max-uploads", "1000");
    if (*sweep->prefix)
        request_query(&rq, "prefix", sweep->prefix);
    if (*sweep->key_marker)
        request_query(&rq, "key-marker", sweep->key_marker);
    if (*sweep->key_marker && *sweep->id_marker)
        request_query(&rq, "upload-id-marker", sweep->id_marker);
    rq.root = "ListMultipartUploadsResult";
    if (request_send(sweep->client, &rq, err) < 0)
        return -1;

    sweep->now_s = server_now(sweep->client, &rq);
    sweep->key_marker[0] = sweep->id_marker[0] = '\0';
    sweep->truncated = false;
    if (xml_walk(rq.reply.body, rq.reply.body_len, root, on_element, sweep, err) < 0)
        return error_wrap(err, "ListMultipartUploads");
    if (sweep->out_of_memory)
        return error_set(err, S3PVE_E_NOMEM, "ListMultipartUploads");
    return 0;
}

/* Something failed, and there is no time left for the others. */
static bool is_hopeless(const struct sweep *sweep) {
    return sweep->first.code != S3PVE_OK && span_is_over(&sweep->span);
}

static void abort_page(struct sweep *sweep) {
    for (size_t i = 0; i < sweep->n_page && !is_hopeless(sweep); i++) {
        struct s3pve_error err = S3PVE_ERROR_INIT;
        struct orphan *orphan = &sweep->page[i];

        if (orphan->started_s + sweep->older_s > sweep->now_s)
            continue;
        if (multipart_abort(
                sweep->client, orphan->key, true, orphan->id, span_call(&sweep->span), &err
            ) == 0) {
            sweep->n_aborted++;
            client_log(
                sweep->client,
                S3PVE_LOG_INFO,
                "AbortMultipartUpload",
                orphan->key,
                "aborted an upload begun %" PRId64 " s ago",
                sweep->now_s - orphan->started_s
            );
        } else if (sweep->first.code == S3PVE_OK) {
            sweep->first = err;
        }
    }
}

static void clear_page(struct sweep *sweep) {
    for (size_t i = 0; i < sweep->n_page; i++)
        orphan_clear(&sweep->page[i]);
    orphan_clear(&sweep->entry);
    sweep->n_page = 0;
}

static int sweep_run(struct sweep *sweep, struct s3pve_error *err) {
    for (unsigned n = 0; n < LIMIT_LIST_PAGES; n++) {
        char last[LIMIT_KEY + 1], last_id[LIMIT_UPLOAD_ID + 1];

        memcpy(last, sweep->key_marker, sizeof(last));
        memcpy(last_id, sweep->id_marker, sizeof(last_id));
        if (list_page(sweep, err) < 0)
            return -1;
        abort_page(sweep);
        clear_page(sweep);
        if (!sweep->truncated || is_hopeless(sweep))
            return 0;
        if (!sweep->key_marker[0] ||
            (strcmp(last, sweep->key_marker) == 0 && strcmp(last_id, sweep->id_marker) == 0))
            break;
    }
    return error_set(err, S3PVE_E_CORRUPT, "ListMultipartUploads: the listing does not end");
}

_public_ int s3pve_upload_sweep(
    struct s3pve_client *client,
    const char *prefix,
    unsigned older_s,
    unsigned *n_aborted,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _free_ struct sweep *sweep = calloc(1, sizeof(*sweep));
    _free_ char *full = NULL;
    int rc;

    if (!sweep)
        return error_set(err, S3PVE_E_NOMEM, "ListMultipartUploads");
    if (client_full_key(client, prefix ? prefix : "", &full, err) < 0)
        return -1;
    sweep->client = client;
    sweep->prefix = full;
    sweep->older_s = older_s;
    span_begin(&sweep->span, client, call, 0);
    rc = sweep_run(sweep, err);
    clear_page(sweep);
    if (n_aborted)
        *n_aborted = sweep->n_aborted;
    if (rc == 0 && sweep->first.code != S3PVE_OK) {
        if (err)
            *err = sweep->first;
        return -1;
    }
    return rc;
}

_public_ int s3pve_upload_abort_id(
    struct s3pve_client *client,
    const char *key,
    const char *upload_id,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    if (object_check_key(client, key, err) < 0)
        return -1;
    if (!*upload_id)
        return error_set(err, S3PVE_E_INVALID, "%s: an upload id is empty", key);
    return multipart_abort(client, key, false, upload_id, call, err);
}
