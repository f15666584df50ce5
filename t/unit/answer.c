/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

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

static void only_the_range_that_was_asked_for_is_taken(void) {
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        struct answer answer = {
            .status = ranges[i].status, .headers = ranges[i].headers, .body = ranges[i].body};
        struct script s = {.answers = &answer, .n_answers = 1};
        struct s3pve_client *client = script_client(&s, NULL);
        struct s3pve_call call = {.max_attempts = 1};
        struct request rq;
        char got[16] = "";

        request_init(&rq, "GetObject", "GET", "a", &call);
        rq.into = got;
        rq.range.set = true;
        rq.range.offset = 100;
        rq.range.len = 10;
        is_int(
            request_send(client, &rq, NULL),
            ranges[i].good ? 0 : -1,
            "%s is %s",
            ranges[i].what,
            ranges[i].good ? "taken" : "refused"
        );
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

int main(void) {
    a_body_whose_end_nobody_told_is_refused();
    only_the_range_that_was_asked_for_is_taken();
    return done_testing();
}
