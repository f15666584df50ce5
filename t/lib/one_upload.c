/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "one_upload.h"
#include "tap.h"

static const char *const etags[] = {
    "",
    "59adb24ef3cdbe0297f05b395827453f-1",
    "5873dd45edd01f09c1ef2e7819369e8e-2",
    "2bc3f09a6fbadbe687825030c6e7b9a4-3"};

static void serve_complete(struct store *store, const struct sent *sent, struct answer *a) {
    unsigned n = 0;
    uint64_t size = 0;

    for (const char *p = sent->body; (p = strstr(p, "<Part>")); p++)
        size += store->part[++n];
    store->n_complete++;
    if (!store->complete.status || store->published_anyway)
        store->object = size;
    if (store->complete.status) {
        *a = store->complete;
        return;
    }
    snprintf(
        store->body,
        sizeof(store->body),
        "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>",
        n < 4 ? etags[n] : "many"
    );
    *a = (struct answer){.status = 200, .body = store->body};
}

static void serve_part(struct store *store, const struct sent *sent, struct answer *a) {
    unsigned n = (unsigned)atoi(strstr(sent->url, "partNumber=") + strlen("partNumber="));

    store->n_part++;
    if (n == store->fail_part && store->fail_times) {
        store->fail_times--;
        *a = store->failure;
        return;
    }
    store->part[n] = sent->body_len;
    *a = (struct answer){.status = 200, .headers = "etag: \"" EMPTY_MD5 "\"\n"};
    a->take_ms = store->take_ms;
}

static void serve_head(struct store *store, struct answer *a) {
    store->n_head++;
    if (store->object == UINT64_MAX) {
        *a = (struct answer){.status = 404};
        return;
    }
    snprintf(
        store->headers,
        sizeof(store->headers),
        "content-length: %llu\netag: \"x\"\nx-amz-meta-s3pve-write: "
        "ffffffffffffffffffffffffffffffff\n",
        (unsigned long long)store->object
    );
    *a = (struct answer){.status = 200, .headers = store->headers};
}

static void serve(struct script *s, const struct sent *sent, struct answer *a) {
    struct store *store = s->ctx;

    if (strcmp(sent->method, "HEAD") == 0) {
        serve_head(store, a);
    } else if (strcmp(sent->method, "DELETE") == 0) {
        store->n_abort++;
        *a = (struct answer){.status = 204};
    } else if (strstr(sent->url, "?uploads")) {
        store->n_create++;
        *a = UPLOAD_CREATED;
    } else if (strstr(sent->url, "partNumber=")) {
        serve_part(store, sent, a);
    } else if (strstr(sent->url, "uploadId=")) {
        serve_complete(store, sent, a);
    } else {
        store->n_put++;
        store->object = sent->body_len;
        *a = (struct answer){.status = 200, .headers = "etag: \"" EMPTY_MD5 "\"\n"};
    }
}

struct world *world_new(void) {
    struct world *w = calloc(1, sizeof(*w));

    w->script.serve = serve;
    w->script.ctx = &w->store;
    w->store.object = UINT64_MAX;
    w->client = script_client(&w->script, "part-size", "5", NULL);
    w->bytes = malloc(3 * PART);
    for (size_t i = 0; i < 3 * PART; i++)
        w->bytes[i] = (char)(i * 7 + i / 4096);
    s3pve_upload_open(w->client, "key", NULL, &w->upload, NULL);
    return w;
}

void world_free(struct world *w) {
    s3pve_upload_close(w->upload);
    is_int((long long)w->client->part_memory, 0, "all memory is given back");
    is_int(w->script.n_active, 0, "... and nothing is on the wire");
    s3pve_client_close(w->client);
    script_clear(&w->script);
    free(w->bytes);
    free(w);
}

int world_put(struct world *w, size_t from, size_t len) {
    return s3pve_upload_write(w->upload, w->bytes + from, len, NULL, &w->err);
}

int world_finish(struct world *w) {
    return s3pve_upload_complete(w->upload, NULL, NULL, &w->err);
}

bool world_sent_right(const struct world *w) {
    bool same = true;

    for (unsigned i = 0; i < w->script.n_sent; i++) {
        const struct sent *sent = &w->script.sent[i];
        const char *number = strstr(sent->url, "partNumber=");

        if (number)
            same = same &&
                   memcmp(
                       sent->body, w->bytes + (size_t)(atoi(number + 11) - 1) * PART, sent->body_len
                   ) == 0;
    }
    return same;
}
