/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "core/client.h"
#include "script.h"
#include "tap.h"

#define EMPTY_MD5 "d41d8cd98f00b204e9800998ecf8427e"

/* A store with a source object, and whatever it is asked to make of it. */
struct store {
    uint64_t size; /* of the source */
    uint64_t copied;
    unsigned n_copy, n_create, n_part, n_complete, n_abort, n_get, n_put, n_upload_part;
    struct answer copy_answer, part_answer; /* instead of success */
    bool has_tags, short_copy;
    char source_headers[512], dest_headers[128];
};

static void serve_head(struct store *store, const struct sent *sent, struct answer *a) {
    if (strstr(sent->url, "/src")) {
        snprintf(
            store->source_headers,
            sizeof(store->source_headers),
            "content-length: %llu\netag: \"v1\"\ncontent-type: text/x\nx-amz-meta-a: 1\n"
            "x-amz-meta-s3pve-write: older\n",
            (unsigned long long)store->size
        );
        *a = (struct answer){.status = 200, .headers = store->source_headers};
        return;
    }
    snprintf(
        store->dest_headers,
        sizeof(store->dest_headers),
        "content-length: %llu\netag: \"copy\"\n",
        (unsigned long long)store->copied
    );
    *a = (struct answer){.status = store->copied ? 200 : 404, .headers = store->dest_headers};
}

static void serve_part_copy(struct store *store, const struct sent *sent, struct answer *a) {
    unsigned long long first, last;

    store->n_part++;
    sscanf(sent_header(sent, "x-amz-copy-source-range"), "bytes=%llu-%llu", &first, &last);
    *a = store->part_answer;
    if (a->status)
        return;
    store->copied += last - first + 1;
    *a = (struct answer
    ){.status = 200, .body = "<CopyPartResult><ETag>\"" EMPTY_MD5 "\"</ETag></CopyPartResult>"};
    a->take_ms = 10;
}

static void serve_copy(struct store *store, struct answer *a) {
    store->n_copy++;
    *a = store->copy_answer;
    if (a->status)
        return;
    store->copied = store->size - store->short_copy;
    *a = (struct answer
    ){.status = 200, .body = "<CopyObjectResult><ETag>\"copy\"</ETag></CopyObjectResult>"};
}

static void serve_get(struct store *store, const struct sent *sent, struct answer *a) {
    static char body[] = "0123456789", headers[96];

    store->n_get++;
    if (strstr(sent->url, "?tagging")) {
        *a = (struct answer
        ){.status = 200,
          .body = store->has_tags ? "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag>"
                                    "</TagSet></Tagging>"
                                  : "<Tagging><TagSet/></Tagging>"};
        return;
    }
    snprintf(headers, sizeof(headers), "content-range: bytes 0-9/10\netag: \"v1\"\n");
    *a = (struct answer){.status = 206, .headers = headers, .body = body};
}

static void serve(struct script *s, const struct sent *sent, struct answer *a) {
    struct store *store = s->ctx;

    if (strcmp(sent->method, "HEAD") == 0) {
        serve_head(store, sent, a);
    } else if (strcmp(sent->method, "GET") == 0) {
        serve_get(store, sent, a);
    } else if (strcmp(sent->method, "DELETE") == 0) {
        store->n_abort++;
        *a = (struct answer){.status = 204};
    } else if (strstr(sent->url, "?uploads")) {
        store->n_create++;
        *a = UPLOAD_CREATED;
    } else if (strstr(sent->url, "partNumber=")) {
        serve_part_copy(store, sent, a);
    } else if (strstr(sent->url, "uploadId=")) {
        store->n_complete++;
        *a = (struct answer
        ){.status = 200,
          .body =
              "<CompleteMultipartUploadResult><ETag>\"copy\"</ETag>"
              "</CompleteMultipartUploadResult>"};
    } else if (sent_header(sent, "x-amz-copy-source")) {
        serve_copy(store, a);
    } else {
        store->n_put++;
        store->copied = sent->body_len;
        *a = (struct answer){.status = 200, .headers = "etag: \"copy\"\n"};
    }
}

struct result {
    struct script script;
    int rc;
    struct s3pve_info info;
    struct s3pve_error err;
};

static struct result *copy_with(
    struct store *store, const char *provider, const struct s3pve_put_options *options
) {
    struct result *r = calloc(1, sizeof(*r));
    struct s3pve_client *client;

    r->script.serve = serve;
    r->script.ctx = store;
    client = script_client(&r->script, "provider", provider, "prefix", "p", NULL);
    r->rc = s3pve_object_copy(client, "src & more", "dst", options, &r->info, NULL, &r->err);
    s3pve_client_close(client);
    return r;
}

static void result_free(struct result *r) {
    script_clear(&r->script);
    free(r);
}

static const struct sent *find(const struct result *r, const char *method, const char *part) {
    for (unsigned i = 0; i < r->script.n_sent; i++)
        if (strcmp(r->script.sent[i].method, method) == 0 && strstr(r->script.sent[i].url, part))
            return &r->script.sent[i];
    return NULL;
}

static void a_small_object_is_copied_in_one_request(void) {
    struct store store = {.size = 100};
    struct result *r = copy_with(&store, "ceph", NULL);
    const struct sent *sent = find(r, "PUT", "/dst");

    is_int(r->rc, 0, "copied");
    is_int(store.n_copy, 1, "... by the store");
    is_str(sent_header(sent, "x-amz-copy-source"), "/bucket/p/src%20%26%20more", "... from there");
    is_str(sent_header(sent, "x-amz-copy-source-if-match"), "\"v1\"", "... this version");
    is_str(sent_header(sent, "x-amz-metadata-directive"), "COPY", "... with its metadata");
    is_int((long long)r->info.size, 100, "and looked at");
    result_free(r);
}

static void options_replace_what_the_source_has(void) {
    struct store store = {.size = 100};
    const struct s3pve_meta meta = {"b", "2"};
    const struct s3pve_put_options options = {.meta = &meta, .n_meta = 1};
    struct result *r = copy_with(&store, "ceph", &options);
    const struct sent *sent = find(r, "PUT", "/dst");

    is_str(sent_header(sent, "x-amz-metadata-directive"), "REPLACE", "metadata is replaced");
    is_str(sent_header(sent, "x-amz-meta-b"), "2", "... by this");
    is_str(sent_header(sent, "content-type"), "text/x", "the type stays unless another is given");
    result_free(r);
}

static void a_copy_of_another_size_is_corrupt(void) {
    struct store store = {.size = 100, .short_copy = true};
    struct result *r = copy_with(&store, "ceph", NULL);

    is_int(r->err.code, S3PVE_E_CORRUPT, "a byte short: CORRUPT");
    result_free(r);
}

static void an_error_inside_a_200_is_seen(void) {
    struct store store = {
        .size = 100,
        .copy_answer = {.status = 200, .body = "<Error><Code>AccessDenied</Code></Error>"}};
    struct result *r = copy_with(&store, "ceph", NULL);

    is_int(r->err.code, S3PVE_E_DENIED, "200 with <Error> is that error");
    result_free(r);
}

static void a_source_that_changes_is_a_conflict(void) {
    struct store store = {
        .size = 100,
        .copy_answer = {.status = 412, .body = "<Error><Code>PreconditionFailed</Code></Error>"}};
    struct result *r = copy_with(&store, "ceph", NULL);

    is_int(r->err.code, S3PVE_E_CONFLICT, "the source is another by now: CONFLICT");
    result_free(r);
}

static void a_large_object_is_copied_in_parts(void) {
    struct store store = {.size = GIB(6), .has_tags = true};
    struct result *r = copy_with(&store, "ceph", NULL);
    const struct sent *create = find(r, "POST", "?uploads");
    const struct sent *second = find(r, "PUT", "partNumber=2&");

    is_int(r->rc, 0, "6 GiB are copied");
    is_int(store.n_copy, 0, "... not in one request");
    is_int(store.n_part, 24, "... but in 24 parts");
    is_str(
        sent_header(second, "x-amz-copy-source-range"),
        "bytes=268435456-536870911",
        "... of 256 MiB"
    );
    is_str(sent_header(second, "x-amz-copy-source-if-match"), "\"v1\"", "... of one version");
    ok(r->script.n_active_max > 1, "... several at a time");
    is_str(sent_header(create, "content-type"), "text/x", "type");
    is_str(sent_header(create, "x-amz-meta-a"), "1", "... metadata");
    is_str(sent_header(create, "x-amz-tagging"), "k=v", "... and tags come along");
    is_int((long long)store.copied, (long long)GIB(6), "every byte is asked for");
    is_int(store.n_complete, 1, "and completed");
    result_free(r);
}

static void a_failed_part_leaves_nothing(void) {
    struct store store = {
        .size = GIB(6),
        .part_answer = {.status = 403, .body = "<Error><Code>AccessDenied</Code></Error>"}};
    struct result *r = copy_with(&store, "ceph", NULL);

    is_int(r->err.code, S3PVE_E_DENIED, "a part is refused: DENIED");
    is_int(store.n_complete, 0, "nothing is completed");
    is_int(store.n_abort, 1, "... and the upload aborted");
    is_int(r->script.n_active, 0, "... with nothing on the wire");
    result_free(r);
}

static void providers_differ_in_what_is_large(void) {
    struct store at_aws = {.size = 4950000000u}, at_b2 = at_aws, at_google = {.size = GIB(6)};
    struct result *r = copy_with(&at_aws, "ceph", NULL);

    is_int(at_aws.n_copy, 1, "4.95 GB fit one request by S3's rules");
    result_free(r);
    r = copy_with(&at_b2, "backblaze", NULL);
    is_int(at_b2.n_copy, 0, "... but not at B2");
    is_int(at_b2.n_part, 19, "... where it takes parts");
    result_free(r);
    r = copy_with(&at_google, "google", NULL);
    is_int(at_google.n_copy, 1, "Google copies anything in one request");
    is_int(at_google.n_part, 0, "... for it knows no part copies");
    result_free(r);
}

static void a_store_that_says_too_large_gets_parts(void) {
    struct store store = {
        .size = GIB(2),
        .copy_answer = {.status = 400, .body = "<Error><Code>EntityTooLarge</Code></Error>"}};
    struct result *r = copy_with(&store, "generic", NULL);

    is_int(r->rc, 0, "refused as too large");
    is_int(store.n_part, 8, "... it is copied in parts");
    result_free(r);
}

static void a_store_that_cannot_copy_lets_us(void) {
    struct store store = {.size = 10, .copy_answer = {.status = 501}};
    struct result *r = copy_with(&store, "generic", NULL);
    const struct sent *get = find(r, "GET", "/src%20%26%20more"), *put = NULL;

    is_int(r->rc, 0, "no CopyObject here");
    is_int(store.n_put, 1, "... so the bytes go through us");
    for (unsigned i = 0; i < r->script.n_sent; i++)
        if (strcmp(r->script.sent[i].method, "PUT") == 0)
            put = &r->script.sent[i];
    is_str(put->body, "0123456789", "... unchanged");
    is_str(sent_header(put, "content-type"), "text/x", "... with their type");
    is_str(sent_header(put, "x-amz-meta-a"), "1", "... and metadata");
    ok(get != NULL, "the source was read");
    result_free(r);
}

static void onto_itself_there_is_nothing_to_do(void) {
    struct store store = {.size = 10};
    struct script s = {.serve = serve, .ctx = &store};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_info info = {0};

    is_int(s3pve_object_copy(client, "src", "src", NULL, &info, NULL, NULL), 0, "onto itself");
    is_int(s.n_sent, 1, "... only looks whether it is there");
    is_str(info.etag, "v1", "... and says what it is");
    s3pve_client_close(client);
    script_clear(&s);
}

static void an_existing_target_may_be_a_conflict(void) {
    struct store store = {.size = 10, .copied = 3};
    const struct s3pve_put_options options = {.if_absent = true};
    struct result *r = copy_with(&store, "ceph", &options);

    is_int(r->err.code, S3PVE_E_CONFLICT, "the target exists: CONFLICT");
    is_int(store.n_copy, 0, "... and is left alone");
    result_free(r);
}

/* Each answer takes seven of the ten seconds there are. */
static void serve_slowly(struct script *s, const struct sent *sent, struct answer *a) {
    serve(s, sent, a);
    a->take_ms = 7000;
}

static void a_copy_has_one_timeout_for_all_its_requests(void) {
    struct store store = {.size = 1000};
    struct script s = {.serve = serve_slowly, .ctx = &store};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    s3pve_object_copy(client, "src", "dst", NULL, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_TIMEOUT, "a store so slow that three requests take 21 s is a timeout");
    ok(s.now_ms <= 10000 + RESOLVE_MS, "... after that of one call, and not of each request");
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    a_copy_has_one_timeout_for_all_its_requests();
    a_small_object_is_copied_in_one_request();
    options_replace_what_the_source_has();
    a_copy_of_another_size_is_corrupt();
    an_error_inside_a_200_is_seen();
    a_source_that_changes_is_a_conflict();
    a_large_object_is_copied_in_parts();
    a_failed_part_leaves_nothing();
    providers_differ_in_what_is_large();
    a_store_that_says_too_large_gets_parts();
    a_store_that_cannot_copy_lets_us();
    onto_itself_there_is_nothing_to_do();
    an_existing_target_may_be_a_conflict();
    return done_testing();
}
