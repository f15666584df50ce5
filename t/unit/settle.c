/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "core/request.h"
#include "script.h"
#include "tap.h"

#define SKEWED                                                                                     \
    {                                                                                              \
        .status = 403, .headers = "date: Wed, 15 Nov 2023 00:13:20 GMT\n", /* 1700007200 */        \
            .body = "<Error><Code>RequestTimeTooSkewed</Code></Error>"                             \
    }
#define IN_TIME                                                                                    \
    { .status = 200, .headers = "date: Wed, 15 Nov 2023 00:13:20 GMT\n" }

static void many_requests_correct_the_clock_as_one(void) {
    struct script s = {ANSWERS(SKEWED, SKEWED, SKEWED, IN_TIME, IN_TIME, IN_TIME, IN_TIME)};
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

int main(void) {
    many_requests_correct_the_clock_as_one();
    a_slow_upload_does_not_move_the_clock();
    return done_testing();
}
