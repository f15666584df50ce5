/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "core/request.h"
#include "script.h"
#include "tap.h"

DEFINE_CLEANUP(struct s3pve_client *, s3pve_client_close)
#define SCRIPT _cleanup_(script_clear) struct script
#define CLIENT _cleanup_(s3pve_client_closep) struct s3pve_client *
#define REQUEST _cleanup_(request_clear) struct request

#define SLOW_DOWN                                                                                  \
    { .status = 503, .body = "<Error><Code>SlowDown</Code><Message>easy</Message></Error>" }
#define OK_EMPTY                                                                                   \
    { .status = 200 }

static void send_one(
    struct script *s, struct s3pve_client *client, struct request *rq, struct s3pve_error *err
) {
    *err = S3PVE_ERROR_INIT;
    request_send(client, rq, err);
}

static void a_throttled_request_is_repeated_after_a_growing_wait(void) {
    SCRIPT s = {ANSWERS(SLOW_DOWN, SLOW_DOWN, OK_EMPTY)};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_counters counters;
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "PutObject", "PUT", "a", NULL);
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_OK, "two times slow down, then fine, is a success");
    is_int(s.n_sent, 3, "... in three requests");
    is_int(s.now_ms, 1000 + 2000, "... with full backoff of 1 s and 2 s, as chance had it");
    s3pve_client_counters(client, &counters);
    is_int(counters.n_retries, 2, "... counted");
    is_int(counters.n_throttled, 2, "... as throttled");
    client = s3pve_client_close(client);
    ok(s.freed, "closing the client frees its transport");
}

static void retry_after_is_honoured_and_bounded_by_the_deadline(void) {
    SCRIPT s = {
        ANSWERS({.status = 503, .headers = "retry-after: 3\n"}, OK_EMPTY, SLOW_DOWN, SLOW_DOWN)};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_call call = {.timeout_ms = 1500};
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "PutObject", "PUT", "a", NULL);
    send_one(&s, client, &rq, &err);
    ok(s.now_ms >= 3000, "Retry-After: 3 waits at least three seconds");
    request_clear(&rq);

    request_init(&rq, "PutObject", "PUT", "a", &call);
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_E_THROTTLED, "a deadline that leaves no time for the wait ends it");
    is_str(err.s3_code, "SlowDown", "... with the store's own code");
}

static void a_hanging_server_ends_at_the_deadline(void) {
    SCRIPT s = {ANSWERS({.hang = true})};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_call call = {.timeout_ms = 2000};
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "GetObject", "GET", "a", &call);
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_E_TIMEOUT, "a server that never answers is a timeout");
    is_int(s.now_ms, 2000, "... at the deadline, not later");
    ok(rq.ambiguous, "... and what it did is unknown");
    is_int(s.n_active, 0, "... and the transfer is let go");
}

static void a_lost_answer_to_a_conditional_write_is_not_resent(void) {
    SCRIPT s = {ANSWERS({.failure = HTTP_BROKEN}, OK_EMPTY)};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "PutObject", "PUT", "lease", NULL);
    rq.once = true;
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_E_IO, "the caller must look before it tries again");
    ok(rq.ambiguous, "... because the store may have acted");
    is_int(s.n_sent, 1, "... so it went out once");
}

static void a_stale_connection_is_repeated_at_once_and_not_counted(void) {
    SCRIPT s = {ANSWERS({.failure = HTTP_STALE, .reused = true}, OK_EMPTY)};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "GetObject", "GET", "a", NULL);
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_OK, "a dead kept-alive connection is no error");
    is_int(s.now_ms, 0, "... and costs no wait");
    is_int(rq.attempts, 1, "... nor an attempt");
    ok(!s.sent[0].fresh && s.sent[1].fresh, "... but a new connection");
}

static void what_a_kept_connection_left_unanswered_is_asked_over_a_new_one(void) {
    SCRIPT s = {
        ANSWERS({.failure = HTTP_TIMEOUT, .reused = true}, {.failure = HTTP_BROKEN}, OK_EMPTY)};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "DeleteObject", "DELETE", "a", NULL);
    send_one(&s, client, &rq, &err);
    is_int(s.sent[0].stale_ms, 7500, "it has three quarters of the time for an answer");
    ok(s.sent[1].fresh && s.sent[2].fresh, "its further attempts go over new connections");
}

static void a_wrong_clock_is_corrected_once_for_all(void) {
    static const char skewed[] = "date: Wed, 15 Nov 2023 00:13:20 GMT\n"; /* 1700007200 */
    SCRIPT s = {ANSWERS(
        {.status = 403,
         .headers = skewed,
         .body = "<Error><Code>RequestTimeTooSkewed</Code></Error>"},
        OK_EMPTY,
        OK_EMPTY
    )};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "GetObject", "GET", "a", NULL);
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_OK, "a skewed clock is corrected from Date");
    is_str(sent_header(&s.sent[1], "x-amz-date"), "20231115T001320Z", "... and signed with it");
    request_clear(&rq);
    request_init(&rq, "GetObject", "GET", "b", NULL);
    send_one(&s, client, &rq, &err);
    is_str(sent_header(&s.sent[2], "x-amz-date"), "20231115T001320Z", "... from then on");
    is_int(s.n_sent, 3, "... without another round");
}

static void the_region_is_learned_from_the_refusal(void) {
    SCRIPT s = {ANSWERS(
        {.status = 400,
         .body = "<Error><Code>AuthorizationHeaderMalformed</Code>"
                 "<Region>eu-west-3</Region></Error>"},
        OK_EMPTY
    )};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "GetObject", "GET", "a", NULL);
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_OK, "a wrong region is corrected");
    ok(strstr(sent_header(&s.sent[1], "authorization"), "/eu-west-3/s3/") != NULL,
       "... and signed for");
}

static void the_region_is_learned_from_the_header_of_a_refused_head(void) {
    SCRIPT s = {ANSWERS(
        {.status = 400, .headers = "x-amz-bucket-region: eu-west-3\n"},
        OK_EMPTY,
        {.status = 400, .headers = "x-amz-bucket-region: eu-west-3\n"}
    )};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "HeadObject", "HEAD", "a", NULL);
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_OK, "400 with another region is put right");
    ok(strstr(sent_header(&s.sent[1], "authorization"), "/eu-west-3/s3/") != NULL,
       "... and signed for");
    request_clear(&rq);
    request_init(&rq, "HeadObject", "HEAD", "a", NULL);
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_E_INVALID, "with the same region it is just that");
    is_int(s.n_sent, 3, "... and not repeated");
}

/* Both are on their way, signed for the wrong region, before the first is refused. */
static void requests_refused_together_learn_the_region_each(void) {
    static const struct answer wrong = {
        .status = 400,
        .take_ms = 50,
        .body =
            "<Error><Code>AuthorizationHeaderMalformed</Code>"
            "<Region>eu-west-3</Region></Error>"};
    SCRIPT s = {ANSWERS(wrong, wrong, OK_EMPTY, OK_EMPTY, wrong, wrong)};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;
    struct request rqs[2], *list[2] = {&rqs[0], &rqs[1]};
    REQUEST rq;

    for (int i = 0; i < 2; i++) {
        request_init(&rqs[i], "GetObject", "GET", "a", NULL);
        request_submit(client, &rqs[i]);
    }
    for (int done; (done = request_wait(client, list, 2, 10000)) >= 0; list[done] = NULL) {
        is_int(rqs[done].error.code, S3PVE_OK, "a wrong region is corrected");
        request_clear(&rqs[done]);
    }
    is_int(s.n_sent, 4, "... for each of two requests on their way, once");
    request_init(&rq, "GetObject", "GET", "a", NULL);
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_E_INVALID, "one that is refused for the region it wants");
    is_int(s.n_sent, 5, "... is not sent again");
}

static void a_broken_read_goes_on_where_it_stopped(void) {
    SCRIPT s = {ANSWERS(
        {.status = 206,
         .failure = HTTP_BROKEN,
         .headers = "etag: \"v1\"\ncontent-range: bytes 100-109/200\n",
         .body = "abcd"},
        {.status = 206,
         .headers = "etag: \"v1\"\ncontent-range: bytes 104-109/200\n",
         .body = "efghij"}
    )};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;
    REQUEST rq;
    char got[11] = "";

    request_init(&rq, "GetObject", "GET", "a", NULL);
    rq.into = got;
    rq.range.set = true;
    rq.range.offset = 100;
    rq.range.len = 10;
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_OK, "a connection lost half-way is no error");
    is_str(got, "abcdefghij", "... and no byte is lost or doubled");
    is_str(sent_header(&s.sent[1], "range"), "bytes=104-109", "... the rest was asked for");
    is_str(sent_header(&s.sent[1], "if-match"), "\"v1\"", "... of the same version");
    is_int(rq.reply.info.size, 200, "... and the object's size is known");
}

static void a_wrong_range_is_refused(void) {
    SCRIPT s = {ANSWERS(
        {.status = 206, .headers = "content-range: bytes 0-9/200\n", .body = "0123456789"},
        {.status = 200, .headers = "content-length: 200\n", .body = "0123456789"}
    )};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;
    REQUEST rq;
    char got[11] = "";

    for (int i = 0; i < 2; i++) {
        request_init(&rq, "GetObject", "GET", "a", NULL);
        rq.into = got;
        rq.range.set = true;
        rq.range.offset = 100;
        rq.range.len = 10;
        send_one(&s, client, &rq, &err);
        is_int(
            err.code,
            S3PVE_E_CORRUPT,
            i ? "an ignored Range is refused" : "bytes from elsewhere are refused"
        );
        is_str(got, "", "... before one is let through");
        request_clear(&rq);
    }
}

static void an_error_that_came_with_200_is_an_error(void) {
    SCRIPT s = {ANSWERS(
        {.status = 200, .body = "<Error><Code>InternalError</Code></Error>"},
        {.status = 200, .body = "<CopyObjectResult><ETag>x</ETag></CopyObjectResult>"},
        {.status = 200, .body = "<html>captive portal</html>"}
    )};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_call once = {.max_attempts = 1};
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "CopyObject", "PUT", "a", NULL);
    rq.root = "CopyObjectResult";
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_OK, "200 with InternalError is repeated like a 500");
    is_int(s.n_sent, 2, "... once here");
    request_clear(&rq);

    request_init(&rq, "CopyObject", "PUT", "a", &once);
    rq.root = "CopyObjectResult";
    send_one(&s, client, &rq, &err);
    ok(err.code != S3PVE_OK, "200 with a page that is no answer is no success");
}

static void an_outage_does_not_multiply_the_load(void) {
    SCRIPT s = {0}; /* every connection is refused */
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;
    REQUEST rq;

    for (int i = 0; i < 100; i++) {
        request_init(&rq, "GetObject", "GET", "a", NULL);
        send_one(&s, client, &rq, &err);
        is_int(err.code, S3PVE_E_IO, "request %d fails", i);
        request_clear(&rq);
    }
    ok(s.n_sent <= 100 + (RETRY_BUDGET + s.now_ms * RETRY_EARN_S / 1000) / RETRY_COST,
       "a hundred requests were sent %u times in all, in %lld ms",
       s.n_sent,
       (long long)s.now_ms);
}

static void no_more_than_the_window_is_in_flight_and_it_halves_when_told(void) {
    static const struct answer later = {.status = 200, .take_ms = 50};
    struct answer answers[40];
    SCRIPT s = {.answers = answers, .n_answers = 40};
    CLIENT client = script_client(&s, "connections", "8", NULL);
    struct request rqs[20], *list[20];

    for (int i = 0; i < 40; i++)
        answers[i] = later;
    answers[0] = (struct answer)SLOW_DOWN;
    for (int i = 0; i < 20; i++) {
        request_init(&rqs[i], "GetObject", "GET", "a", NULL);
        request_submit(client, &rqs[i]);
        list[i] = &rqs[i];
    }
    for (int i = 0; i < 20; i++) {
        int done = request_wait(client, list, 20, 10000);

        if (done < 0)
            break;
        list[done] = NULL;
    }
    is_int(s.n_active_max, 8, "eight connections, eight at once");
    is_int(s.n_sent, 21, "twenty requests and one repeat");
    ok(s.sent[9].at_ms > 0, "... the ninth had to wait");
    for (int i = 0; i < 20; i++) {
        is_int(rqs[i].error.code, S3PVE_OK, "request %d is done", i);
        request_clear(&rqs[i]);
    }
}

static void a_cancelled_request_is_let_go(void) {
    SCRIPT s = {ANSWERS({.hang = true})};
    CLIENT client = script_client(&s, NULL);
    REQUEST rq;
    struct request *list[1] = {&rq};

    request_init(&rq, "GetObject", "GET", "a", NULL);
    request_submit(client, &rq);
    is_int(request_wait(client, list, 1, 100), -1, "it hangs");
    request_cancel(client, &rq);
    is_int(rq.error.code, S3PVE_E_CANCELLED, "and ends when cancelled");
    is_int(s.n_active, 0, "... with nothing left on the wire");
}

struct seen {
    char text[4096];
};

static void keep(void *ctx, const struct s3pve_log_record *record) {
    struct seen *seen = ctx;
    size_t at = strlen(seen->text);

    snprintf(
        seen->text + at,
        sizeof(seen->text) - at,
        "%d %s %s %d %s %u %s\n",
        record->level,
        record->operation,
        record->key,
        record->http_status,
        record->request_id,
        record->attempt,
        record->message
    );
}

static void the_log_names_everything_but_the_secret(void) {
    SCRIPT s = {ANSWERS(
        {.status = 403,
         .headers = "x-amz-request-id: tx42\n",
         .body = "<Error><Code>AccessDenied</Code></Error>"}
    )};
    struct seen seen = {0};
    CLIENT client = script_client_log(&s, keep, &seen);
    struct s3pve_counters counters;
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "GetObject", "GET", "dump/x", NULL);
    send_one(&s, client, &rq, &err);
    is_int(err.code, S3PVE_E_DENIED, "denied is denied");
    s3pve_client_counters(client, &counters);
    is_int(counters.n_errors, 1, "... and counted");
    is_str(err.request_id, "tx42", "... with the request id for the store's support");
    ok(strstr(seen.text, "1 GetObject dump/x 403 tx42 1 ") == seen.text,
       "the log has level, operation, key, status, request id and attempt");
    ok(!strstr(seen.text, "SK") && !strstr(seen.text, "Signature="), "... and no secret");
}

static void bodies_are_hashed_on_http(void) {
    SCRIPT s = {ANSWERS(OK_EMPTY)};
    CLIENT client = script_client(&s, NULL);
    struct iovec iov[2] = {{(void *)"abc", 3}, {(void *)"", 0}};
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "PutObject", "PUT", "a b+c", NULL);
    rq.body = iov;
    rq.n_body = 2;
    rq.body_len = 3;
    rq.checksum = true;
    send_one(&s, client, &rq, &err);
    is_str(
        sent_header(&s.sent[0], "x-amz-content-sha256"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "the payload's hash is signed"
    );
    is_str(s.sent[0].url, "http://s3.test/bucket/a%20b%2Bc", "the key is encoded once");
    ok(!sent_header(&s.sent[0], "content-md5"), "... so no other checksum is needed");
}

int main(void) {
    a_throttled_request_is_repeated_after_a_growing_wait();
    retry_after_is_honoured_and_bounded_by_the_deadline();
    a_hanging_server_ends_at_the_deadline();
    a_lost_answer_to_a_conditional_write_is_not_resent();
    a_stale_connection_is_repeated_at_once_and_not_counted();
    what_a_kept_connection_left_unanswered_is_asked_over_a_new_one();
    a_wrong_clock_is_corrected_once_for_all();
    the_region_is_learned_from_the_refusal();
    the_region_is_learned_from_the_header_of_a_refused_head();
    requests_refused_together_learn_the_region_each();
    a_broken_read_goes_on_where_it_stopped();
    a_wrong_range_is_refused();
    an_error_that_came_with_200_is_an_error();
    an_outage_does_not_multiply_the_load();
    no_more_than_the_window_is_in_flight_and_it_halves_when_told();
    a_cancelled_request_is_let_go();
    the_log_names_everything_but_the_secret();
    bodies_are_hashed_on_http();
    return done_testing();
}
