/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "core/client.h"
#include "script.h"
#include "tap.h"

/* A store with one object, which it hands out in ranges. */
struct store {
    char *bytes;
    uint64_t size;
    const char *etag;
    unsigned take_ms;      /* of each answer */
    bool no_ranges;        /* the whole object, whatever is asked for */
    bool no_condition;     /* If-Match is ignored */
    unsigned change_after; /* answers, then it is another version */
    unsigned break_every;  /* this answer of so many breaks in its middle */
    unsigned n_get;
    char headers[8][160];
};

static bool is_conflict(const struct store *store, const struct sent *sent) {
    const char *wanted = sent_header(sent, "if-match");
    char quoted[64];

    snprintf(quoted, sizeof(quoted), "\"%s\"", store->etag);
    return wanted && !store->no_condition && strcmp(wanted, quoted) != 0;
}

static void serve(struct script *s, const struct sent *sent, struct answer *a) {
    struct store *store = s->ctx;
    char *headers = store->headers[store->n_get % 8];
    const char *range;
    unsigned long long first = 0, last = store->size - 1;

    *a = (struct answer){.status = 200, .headers = headers};
    if (store->change_after && store->n_get == store->change_after)
        store->etag = "v2";
    if (strcmp(sent->method, "HEAD") == 0) {
        snprintf(
            headers,
            160,
            "content-length: %llu\netag: \"%s\"\n",
            (unsigned long long)store->size,
            store->etag
        );
        return;
    }
    store->n_get++;
    if (is_conflict(store, sent)) {
        *a = (struct answer){.status = 412};
        return;
    }
    range = store->no_ranges ? NULL : sent_header(sent, "range");
    if (range)
        sscanf(range, "bytes=%llu-%llu", &first, &last);
    if (first >= store->size) {
        *a = (struct answer){.status = range ? 416 : 200, .headers = "content-length: 0\n"};
        return;
    }
    if (last >= store->size)
        last = store->size - 1;
    a->status = range ? 206 : 200;
    a->body = store->bytes + first;
    a->body_len = last - first + 1;
    a->take_ms = store->take_ms;
    if (store->break_every && store->n_get % store->break_every == 0) {
        a->body_len /= 2;
        a->failure = HTTP_BROKEN;
    }
    if (range)
        snprintf(
            headers,
            160,
            "content-range: bytes %llu-%llu/%llu\netag: \"%s\"\n",
            first,
            last,
            (unsigned long long)store->size,
            store->etag
        );
    else
        snprintf(
            headers,
            160,
            "content-length: %llu\netag: \"%s\"\n",
            (unsigned long long)store->size,
            store->etag
        );
}

struct world {
    struct script script;
    struct store store;
    struct s3pve_client *client;
    struct s3pve_error err;
    uint64_t progress;
    int fd, rc;
};

static struct world *world_new(uint64_t size) {
    struct world *w = calloc(1, sizeof(*w));

    w->store.size = size;
    w->store.bytes = malloc(size + 1);
    w->store.etag = "v1";
    for (size_t i = 0; i < size; i++)
        w->store.bytes[i] = (char)(i * 13 + i / 1000);
    w->script.serve = serve;
    w->script.ctx = &w->store;
    w->client = script_client(&w->script, NULL);
    w->fd = memfd_create("output", MFD_CLOEXEC);
    return w;
}

static void get(struct world *w, uint64_t offset, uint64_t len) {
    w->rc = s3pve_object_get_fd(w->client, "key", w->fd, offset, len, &w->progress, NULL, &w->err);
}

/* Does the file hold just these bytes of the object? */
static bool got(struct world *w, uint64_t offset, uint64_t len) {
    char *data = malloc(len + 1);
    bool same = lseek(w->fd, 0, SEEK_END) == (off_t)len &&
                pread(w->fd, data, len, 0) == (ssize_t)len &&
                memcmp(data, w->store.bytes + offset, len) == 0;

    free(data);
    return same;
}

static void world_free(struct world *w) {
    is_int(w->script.n_active, 0, "nothing is left on the wire");
    s3pve_client_close(w->client);
    script_clear(&w->script);
    free(w->store.bytes);
    close(w->fd);
    free(w);
}

static void a_small_object_is_one_request(void) {
    struct world *w = world_new(100000);

    get(w, 0, 0);
    is_int(w->rc, 0, "an object is streamed");
    ok(got(w, 0, 100000), "... byte by byte");
    is_int(w->script.n_sent, 1, "... in one request");
    is_int((long long)w->progress, 100000, "... and progress was told");
    world_free(w);
}

static void a_slice_is_just_that(void) {
    struct world *w = world_new(100000);

    get(w, 500, 1000);
    ok(w->rc == 0 && got(w, 500, 1000), "a thousand bytes from the middle");
    is_str(sent_header(&w->script.sent[0], "range"), "bytes=500-1499", "... no more is asked for");
    world_free(w);

    w = world_new(100);
    get(w, 90, 1000);
    ok(w->rc == 0 && got(w, 90, 10), "beyond the end there is nothing");
    world_free(w);
}

static void nothing_is_nothing(void) {
    struct world *w = world_new(0);

    get(w, 0, 0);
    ok(w->rc == 0 && got(w, 0, 0), "an empty object is an empty file");
    world_free(w);

    w = world_new(100);
    get(w, 100, 0);
    ok(w->rc == 0 && got(w, 100, 0), "so is what comes after the end");
    world_free(w);
}

static void a_large_object_is_pinned_to_one_version(void) {
    struct world *w = world_new(GET_STRETCH + MIB(8) + 5);

    w->store.take_ms = 1000;
    get(w, 0, 0);
    is_int(w->rc, 0, "a larger object is streamed");
    ok(got(w, 0, w->store.size), "... byte by byte, in order");
    for (unsigned i = 1; i < w->script.n_sent; i++)
        if (i == 1 || i == w->script.n_sent - 1)
            is_str(
                sent_header(&w->script.sent[i], "if-match"), "\"v1\"", "request %u is pinned", i
            );
    ok(w->script.n_active_max > 1, "a slow one over more than one connection");
    world_free(w);
}

static void a_change_in_the_middle_is_a_conflict(void) {
    struct world *w = world_new(GET_STRETCH + MIB(8));

    w->store.change_after = 1;
    get(w, 0, 0);
    is_int(w->err.code, S3PVE_E_CONFLICT, "another version from the second request on: CONFLICT");
    world_free(w);

    w = world_new(GET_STRETCH + MIB(8));
    w->store.change_after = 1;
    w->store.no_condition = true;
    get(w, 0, 0);
    ok(w->rc < 0, "also where the server ignores If-Match");
    world_free(w);
}

static void a_broken_transfer_goes_on_where_it_stopped(void) {
    struct world *w = world_new(GET_STRETCH + MIB(20));

    w->store.break_every = 3;
    get(w, 0, 0);
    is_int(w->rc, 0, "every third answer breaks in its middle");
    ok(got(w, 0, w->store.size), "... and not a byte is lost or doubled");
    world_free(w);
}

static void a_server_without_ranges_streams_all(void) {
    struct world *w = world_new(GET_STRETCH + 1000);

    w->store.no_ranges = true;
    get(w, 0, 0);
    ok(w->rc == 0 && got(w, 0, w->store.size), "the whole object is taken");
    world_free(w);

    w = world_new(100000);
    w->store.no_ranges = true;
    get(w, 500, 1000);
    ok(w->rc == 0 && got(w, 500, 1000), "or its middle cut out");
    is_int(w->err.code, S3PVE_OK, "... and no error is left behind");
    world_free(w);

    w = world_new(100000);
    w->store.no_ranges = true;
    w->store.break_every = 2;
    get(w, 500, 0);
    ok(w->rc == 0 && got(w, 500, 99500), "over a connection that breaks, too");
    world_free(w);
}

static void a_full_disk_is_no_space(void) {
    struct world *w = world_new(1000);

    close(w->fd);
    w->fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    get(w, 0, 0);
    is_int(w->err.code, S3PVE_E_NO_SPACE, "output that is full: NO_SPACE");
    is_int(w->err.errnum, ENOSPC, "... ENOSPC");
    is_int(w->script.n_sent, 1, "... and it is not tried again");
    world_free(w);
}

static void a_closed_pipe_is_an_error(void) {
    struct world *w = world_new(MIB(1));
    int fds[2];

    signal(SIGPIPE, SIG_IGN);
    close(w->fd);
    if (pipe2(fds, O_CLOEXEC) < 0)
        ok(false, "pipe");
    close(fds[0]);
    w->fd = fds[1];
    get(w, 0, 0);
    is_int(w->err.errnum, EPIPE, "nobody reads any more: EPIPE");
    world_free(w);
}

static void what_is_missing_is_not_found(void) {
    struct script s = {ANSWERS({.status = 404, .body = "<Error><Code>NoSuchKey</Code></Error>"})};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    s3pve_object_get_fd(client, "key", 1, 0, 0, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_NOT_FOUND, "no such object");
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    a_small_object_is_one_request();
    a_slice_is_just_that();
    nothing_is_nothing();
    a_large_object_is_pinned_to_one_version();
    a_change_in_the_middle_is_a_conflict();
    a_broken_transfer_goes_on_where_it_stopped();
    a_server_without_ranges_streams_all();
    a_full_disk_is_no_space();
    a_closed_pipe_is_an_error();
    what_is_missing_is_not_found();
    return done_testing();
}
