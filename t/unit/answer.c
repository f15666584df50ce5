/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "core/request.h"
#include "script.h"
#include "tap.h"

/* What may come for bytes 100 to 109 of an object of 200. */
static const struct {
    const char *what, *headers, *body;
    int status;
    bool good;
} ranges[] = {
    {"the range", "content-range: bytes 100-109/200\n", "0123456789", 206, true},
    {"a range of an object of unknown length",
     "content-range: bytes 100-109/*\n",
     "0123456789",
     206,
     true},
    {"the range's end, where the object ends",
     "content-range: bytes 100-104/105\n",
     "01234",
     206,
     true},
    {"a range that ends beyond the object",
     "content-range: bytes 100-109/105\n",
     "0123456789",
     206,
     false},
    {"a range that ends before it begins", "content-range: bytes 100-99/200\n", "", 206, false},
    {"a range that ends later than asked",
     "content-range: bytes 100-110/200\n",
     "0123456789a",
     206,
     false},
    {"fewer bytes than the range says", "content-range: bytes 100-109/200\n", "01234", 206, false},
    {"more bytes than the range says", "content-range: bytes 100-104/200\n", "0123456", 206, false},
    {"a range of numbers that are none",
     "content-range: bytes -1-9/200\n",
     "0123456789",
     206,
     false},
    {"numbers without end",
     "content-range: bytes 100-99999999999999999999999/200\n",
     "0123456789",
     206,
     false},
    {"another unit", "content-range: pages 100-109/200\n", "0123456789", 206, false},
    {"no range at all", "", "0123456789", 206, false},
    {"the whole object", "content-length: 200\n", "0123456789", 200, false},
};

static void http_at_a_tls_port_is_told(void) {
    static const struct {
        const char *what, *endpoint;
        struct answer answer;
        bool told;
    } rows[] = {
        {"a page", "http://s3.test", {.status = 400, .body = "<html>400</html>"}, true},
        {"nothing more", "http://s3.test", {.status = 400}, true},
        {"a store's word",
         "http://s3.test",
         {.status = 400, .body = "<Error><Code>InvalidArgument</Code></Error>"},
         false},
        {"a store's head",
         "http://s3.test",
         {.status = 400, .headers = "x-amz-request-id: tx1\n"},
         false},
        {"a page, over https", "https://s3.test", {.status = 400, .body = "<html></html>"}, false},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct script s = {.answers = &rows[i].answer, .n_answers = 1};
        struct s3pve_client *client = script_client(&s, "endpoint", rows[i].endpoint, NULL);
        struct s3pve_error err = S3PVE_ERROR_INIT;
        struct request rq;

        request_init(&rq, "ListObjectsV2", "GET", NULL, NULL);
        request_send(client, &rq, &err);
        is_int(
            strstr(err.message, "say https:// for http://") != NULL,
            rows[i].told,
            "400 and %s: %s",
            rows[i].what,
            err.message
        );
        request_clear(&rq);
        s3pve_client_close(client);
        script_clear(&s);
    }
}

static void only_the_range_that_was_asked_for_is_taken(void) {
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        struct answer answer = {
            .status = ranges[i].status, .headers = ranges[i].headers, .body = ranges[i].body};
        struct script s = {.answers = &answer, .n_answers = 1};
        struct s3pve_client *client = script_client(&s, NULL);
        struct s3pve_call call = {.max_attempts = 1};
        struct s3pve_error err = S3PVE_ERROR_INIT;
        struct request rq;
        char got[16] = "";

        request_init(&rq, "GetObject", "GET", "a", &call);
        rq.into = got;
        rq.range.set = true;
        rq.range.offset = 100;
        rq.range.len = 10;
        is_int(
            request_send(client, &rq, &err),
            ranges[i].good ? 0 : -1,
            "%s is %s",
            ranges[i].what,
            ranges[i].good ? "taken" : "refused"
        );
        if (!ranges[i].good)
            ok(err.message[strlen(err.message) - 1] != ' ', "... and why: %s", err.message);
        is_int(got[10], 0, "... and no byte goes beyond the buffer");
        request_clear(&rq);
        s3pve_client_close(client);
        script_clear(&s);
    }
}

/* A connection that closes may do so early; only a length or the last chunk tells. */
static void a_body_whose_end_nobody_told_is_refused(void) {
    static const struct answer answers[] = {
        {.status = 200, .headers = "connection: close\netag: \"e\"\n", .body = "perhaps not al"},
        {.status = 200, .headers = "connection: close\netag: \"e\"\n"},
        {.status = 200, .headers = "transfer-encoding: chunked\netag: \"e\"\n", .body = "all"},
        {.status = 200, .headers = "content-length: 3\netag: \"e\"\n", .body = "all"},
    };
    struct script s = {.answers = answers, .n_answers = 4};
    struct s3pve_client *client = script_client(&s, NULL);

    for (int i = 0; i < 4; i++) {
        struct s3pve_error err = S3PVE_ERROR_INIT;
        char *data = NULL;
        size_t len = 0;

        s3pve_object_get(client, "a", 100, &data, &len, NULL, NULL, &err);
        is_int(
            err.code,
            i < 2 ? S3PVE_E_CORRUPT : S3PVE_OK,
            "%s",
            i < 2 ? "without length or chunks it is refused" : "with either it is taken"
        );
        free(data);
    }
    s3pve_client_close(client);
    script_clear(&s);
}

#define ENDPOINT_63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"

static const struct {
    const char *what, *headers, *body, *shown;
} redirects[] = {
    {"an endpoint in the document",
     "",
     "<Error><Code>PermanentRedirect</Code><Endpoint>bucket.s3.eu.test</Endpoint></Error>",
     "endpoint; it names bucket.s3.eu.test"},
    {"one with a port",
     "",
     "<Error><Code>PermanentRedirect</Code><Endpoint>s3.eu.test:9000</Endpoint></Error>",
     "it names s3.eu.test:9000"},
    {"a location",
     "location: https://s3.eu.test/bucket/a?x=1\n",
     "",
     "it names https://s3.eu.test"},
    {"both",
     "location: https://wrong.test/\n",
     "<Error><Code>TemporaryRedirect</Code><Endpoint>right.test</Endpoint></Error>",
     "it names right.test"},
    {"a location without a host", "location: /login\n", "", NULL},
    {"another scheme", "location: ftp://s3.eu.test/\n", "", NULL},
    {"a user's name in front", "location: https://a:b@s3.eu.test/\n", "", NULL},
    {"what is no host name",
     "",
     "<Error><Code>PermanentRedirect</Code><Endpoint>call 555; now</Endpoint></Error>",
     NULL},
    {"a name that is too long",
     "",
     "<Error><Code>PermanentRedirect</Code><Endpoint>" ENDPOINT_63 "h.test</Endpoint></Error>",
     NULL},
    {"our own name with TLS", "location: https://s3.test/\n", "", "it names https://s3.test"},
    {"our own host", "location: http://s3.test/other\n", "", NULL},
};

static void a_redirect_names_the_endpoint(void) {
    for (size_t i = 0; i < sizeof(redirects) / sizeof(redirects[0]); i++) {
        struct answer answer = {
            .status = 301, .headers = redirects[i].headers, .body = redirects[i].body};
        struct script s = {.answers = &answer, .n_answers = 1};
        struct s3pve_client *client = script_client(&s, NULL);
        struct s3pve_error err = S3PVE_ERROR_INIT;
        struct request rq;

        request_init(&rq, "GetObject", "GET", "a", NULL);
        request_send(client, &rq, &err);
        is_int(err.code, S3PVE_E_INVALID, "a redirect with %s is not followed", redirects[i].what);
        is_int(s.n_sent, 1, "... at all");
        ok(strstr(err.message, "check region and endpoint") != NULL, "... it says what to check");
        if (redirects[i].shown)
            ok(strstr(err.message, redirects[i].shown) != NULL, "... and that: %s", err.message);
        else
            ok(!strstr(err.message, "it names"), "... and repeats nothing of it: %s", err.message);
        request_clear(&rq);
        s3pve_client_close(client);
        script_clear(&s);
    }
}

/* ---------------------------------------------------------------- bounds */

static int send_with(struct answer answer, struct s3pve_error *err, size_t *ret_body_len) {
    struct script s = {.answers = &answer, .n_answers = 1};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_call call = {.max_attempts = 1};
    struct request rq;
    int rc;

    request_init(&rq, "GetBucketPolicy", "GET", NULL, &call);
    *err = S3PVE_ERROR_INIT;
    rc = request_send(client, &rq, err);
    *ret_body_len = rq.reply.body_len;
    request_clear(&rq);
    s3pve_client_close(client);
    script_clear(&s);
    return rc;
}

static void the_number_of_headers_is_bounded(void) {
    _cleanup_(buf_clear) struct buf headers = {0};
    struct s3pve_error err;
    size_t len;

    for (int i = 1; i < LIMIT_HEADERS; i++) /* and one with the length */
        buf_printf(&headers, "x-%d: v\n", i);
    is_int(
        send_with((struct answer){.status = 200, .headers = headers.data}, &err, &len),
        0,
        "many headers are taken"
    );
    buf_str(&headers, "x-more: v\n");
    send_with((struct answer){.status = 200, .headers = headers.data}, &err, &len);
    is_int(err.code, S3PVE_E_CORRUPT, "... one more is refused");
    ok(strstr(err.message, "too many headers"), "... %s", err.message);
}

static void answers_are_bounded(void) {
    _cleanup_(buf_clear) struct buf body = {0};
    struct s3pve_error err;
    size_t len;

    while (body.len < LIMIT_REPLY)
        buf_str(&body, "0123456789abcdef");
    is_int(
        send_with((struct answer){.status = 200, .body = body.data}, &err, &len),
        0,
        "a long answer is taken"
    );
    is_int((long long)len, LIMIT_REPLY, "... as a whole");
    buf_str(&body, "0");
    send_with((struct answer){.status = 200, .body = body.data}, &err, &len);
    is_int(err.code, S3PVE_E_CORRUPT, "... with a byte more it is refused");
    ok(len <= LIMIT_REPLY, "... and not kept");
}

static void error_pages_are_cut(void) {
    _cleanup_(buf_clear) struct buf body = {0};
    struct s3pve_error err;
    size_t len;

    buf_str(&body, "<Error><Code>NoSuchBucket</Code><Message>");
    while (body.len < 3 * LIMIT_ERROR_BODY)
        buf_str(&body, "and so on ");
    send_with((struct answer){.status = 404, .body = body.data}, &err, &len);
    is_int(err.code, S3PVE_E_NO_BUCKET, "an error page without end is read as far as it matters");
    is_int((long long)len, LIMIT_ERROR_BODY, "... and no more of it is kept");
}

int main(void) {
    the_number_of_headers_is_bounded();
    answers_are_bounded();
    error_pages_are_cut();
    a_redirect_names_the_endpoint();
    a_body_whose_end_nobody_told_is_refused();
    only_the_range_that_was_asked_for_is_taken();
    http_at_a_tls_port_is_told();
    return done_testing();
}
