/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "core/client.h"
#include "script.h"
#include "tap.h"

#define ALL_GONE                                                                                   \
    { .status = 200, .body = "<DeleteResult/>" }
#define GONE                                                                                       \
    { .status = 204 }

static const char *const three[] = {"a", "b&c", "d"};

static int delete_with(
    struct script *s, const char *const *keys, size_t n, struct s3pve_error *err
) {
    struct s3pve_client *client = script_client(s, "prefix", "p", NULL);
    int rc = s3pve_object_delete_many(client, keys, n, NULL, err);

    s3pve_client_close(client);
    return rc;
}

static void a_missing_object_is_deleted(void) {
    struct script s = {ANSWERS({.status = 404}, {.status = 403})};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(s3pve_object_delete(client, "key", NULL, &err), 0, "gone is gone");
    is_int(err.code, S3PVE_OK, "... and no error is left behind");
    is_int(s3pve_object_delete(client, "key", NULL, &err), -1, "but not allowed is a failure");
    is_int(err.code, S3PVE_E_DENIED, "... DENIED");
    s3pve_client_close(client);
    script_clear(&s);
}

static void many_keys_are_one_request(void) {
    struct script s = {ANSWERS(ALL_GONE)};

    is_int(delete_with(&s, three, 3, NULL), 0, "three objects are deleted");
    is_int(s.n_sent, 1, "... in one request");
    is_str(s.sent[0].method, "POST", "... a POST");
    ok(strstr(s.sent[0].url, "/bucket?delete=") != NULL, "... to the bucket");
    ok(strstr(s.sent[0].body, "<Key>p/a</Key>") != NULL, "... with full keys");
    ok(strstr(s.sent[0].body, "<Key>p/b&amp;c</Key>") != NULL, "... escaped");
    ok(sent_header(&s.sent[0], "content-md5") != NULL, "... and Content-MD5, which S3 demands");
    script_clear(&s);
}

static void a_thousand_and_one_are_two_requests(void) {
    struct script s = {ANSWERS(ALL_GONE, GONE)};
    const char **keys = calloc(LIMIT_DELETE_BATCH + 1, sizeof(*keys));

    for (size_t i = 0; i <= LIMIT_DELETE_BATCH; i++)
        keys[i] = "key";
    is_int(delete_with(&s, keys, LIMIT_DELETE_BATCH + 1, NULL), 0, "1001 objects are deleted");
    is_int(s.n_sent, 2, "... in two requests");
    is_str(s.sent[1].method, "DELETE", "... the second for one key only");
    free(keys);
    script_clear(&s);
}

static void only_what_was_asked_for_is_deleted(void) {
    struct script other = {ANSWERS(
        {.status = 200,
         .body = "<DeleteResult><Error><Key>p/else</Key><Code>InternalError</Code></Error>"
                 "</DeleteResult>"},
        GONE
    )};
    struct script nameless = {ANSWERS(
        {.status = 200,
         .body = "<DeleteResult><Error><Code>InternalError</Code></Error></DeleteResult>"},
        GONE
    )};
    struct script *const all[] = {&other, &nameless};

    for (size_t i = 0; i < 2; i++) {
        struct s3pve_error err = S3PVE_ERROR_INIT;

        is_int(delete_with(all[i], three, 3, &err), -1, "an error for a key of the server's own");
        is_int(err.code, S3PVE_E_CORRUPT, "... is one");
        is_int(all[i]->n_sent, 1, "... and deletes nothing");
        script_clear(all[i]);
    }
}

static void what_a_batch_could_not_delete_is_tried_alone(void) {
    struct script fine = {ANSWERS(
        {.status = 200,
         .body = "<DeleteResult><Error><Key>p/b&amp;c</Key><Code>InternalError</Code></Error>"
                 "</DeleteResult>"},
        GONE
    )};
    struct script denied = {ANSWERS(
        {.status = 200,
         .body = "<DeleteResult><Error><Key>p/a</Key><Code>AccessDenied</Code></Error>"
                 "<Error><Key>p/d</Key><Code>AccessDenied</Code></Error></DeleteResult>"},
        {.status = 403, .body = "<Error><Code>AccessDenied</Code></Error>"},
        {.status = 403, .body = "<Error><Code>AccessDenied</Code></Error>"}
    )};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(delete_with(&fine, three, 3, NULL), 0, "an error inside a 200 is seen");
    is_int(fine.n_sent, 2, "... and that key tried again");
    ok(strstr(fine.sent[1].url, "/bucket/p/b%26c") != NULL, "... that key alone");
    is_int(delete_with(&denied, three, 3, &err), -1, "keys that stay are a failure");
    is_int(err.code, S3PVE_E_DENIED, "... with the reason");
    is_int(denied.n_sent, 3, "... after all were tried");
    script_clear(&fine);
    script_clear(&denied);
}

static void a_server_without_batches_is_remembered(void) {
    static const struct answer refusals[] = {
        {.status = 501, .body = "<Error><Code>NotImplemented</Code></Error>"},
        {.status = 400, .body = "<Error><Code>MalformedXML</Code></Error>"},
    };

    for (size_t i = 0; i < 2; i++) {
        struct script s = {ANSWERS(refusals[i], GONE, GONE, GONE, GONE, GONE)};
        struct s3pve_client *client = script_client(&s, NULL);

        is_int(s3pve_object_delete_many(client, three, 3, NULL, NULL), 0, "deleted one by one");
        is_int(s.n_sent, 4, "... after one try");
        ok(s.n_active_max > 1, "... several at a time");
        s3pve_object_delete_many(client, three, 2, NULL, NULL);
        is_int(s.n_sent, 6, "the next time without a try");
        s3pve_client_close(client);
        script_clear(&s);
    }
}

static void a_key_xml_cannot_carry_goes_alone(void) {
    static const char *const keys[] = {"a", "b\x01", "c"};
    struct script s = {ANSWERS(ALL_GONE, GONE)};

    is_int(delete_with(&s, keys, 3, NULL), 0, "a control character in a key is no obstacle");
    ok(!strstr(s.sent[0].body, "<Key>p/b"), "it is not in the document");
    ok(strstr(s.sent[1].url, "/bucket/p/b%01") != NULL, "... but in a request of its own");
    script_clear(&s);
}

static void the_first_failure_is_reported_and_the_rest_done(void) {
    struct script s = {ANSWERS(
        {.status = 501},
        {.status = 403},
        GONE,
        {.status = 404, .body = "<Error><Code>NoSuchBucket</Code></Error>"}
    )};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(delete_with(&s, three, 3, &err), -1, "some failed");
    is_int(err.code, S3PVE_E_DENIED, "the first is reported");
    is_int(s.n_sent, 4, "all were tried");
    script_clear(&s);
}

static void serve_nobody(struct script *s, const struct sent *sent, struct answer *ret_answer) {
    (void)sent;
    *ret_answer = (struct answer){.hang = true};
}

static void a_dead_store_is_not_asked_for_every_key(void) {
    static const char *keys[10 * LIMIT_DELETE_BATCH];
    struct script s = {.serve = serve_nobody};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        keys[i] = "a";
    s3pve_object_delete_many(client, keys, sizeof(keys) / sizeof(keys[0]), NULL, &err);
    is_int(err.code, S3PVE_E_TIMEOUT, "many keys of a store that hangs");
    ok(s.now_ms <= 11000, "... take the timeout, not more");
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    a_dead_store_is_not_asked_for_every_key();
    a_missing_object_is_deleted();
    many_keys_are_one_request();
    a_thousand_and_one_are_two_requests();
    only_what_was_asked_for_is_deleted();
    what_a_batch_could_not_delete_is_tried_alone();
    a_server_without_batches_is_remembered();
    a_key_xml_cannot_carry_goes_alone();
    the_first_failure_is_reported_and_the_rest_done();
    return done_testing();
}
