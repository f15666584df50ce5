/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "base/limits.h"
#include "core/engine_private.h"
#include "core/request.h"
#include "script.h"
#include "tap.h"

#define SKEWED                                                                                     \
    {                                                                                              \
        .status = 403, .headers = "date: Wed, 15 Nov 2023 00:13:20 GMT\n", /* 1700007200 */        \
            .body = "<Error><Code>RequestTimeTooSkewed</Code></Error>"                             \
    }
#define FINE                                                                                       \
    { .status = 200 }
#define IN_TIME                                                                                    \
    { .status = 200, .headers = "date: Wed, 15 Nov 2023 00:13:20 GMT\n" }

static void many_requests_correct_the_clock_as_one(void) {
    struct script s = {ANSWERS(SKEWED, SKEWED, SKEWED, FINE, FINE, FINE, FINE)};
    struct s3pve_client *client = script_client(&s, NULL);
    struct request rqs[3], last;

    for (int i = 0; i < 3; i++) {
        request_init(&rqs[i], "PutObject", "PUT", "a", NULL);
        request_submit(client, &rqs[i]);
    }
    for (int i = 0; i < 3; i++) {
        struct request *rq = &rqs[i];

        while (request_wait(client, &rq, 1, 1000) < 0)
            ;
        is_int(rq->error.code, S3PVE_OK, "a request among several with a wrong clock succeeds");
        request_clear(rq);
    }
    request_init(&last, "PutObject", "PUT", "b", NULL);
    request_send(client, &last, NULL);
    is_str(
        sent_header(&s.sent[s.n_sent - 1], "x-amz-date"),
        "20231115T001320Z",
        "... and the correction is the server's clock, once"
    );
    is_int(s.n_sent, 7, "... without another round");
    request_clear(&last);
    s3pve_client_close(client);
    script_clear(&s);
}

static void a_slow_upload_does_not_move_the_clock(void) {
    struct script s = {ANSWERS(
        {.status = 200, .headers = "date: Tue, 14 Nov 2023 22:18:20 GMT\n", .take_ms = 300000},
        {.status = 200}
    )};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_call call = {.timeout_ms = 600000};
    struct request rq;

    request_init(&rq, "UploadPart", "PUT", "a", &call);
    is_int(request_send(client, &rq, NULL), 0, "a part takes five minutes");
    request_clear(&rq);
    request_init(&rq, "UploadPart", "PUT", "a", &call);
    request_send(client, &rq, NULL);
    is_str(
        sent_header(&s.sent[1], "x-amz-date"),
        "20231114T221820Z",
        "... and the next is signed with the time it is"
    );
    request_clear(&rq);
    s3pve_client_close(client);
    script_clear(&s);
}

#define ERROR(http_status, code)                                                                   \
    { .status = http_status, .body = "<Error><Code>" code "</Code></Error>" }
#define SLOW_DOWN ERROR(503, "SlowDown")

static enum s3pve_code get(struct s3pve_client *client) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct request rq;

    request_init(&rq, "GetObject", "GET", "a", NULL);
    request_send(client, &rq, &err);
    request_clear(&rq);
    return err.code;
}

static void the_clock_follows_any_good_answer(void) {
    struct script s = {ANSWERS(
        IN_TIME, {.status = 200, .headers = "date: Tue, 14 Nov 2023 23:13:20 GMT\n"}, FINE
    )};
    struct script near = {ANSWERS(
        {.status = 200, .headers = "date: Tue, 14 Nov 2023 22:14:15 GMT\n"}, /* 55 s from now */
        FINE
    )};
    struct s3pve_client *client = script_client(&s, NULL);

    for (int i = 0; i < 3; i++)
        get(client);
    is_str(
        sent_header(&s.sent[1], "x-amz-date"),
        "20231115T001320Z",
        "the Date of a good answer corrects the clock"
    );
    is_str(
        sent_header(&s.sent[2], "x-amz-date"), "20231114T231320Z", "... and that of a later one"
    );
    s3pve_client_close(client);

    client = script_client(&near, NULL);
    get(client);
    get(client);
    is_str(
        sent_header(&near.sent[1], "x-amz-date"),
        "20231114T221320Z",
        "... while less than a minute is left alone"
    );
    s3pve_client_close(client);
    script_clear(&s);
    script_clear(&near);
}

static void a_body_that_arrived_broken_is_sent_once_more(void) {
    struct script once = {ANSWERS(ERROR(400, "BadDigest"), FINE)};
    struct script always = {ANSWERS(ERROR(400, "BadDigest"), ERROR(400, "BadDigest"), FINE)};
    struct s3pve_client *client = script_client(&once, NULL);

    is_int(get(client), S3PVE_OK, "BadDigest is put right by another try");
    is_int(once.now_ms, 0, "... at once");
    s3pve_client_close(client);
    client = script_client(&always, NULL);
    is_int(get(client), S3PVE_E_CORRUPT, "... but said again it is final");
    is_int(always.n_sent, 2, "... after that one try");
    s3pve_client_close(client);
    script_clear(&once);
    script_clear(&always);
}

static void serve_fine(struct script *s, const struct sent *sent, struct answer *ret_answer) {
    *ret_answer = (struct answer)FINE;
}

static void serve_slow_down(struct script *s, const struct sent *sent, struct answer *ret_answer) {
    *ret_answer = (struct answer)SLOW_DOWN;
}

static void the_window_halves_once_a_second_and_grows_with_success(void) {
    struct script s = {.serve = serve_slow_down, .now_ms = 5000};
    struct s3pve_client *client = script_client(&s, "connections", "8", NULL);
    struct s3pve_call call = {.max_attempts = 1};
    struct request rqs[4];
    unsigned before;

    is_int(client->engine->window, 8 * WINDOW_UNIT, "all connections may be used at first");
    for (int i = 0; i < 4; i++) {
        request_init(&rqs[i], "GetObject", "GET", "a", &call);
        request_submit(client, &rqs[i]);
    }
    for (int i = 0; i < 4; i++) {
        while (request_wait(client, (struct request *[]){&rqs[i]}, 1, 1000) < 0)
            ;
        request_clear(&rqs[i]);
    }
    is_int(client->engine->window, 4 * WINDOW_UNIT, "a burst of SlowDown halves that once");
    for (int i = 0; i < 6; i++)
        get(client); /* each with seconds of waiting */
    is_int(client->engine->window, WINDOW_UNIT, "more of them, never below one");

    s.serve = serve_fine;
    before = client->engine->window;
    get(client);
    is_int(client->engine->window, 2 * before, "a success when there was one makes it two");
    get(client);
    is_int(client->engine->window, 2.5 * WINDOW_UNIT, "... and then half a one more");
    for (int i = 0; i < 100; i++)
        get(client);
    is_int(client->engine->window, 8 * WINDOW_UNIT, "... and in the end all, and no more");
    s3pve_client_close(client);
    script_clear(&s);
}

static void successes_refund_the_retry_budget(void) {
    struct script s = {ANSWERS(FINE, ERROR(500, "InternalError"), FINE, SLOW_DOWN, FINE)};
    struct s3pve_client *client = script_client(&s, NULL);

    get(client);
    is_int(client->engine->budget, RETRY_BUDGET, "the budget does not grow beyond its size");
    get(client);
    is_int(client->engine->budget, RETRY_BUDGET - RETRY_COST + RETRY_REFUND, "a repeat costs");
    get(client);
    is_int(
        client->engine->budget,
        RETRY_BUDGET - RETRY_COST - RETRY_COST_THROTTLE + 2 * RETRY_REFUND,
        "... a throttled one less, and each success gives some back"
    );
    s3pve_client_close(client);
    script_clear(&s);
}

static void serve_stale(struct script *s, const struct sent *sent, struct answer *ret_answer) {
    *ret_answer = (struct answer){.failure = HTTP_STALE, .reused = true};
}

static void stale_connections_are_not_for_ever(void) {
    struct script s = {.serve = serve_stale};
    struct s3pve_client *client = script_client(&s, "connections", "2", NULL);
    unsigned n_at_once = 0;

    is_int(get(client), S3PVE_E_IO, "where every connection is stale there is an end");
    while (n_at_once < s.n_sent && s.sent[n_at_once].at_ms == 0)
        n_at_once++;
    is_int(n_at_once, 1 + 1, "a new connection is tried at once");
    ok(s.n_sent - n_at_once < 20, "... then with waits between: %u", s.n_sent - n_at_once);
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    the_clock_follows_any_good_answer();
    a_body_that_arrived_broken_is_sent_once_more();
    the_window_halves_once_a_second_and_grows_with_success();
    successes_refund_the_retry_budget();
    stale_connections_are_not_for_ever();
    many_requests_correct_the_clock_as_one();
    a_slow_upload_does_not_move_the_clock();
    return done_testing();
}
