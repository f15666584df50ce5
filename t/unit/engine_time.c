/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/limits.h"
#include "core/engine_private.h"
#include "core/request.h"
#include "script.h"
#include "tap.h"

DEFINE_CLEANUP(struct s3pve_client *, s3pve_client_close)
#define SCRIPT _cleanup_(script_clear) struct script
#define CLIENT _cleanup_(s3pve_client_closep) struct s3pve_client *
#define REQUEST _cleanup_(request_clear) struct request

#define SLOW_DOWN                                                                                  \
    { .status = 503, .body = "<Error><Code>SlowDown</Code><Message>easy</Message></Error>" }

static char part[MIB(16)];

/* Sends a part, and returns how long that took. */
static int64_t send_part(struct script *s, struct s3pve_client *client, struct s3pve_error *err) {
    int64_t began = s->now_ms;
    struct iovec iov;
    REQUEST rq;

    request_init(&rq, "UploadPart", "PUT", "a", NULL);
    request_body(&rq, &iov, part, sizeof(part));
    *err = S3PVE_ERROR_INIT;
    request_send(client, &rq, err);
    return s->now_ms - began;
}

#define SHARED_MBIT_MS (MIB(16) * 8 / 1000 * 4)
#define PART_MOST (10000 + (int64_t)sizeof(part) / SLOW_LINE_BYTES_MS)

static void serve_again(struct script *s, const struct sent *sent, struct answer *ret_answer) {
    (void)sent;
    *ret_answer = *(const struct answer *)s->ctx;
}

/* Every attempt goes the same way. */
static const struct {
    const char *what;
    struct answer answer;
    enum s3pve_code code;
    int64_t least_ms, most_ms;
} fates[] = {
    {"refused", {.failure = HTTP_CONNECT}, S3PVE_E_IO, 1000, 10000},
    {"swallowed, without an answer", {.hang = true, .move_ms = 300}, S3PVE_E_TIMEOUT, 10300, 10300},
    {"begun again and again by a server that hangs",
     {.failure = HTTP_TIMEOUT, .take_ms = 3000, .move_ms = 100},
     S3PVE_E_TIMEOUT,
     5000,
     11000},
    {"lost near its end again and again on a slow line",
     {.failure = HTTP_BROKEN, .take_ms = 200000, .move_ms = 200000},
     S3PVE_E_IO,
     PART_MOST - 200000,
     PART_MOST},
    {"moving, but never done",
     {.hang = true, .move_ms = 3600000},
     S3PVE_E_TIMEOUT,
     PART_MOST,
     PART_MOST},
    {"one of four over a line of 1 Mbit/s",
     {.status = 200, .take_ms = SHARED_MBIT_MS, .move_ms = SHARED_MBIT_MS},
     S3PVE_OK,
     SHARED_MBIT_MS,
     SHARED_MBIT_MS},
    {"answered late", {.status = 200, .take_ms = 12000, .move_ms = 3000}, S3PVE_OK, 12000, 12000},
    {"answered too late",
     {.status = 200, .take_ms = 14000, .move_ms = 3000},
     S3PVE_E_TIMEOUT,
     13000,
     13000},
    {"told to come back", SLOW_DOWN, S3PVE_E_THROTTLED, 60000, 120000},
    {"refused after a while each time",
     {.status = 504, .take_ms = 9000},
     S3PVE_E_IO,
     60000,
     120000},
};

static void a_part_has_its_time_as_long_as_something_moves(void) {
    for (size_t i = 0; i < sizeof(fates) / sizeof(fates[0]); i++) {
        struct answer answer = fates[i].answer;
        SCRIPT s = {.serve = serve_again, .ctx = &answer};
        CLIENT client = script_client(&s, NULL);
        struct s3pve_error err;
        int64_t took = send_part(&s, client, &err);

        is_str(
            s3pve_code_name(err.code),
            s3pve_code_name(fates[i].code),
            "a part that is %s",
            fates[i].what
        );
        ok(took >= fates[i].least_ms && took <= fates[i].most_ms,
           "... after %lld ms",
           (long long)took);
    }
}

static void a_part_lost_late_on_a_slow_line_is_sent_again(void) {
    SCRIPT s = {ANSWERS(
        {.failure = HTTP_BROKEN, .take_ms = 100000, .move_ms = 100000},
        {.status = 200, .take_ms = SHARED_MBIT_MS, .move_ms = SHARED_MBIT_MS}
    )};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;

    send_part(&s, client, &err);
    is_int(err.code, S3PVE_OK, "what was lost near its end may take as long a second time");
}

/* Sixteen parts, and a store that has had enough of them for a minute. */
static void serve_after_a_minute(
    struct script *s, const struct sent *sent, struct answer *ret_answer
) {
    *ret_answer = s->now_ms < 60000 ? (struct answer)SLOW_DOWN : (struct answer){.status = 200};
}

static uint32_t the_usual_wait(void *ctx) {
    return UINT32_MAX / 2;
}

static void a_minute_of_slow_down_fails_no_part(void) {
    SCRIPT s = {.serve = serve_after_a_minute};
    CLIENT client = script_client(&s, "timeout", "120", NULL);
    struct request rqs[16], *list[16];
    struct iovec iov[16];
    int n_stored = 0;

    client->transport.random = the_usual_wait;
    for (int i = 0; i < 16; i++) {
        request_init(&rqs[i], "UploadPart", "PUT", "a", NULL);
        request_body(&rqs[i], &iov[i], part, sizeof(part));
        request_submit(client, &rqs[i]);
        list[i] = &rqs[i];
    }
    for (int done; (done = request_wait(client, list, 16, CALL_MS_MAX)) >= 0; list[done] = NULL)
        n_stored += rqs[done].error.code == S3PVE_OK;
    is_int(n_stored, 16, "a minute of SlowDown fails none of 16 parts");
    for (int i = 0; i < 16; i++)
        request_clear(&rqs[i]);
}

/* What comes of an answer, and how long it took. */
static int64_t get(struct answer answer, bool ranged, enum s3pve_code *ret_code) {
    SCRIPT s = {.serve = serve_again, .ctx = &answer};
    CLIENT client = script_client(&s, NULL);
    _free_ char *into = malloc(sizeof(part));
    struct s3pve_error err = S3PVE_ERROR_INIT;
    REQUEST rq;

    request_init(&rq, "GetObject", "GET", "a", NULL);
    rq.into = into;
    rq.range.set = ranged;
    rq.range.len = sizeof(part);
    request_send(client, &rq, &err);
    *ret_code = err.code;
    return s.now_ms;
}

static void what_comes_has_its_time_as_long_as_it_comes(void) {
    struct answer slow = {
        .status = 200,
        .body = part,
        .body_len = sizeof(part),
        .flow = 32,
        .take_ms = sizeof(part) / 32,
        .move_ms = sizeof(part) / 32};
    struct answer stops = slow, drips = slow;
    enum s3pve_code code;
    int64_t took;

    get(slow, true, &code);
    is_int(code, S3PVE_OK, "16 MiB of an object at 32 KB/s");
    get(slow, false, &code);
    is_int(code, S3PVE_OK, "... and from a server that knows no ranges");

    stops.move_ms = 60000;
    stops.hang = true;
    took = get(stops, true, &code);
    is_int(code, S3PVE_E_TIMEOUT, "one that stops");
    is_int(took, 70000, "... ends when nothing came for the timeout");

    drips.flow = 1;
    drips.take_ms = drips.move_ms = sizeof(part);
    took = get(drips, true, &code);
    is_int(code, S3PVE_E_TIMEOUT, "one that drips");
    ok(took < 12000, "... ends at the timeout, or soon after: %lld ms", (long long)took);
}

static void a_kept_connection_has_three_quarters_of_the_time(void) {
    static const struct {
        const char *method;
        size_t body_len;
        bool once, slow_answer;
        unsigned stale_ms;
    } rows[] = {
        {"GET", 0, false, false, 7500},
        {"DELETE", 0, false, false, 7500},
        {"PUT", KIB(64), false, false, 7500},
        {"PUT", KIB(64) + 1, false, false, 0},
        {"PUT", 1, true, false, 0},
        {"PUT", 0, false, true, 0},
        {"POST", 0, false, false, 0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct request rq = {
            .method = rows[i].method,
            .body_len = rows[i].body_len,
            .once = rows[i].once,
            .slow_answer = rows[i].slow_answer,
            .patience_ms = 10000,
            .deadline_ms = 10000 + (int64_t)(rows[i].body_len / SLOW_LINE_BYTES_MS)};

        is_int(
            engine_stale_ms(&rq, 0),
            rows[i].stale_ms,
            "%s of %zu bytes%s%s",
            rq.method,
            rows[i].body_len,
            rq.once ? ", once" : "",
            rq.slow_answer ? ", slowly answered" : ""
        );
    }
}

static void waiting_for_a_place_is_not_the_stores_silence(void) {
    static const struct answer slow = {.status = 200, .take_ms = 60000, .move_ms = 60000};
    SCRIPT s = {ANSWERS(slow, slow, slow)};
    CLIENT client = script_client(&s, "connections", "1", NULL);
    struct request rqs[3], *list[3];
    struct iovec iov[3];

    for (int i = 0; i < 3; i++) {
        request_init(&rqs[i], "UploadPart", "PUT", "a", NULL);
        request_body(&rqs[i], &iov[i], part, sizeof(part));
        request_submit(client, &rqs[i]);
        list[i] = &rqs[i];
    }
    for (int done; (done = request_wait(client, list, 3, 60000)) >= 0; list[done] = NULL)
        ;
    is_int(s.n_active_max, 1, "one at a time");
    for (int i = 0; i < 3; i++) {
        is_int(rqs[i].error.code, S3PVE_OK, "... and part %d has waited for the others", i);
        request_clear(&rqs[i]);
    }
}

static void no_time_passes_while_nobody_waits(void) {
    static const struct {
        const char *what;
        struct answer answer;
        bool sent;
        enum s3pve_code code;
        int64_t took_ms;
    } rows[] = {
        {"one on the wire", {.status = 200, .take_ms = 5000}, true, S3PVE_OK, 0},
        {"one that was not sent", {.status = 200, .take_ms = 5000}, false, S3PVE_OK, 5000},
        {"one that hangs", {.hang = true}, true, S3PVE_E_TIMEOUT, 10000},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        SCRIPT s = {.answers = &rows[i].answer, .n_answers = 1};
        CLIENT client = script_client(&s, NULL);
        struct request *list[1];
        int64_t began;
        REQUEST rq;

        list[0] = &rq;
        request_init(&rq, "GetObject", "GET", "a", NULL);
        request_submit(client, &rq);
        if (rows[i].sent)
            request_wait(client, list, 1, 0);
        began = s.now_ms += 60000;
        request_wait(client, list, 1, 60000);
        is_int(rq.error.code, rows[i].code, "asked for after a minute: %s", rows[i].what);
        is_int(s.now_ms - began, rows[i].took_ms, "... for as long as it is waited for");
    }
}

static void a_request_without_a_body_ends_at_its_timeout(void) {
    SCRIPT s = {ANSWERS({.hang = true, .move_ms = 3600000})};
    CLIENT client = script_client(&s, NULL);
    struct s3pve_error err;
    REQUEST rq;

    request_init(&rq, "GetObject", "GET", "a", NULL);
    request_send(client, &rq, &err);
    is_int(s.now_ms, 10000, "an answer that trickles ends at the timeout");
}

int main(void) {
    a_part_has_its_time_as_long_as_something_moves();
    a_part_lost_late_on_a_slow_line_is_sent_again();
    a_minute_of_slow_down_fails_no_part();
    what_comes_has_its_time_as_long_as_it_comes();
    a_kept_connection_has_three_quarters_of_the_time();
    waiting_for_a_place_is_not_the_stores_silence();
    no_time_passes_while_nobody_waits();
    a_request_without_a_body_ends_at_its_timeout();
    return done_testing();
}
