/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "script.h"
#include "tap.h"

#define RACE (2 * PROBE_RACES * PROBE_WRITERS)

/* How a server treats what it is asked for. */
enum habit { HONOURS, REFUSES, IGNORES, DENIES };

/* A store of a few keys, with habits. */
struct model {
    enum habit put_if_absent, put_if_match, complete, delete_if_match, range, batch, v2, md5, crc,
        copy;
    bool wants_quotes;
    bool absent_races, match_races; /* all who ask at the same time win */
    bool resurrects;                /* If-Match makes what is not there */
    int fail_at;                    /* this request, counted from 1, gets no answer; 0: none */
    bool read_only;

    struct {
        char key[128];
        unsigned version;
    } objects[12];
    unsigned n_objects, version, n_requests;
    bool upload_open;
    char etag[64], headers[128], body[512];
};

static int find(const struct model *model, const char *key) {
    for (unsigned i = 0; i < model->n_objects; i++) {
        if (strcmp(model->objects[i].key, key) == 0)
            return (int)i;
    }
    return -1;
}

static void remove_key(struct model *model, const char *key) {
    int at = find(model, key);

    if (at >= 0)
        model->objects[at] = model->objects[--model->n_objects];
}

static void error(struct answer *answer, int status, const char *body) {
    *answer = (struct answer){.status = status, .body = body};
}

static void refuse(struct answer *answer, enum habit habit) {
    if (habit == DENIES)
        error(answer, 403, "<Error><Code>AccessDenied</Code></Error>");
    else
        error(answer, 501, "<Error><Code>NotImplemented</Code></Error>");
}

#define CONFLICT "<Error><Code>PreconditionFailed</Code></Error>"

/* Returns false when the condition does not let the write through; *answer says so then. */
static bool conditions_hold(
    struct model *model, const struct sent *sent, int at, enum habit absent, struct answer *answer
) {
    const char *none = sent_header(sent, "if-none-match");
    char want[80];

    if (none && absent != HONOURS && absent != IGNORES) {
        refuse(answer, absent);
        return false;
    }
    if (none && model->absent_races && strstr(sent->url, "-race"))
        return true;
    if (none && absent == HONOURS && at >= 0) {
        error(answer, 412, CONFLICT);
        return false;
    }
    if (!sent_header(sent, "if-match") || model->put_if_match == IGNORES ||
        (model->match_races && strstr(sent->url, "-race")) || (model->resurrects && at < 0))
        return true;
    if (model->put_if_match != HONOURS) {
        refuse(answer, model->put_if_match);
        return false;
    }
    snprintf(
        want,
        sizeof(want),
        model->wants_quotes ? "\"v%u\"" : "v%u",
        at < 0 ? 0 : model->objects[at].version
    );
    if (strcmp(sent_header(sent, "if-match"), want) != 0) {
        error(answer, 412, CONFLICT);
        return false;
    }
    return true;
}

static bool is_md5_of(const char *text, const struct sent *sent) {
    unsigned char digest[16];
    char want[32];

    EVP_Digest(sent->body, sent->body_len, digest, NULL, EVP_md5(), NULL);
    EVP_EncodeBlock((unsigned char *)want, digest, sizeof(digest));
    return strcmp(text, want) == 0;
}

static bool is_crc32c_of(const char *text, const struct sent *sent) {
    uint32_t sum = crc32c(0, sent->body, sent->body_len);
    unsigned char be[4] = {
        (unsigned char)(sum >> 24),
        (unsigned char)(sum >> 16),
        (unsigned char)(sum >> 8),
        (unsigned char)sum};
    char want[16];

    EVP_EncodeBlock((unsigned char *)want, be, sizeof(be));
    return strcmp(text, want) == 0;
}

static bool digests_fit(struct model *model, const struct sent *sent, struct answer *answer) {
    const char *md5 = sent_header(sent, "content-md5");
    bool md5_fits = !md5 || is_md5_of(md5, sent);
    bool has_md5 = md5;
    const char *crc = sent_header(sent, "x-amz-checksum-crc32c");

    if ((has_md5 && model->md5 == REFUSES) || (crc && model->crc == REFUSES))
        error(answer, 400, "<Error><Code>InvalidRequest</Code></Error>");
    else if ((!md5_fits && model->md5 == HONOURS) || (crc && !is_crc32c_of(crc, sent) && model->crc == HONOURS))
        error(answer, 400, "<Error><Code>BadDigest</Code></Error>");
    else
        return true;
    return false;
}

static void store(struct model *model, const char *key, struct answer *answer) {
    int at = find(model, key);

    if (at < 0) {
        at = (int)model->n_objects++;
        snprintf(model->objects[at].key, sizeof(model->objects[at].key), "%s", key);
    }
    model->objects[at].version = ++model->version;
    snprintf(
        model->headers, sizeof(model->headers), "etag: \"v%u\"\nserver: model\n", model->version
    );
    *answer = (struct answer){.status = 200, .headers = model->headers};
}

static void serve_multipart(
    struct model *model, const struct sent *sent, const char *key, struct answer *answer
) {
    static const char part[] = "<CopyPartResult><ETag>&quot;p1&quot;</ETag></CopyPartResult>";
    bool copies = sent_header(sent, "x-amz-copy-source");

    if (strcmp(sent->method, "DELETE") == 0) {
        model->upload_open = false;
        error(answer, 204, NULL);
    } else if (strstr(sent->url, "uploads=")) {
        model->upload_open = true;
        error(
            answer,
            200,
            "<InitiateMultipartUploadResult><UploadId>id/1</UploadId>"
            "</InitiateMultipartUploadResult>"
        );
    } else if (strcmp(sent->method, "PUT") == 0 && copies) {
        if (model->copy == HONOURS)
            error(answer, 200, part);
        else
            refuse(answer, model->copy);
    } else if (strcmp(sent->method, "PUT") == 0) {
        *answer = (struct answer){.status = 200, .headers = "etag: \"p1\"\n"};
    } else if (conditions_hold(model, sent, find(model, key), model->complete, answer)) {
        ok(strstr(sent->body, "<ETag>"), "a Complete names its part");
        store(model, key, answer);
        model->upload_open = false;
        answer->body =
            "<CompleteMultipartUploadResult><ETag>\"x-1\"</ETag>"
            "</CompleteMultipartUploadResult>";
    }
}

static void serve_object(
    struct model *model, const struct sent *sent, const char *key, struct answer *answer
) {
    static char body[64];
    int at = find(model, key);

    if (strcmp(sent->method, "GET") == 0) {
        snprintf(body, sizeof(body), "s3pve probe");
        snprintf(
            model->headers,
            sizeof(model->headers),
            "etag: \"v%u\"\ncontent-range: bytes 6-10/32\n",
            model->objects[at].version
        );
        *answer = model->range == HONOURS
                      ? (struct answer){.status = 206, .headers = model->headers, .body = body + 6}
                      : (struct answer){.status = 200, .body = body};
    } else if (strcmp(sent->method, "DELETE") == 0) {
        snprintf(body, sizeof(body), "v%u", at < 0 ? 0 : model->objects[at].version);
        if (sent_header(sent, "if-match") && model->delete_if_match == HONOURS &&
            !strstr(sent_header(sent, "if-match"), body))
            error(answer, 412, CONFLICT);
        else
            error(answer, 204, NULL);
        if (answer->status == 204)
            remove_key(model, key);
    } else if (conditions_hold(model, sent, at, model->put_if_absent, answer) && digests_fit(model, sent, answer)) {
        store(model, key, answer);
    }
}

static void serve_bucket(struct model *model, const struct sent *sent, struct answer *answer) {
    if (strcmp(sent->method, "GET") == 0) {
        if (model->v2 == HONOURS)
            error(answer, 200, "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>");
        else if (model->v2 == IGNORES)
            error(answer, 200, "<ListBucketResult><Marker/></ListBucketResult>");
        else
            refuse(answer, model->v2);
        return;
    }
    ok(sent_header(sent, "content-md5"), "DeleteObjects has its Content-MD5");
    if (model->batch != HONOURS) {
        refuse(answer, model->batch);
        return;
    }
    for (unsigned i = model->n_objects; i-- > 0;) {
        if (strstr(sent->body, model->objects[i].key))
            remove_key(model, model->objects[i].key);
    }
    error(answer, 200, "<DeleteResult/>");
}

static void serve(struct script *script, const struct sent *sent, struct answer *answer) {
    struct model *model = script->ctx;
    char key[256];
    const char *path = sent->url + strlen("http://s3.test/bucket");

    if (++model->n_requests == (unsigned)model->fail_at) {
        *answer = (struct answer){.failure = HTTP_BROKEN};
        return;
    }
    snprintf(key, sizeof(key), "%.*s", (int)strcspn(path + 1, "?"), *path == '/' ? path + 1 : "");
    if (model->read_only && strcmp(sent->method, "GET") != 0)
        refuse(answer, DENIES);
    else if (*path != '/')
        serve_bucket(model, sent, answer);
    else if (strstr(path, "upload"))
        serve_multipart(model, sent, key, answer);
    else
        serve_object(model, sent, key, answer);
}

static int probe(
    struct model *model, struct s3pve_caps *ret_caps, struct s3pve_error *err, unsigned *ret_sent
) {
    struct script script = {.serve = serve, .ctx = model, .wall_s = 1700000000};
    struct s3pve_client *client = script_client(&script, "prefix", "pve", NULL);
    struct s3pve_call call = {.max_attempts = 1};
    int rc = s3pve_probe(client, ret_caps, model->fail_at ? &call : NULL, err);

    if (ret_sent)
        *ret_sent = script.n_sent;
    for (unsigned i = 0; i < script.n_sent; i++) {
        if (strncmp(script.sent[i].url, "http://s3.test/bucket/", 22) == 0 &&
            strncmp(script.sent[i].url + 22, "pve/.s3pve/probe/", 17) != 0)
            ok(false, "touches nothing but its own keys: %s", script.sent[i].url);
    }
    s3pve_client_close(client);
    script_clear(&script);
    return rc;
}

/* One letter each: Yes, No, Ignored, ?; in the order of struct s3pve_caps. */
static const char *letters(const struct s3pve_caps *caps) {
    static char text[16];
    const enum s3pve_support all[] = {
        caps->put_if_absent,
        caps->put_if_match,
        caps->complete_if_absent,
        caps->delete_if_match,
        caps->range,
        caps->batch_delete,
        caps->list_v2,
        caps->content_md5,
        caps->checksum_crc32c,
        caps->part_copy,
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        text[i] = "?YNI"[all[i]];
    return text;
}

static const struct {
    const char *what;
    struct model model;
    const char *letters;
    bool quoted;
} servers[] = {
    {"one that does it all", {.fail_at = 0}, "YYYYYYYYYY", false},
    {"... but wants quotes", {.wants_quotes = true}, "YYYYYYYYYY", true},
    {"one that looks first and writes later", {.absent_races = true}, "IYYYYYYYYY", false},
    {"... or only to replace", {.match_races = true}, "YIYYYYYYYY", false},
    {"one whose If-Match makes what is not there", {.resurrects = true}, "YIYYYYYYYY", false},
    {"RGW 16",
     {.complete = IGNORES, .delete_if_match = IGNORES, .crc = IGNORES},
     "YYIIYYYYIY",
     false},
    {"one without conditions that does not say so",
     {.put_if_absent = IGNORES,
      .put_if_match = IGNORES,
      .complete = IGNORES,
      .delete_if_match = IGNORES,
      .md5 = IGNORES,
      .crc = IGNORES},
     "IIIIYYYIIY",
     false},
    {"one that says so",
     {.put_if_absent = REFUSES,
      .put_if_match = REFUSES,
      .complete = REFUSES,
      .batch = REFUSES,
      .v2 = REFUSES,
      .md5 = REFUSES,
      .crc = REFUSES,
      .copy = REFUSES},
     "NNNYYNNNNN",
     false},
    {"one that ignores ranges and version 2",
     {.range = IGNORES, .v2 = IGNORES},
     "YYYYIYIYYY",
     false},
    {"one whose policy allows little",
     {.complete = DENIES, .batch = DENIES, .copy = DENIES},
     "YY?YY?YYY?",
     false},
};

static void servers_are_seen_through(void) {
    for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
        struct model model = servers[i].model;
        struct s3pve_caps caps = {0};
        struct s3pve_error err = S3PVE_ERROR_INIT;
        unsigned n_sent;

        is_int(probe(&model, &caps, &err, &n_sent), 0, "%s %s", servers[i].what, err.message);
        is_str(letters(&caps), servers[i].letters, "... is seen through");
        ok(caps.etag_quoted == servers[i].quoted, "... and how it likes its ETags");
        is_str(caps.server, "model", "... and its name");
        ok(caps.probed_s >= 1700000000, "... at a time");
        is_int(model.n_objects, 0, "... and nothing is left behind");
        ok(!model.upload_open, "... no upload either");
        ok(n_sent <= 28 + RACE, "... in %u requests", n_sent);
    }
}

static void a_failed_probe_tidies_up(void) {
    for (int at = 1; at <= 15; at++) {
        struct model model = {.fail_at = at, .complete = IGNORES, .batch = REFUSES};
        struct s3pve_caps caps = {.skew_s = 77};
        struct s3pve_error err = S3PVE_ERROR_INIT;

        is_int(
            probe(&model, &caps, &err, NULL), -1, "a lost answer, number %d, ends the probe", at
        );
        is_int(err.code, S3PVE_E_IO, "... as IO: %s", err.message);
        is_int(caps.skew_s, 77, "... which returns nothing");
        is_int(model.n_objects, 0, "... and leaves nothing");
        ok(!model.upload_open || at == 10, "... no upload that it knew of either");
    }
}

static void a_bucket_that_may_not_be_written(void) {
    struct model model = {.read_only = true};
    struct s3pve_caps caps;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(probe(&model, &caps, &err, NULL), -1, "without the right to write there is no probe");
    is_int(err.code, S3PVE_E_DENIED, "... as DENIED: %s", err.message);
    is_int(model.n_requests, 2, "... found out with the first key");
}

static void count_warnings(void *ctx, const struct s3pve_log_record *record) {
    *(int *)ctx += record->level <= S3PVE_LOG_WARNING;
}

static void what_must_be_refused_is_no_warning(void) {
    struct model model = {.batch = REFUSES, .copy = DENIES};
    struct script script = {.serve = serve, .ctx = &model};
    int n_warnings = 0;
    struct s3pve_client *client = script_client_log(&script, count_warnings, &n_warnings);
    struct s3pve_caps caps;

    is_int(s3pve_probe(client, &caps, NULL, NULL), 0, "a probe is refused many times");
    is_int(n_warnings, 0, "... and the log stays calm");
    s3pve_client_close(client);
    script_clear(&script);
}

int main(void) {
    servers_are_seen_through();
    a_failed_probe_tidies_up();
    a_bucket_that_may_not_be_written();
    what_must_be_refused_is_no_warning();
    return done_testing();
}
