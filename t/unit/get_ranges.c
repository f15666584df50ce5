/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "core/get.h"
#include "script.h"
#include "tap.h"

#define SIZE 10000
#define PIECE 1000 /* bytes before each connection breaks */

static char object[SIZE], got[SIZE + 1];

struct line {
    char headers[200];
    unsigned take_ms;  /* for a piece */
    unsigned n_pieces; /* that come at all */
};

/* A line so slow that it breaks before a range is through. */
static void serve_pieces(struct script *s, const struct sent *sent, struct answer *ret_answer) {
    struct line *line = s->ctx;
    const char *range = sent_header(sent, "range");
    unsigned long long first = 0, last = SIZE;
    size_t len;

    if (line->n_pieces == 0) {
        *ret_answer = (struct answer){.hang = true};
        return;
    }
    line->n_pieces--;
    sscanf(range ? range : "", "bytes=%llu-%llu", &first, &last);
    last = last < SIZE ? last : SIZE - 1;
    len = last - first + 1;
    snprintf(
        line->headers,
        sizeof(line->headers),
        "content-range: bytes %llu-%llu/%d\ncontent-length: %zu\netag: \"e1\"\n",
        first,
        last,
        SIZE,
        len
    );
    *ret_answer = (struct answer){
        .status = 206,
        .headers = line->headers,
        .body = object + first,
        .body_len = len < PIECE ? len : PIECE,
        .failure = len > PIECE ? HTTP_BROKEN : HTTP_FINE,
        .take_ms = line->take_ms,
    };
}

static int run(struct line *line, bool ranges, int fd, struct s3pve_error *err) {
    struct script s = {.serve = serve_pieces, .ctx = line};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_call call = {.timeout_ms = 2000};
    struct get get = {
        .client = client, .key = "a", .fd = fd, .end = SIZE, .etag = "e1", .call = call};
    int rc = ranges ? get_ranges(&get, SIZE, 4, err)
                    : s3pve_object_get_fd(client, "a", fd, 0, 0, NULL, &call, err);

    is_int(s.n_active, 0, "nothing is left on the wire");
    s3pve_client_close(client);
    script_clear(&s);
    return rc;
}

static void the_time_is_for_a_stretch_without_a_byte(bool ranges) {
    struct line slow = {.take_ms = 1500, .n_pieces = 100}, stuck = {.take_ms = 1500, .n_pieces = 3};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    FILE *file = tmpfile();

    is_int(run(&slow, ranges, fileno(file), &err), 0, "a read that takes ten times the timeout");
    rewind(file);
    is_int(fread(got, 1, sizeof(got), file), SIZE, "... ends well, as bytes keep coming");
    ok(memcmp(got, object, SIZE) == 0, "... in order");
    is_int(run(&stuck, ranges, fileno(file), &err), -1, "but when none come any more");
    is_int(err.code, S3PVE_E_TIMEOUT, "... the time runs out");
    fclose(file);
}

int main(void) {
    for (size_t i = 0; i < SIZE; i++)
        object[i] = (char)(i * 7 + i / 256);
    the_time_is_for_a_stretch_without_a_byte(true);
    the_time_is_for_a_stretch_without_a_byte(false);
    return done_testing();
}
