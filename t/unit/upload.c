/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "core/upload.h"
#include "script.h"
#include "tap.h"

#define PART MIB(5)
#define EMPTY_MD5 "d41d8cd98f00b204e9800998ecf8427e" /* every part's ETag in this world */

/* A store for one upload, with faults. */
struct store {
    uint64_t part[16]; /* bytes of each part as stored; index 0 unused */
    unsigned n_put, n_create, n_part, n_complete, n_abort, n_head;
    uint64_t object;                /* bytes published; UINT64_MAX while there is nothing */
    unsigned fail_part, fail_times; /* this part number is refused so often */
    struct answer failure;          /* like this */
    unsigned take_ms;               /* of each part */
    struct answer complete;         /* instead of success, when it has a status */
    bool published_anyway;
    char body[512], headers[256];
};

static const char *const etags[] = {
    "",
    "59adb24ef3cdbe0297f05b395827453f-1",
    "5873dd45edd01f09c1ef2e7819369e8e-2",
    "2bc3f09a6fbadbe687825030c6e7b9a4-3"};

static void serve_complete(struct store *store, const struct sent *sent, struct answer *a) {
    unsigned n = 0;
    uint64_t size = 0;

    for (const char *p = sent->body; (p = strstr(p, "<Part>")); p++)
        size += store->part[++n];
    store->n_complete++;
    if (!store->complete.status || store->published_anyway)
        store->object = size;
    if (store->complete.status) {
        *a = store->complete;
        return;
    }
    snprintf(
        store->body,
        sizeof(store->body),
        "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>",
        n < 4 ? etags[n] : "many"
    );
    *a = (struct answer){.status = 200, .body = store->body};
}

static void serve_part(struct store *store, const struct sent *sent, struct answer *a) {
    unsigned n = (unsigned)atoi(strstr(sent->url, "partNumber=") + strlen("partNumber="));

    store->n_part++;
    if (n == store->fail_part && store->fail_times) {
        store->fail_times--;
        *a = store->failure;
        return;
    }
    store->part[n] = sent->body_len;
    *a = (struct answer){.status = 200, .headers = "etag: \"" EMPTY_MD5 "\"\n"};
    a->take_ms = store->take_ms;
}

static void serve_head(struct store *store, struct answer *a) {
    store->n_head++;
    if (store->object == UINT64_MAX) {
        *a = (struct answer){.status = 404};
        return;
    }
    snprintf(
        store->headers,
        sizeof(store->headers),
        "content-length: %llu\netag: \"x\"\nx-amz-meta-s3pve-write: "
        "ffffffffffffffffffffffffffffffff\n",
        (unsigned long long)store->object
    );
    *a = (struct answer){.status = 200, .headers = store->headers};
}

static void serve(struct script *s, const struct sent *sent, struct answer *a) {
    struct store *store = s->ctx;

    if (strcmp(sent->method, "HEAD") == 0) {
        serve_head(store, a);
    } else if (strcmp(sent->method, "DELETE") == 0) {
        store->n_abort++;
        *a = (struct answer){.status = 204};
    } else if (strstr(sent->url, "?uploads")) {
        store->n_create++;
        *a = (struct answer
        ){.status = 200,
          .body =
              "<InitiateMultipartUploadResult><UploadId>u1</UploadId>"
              "</InitiateMultipartUploadResult>"};
    } else if (strstr(sent->url, "partNumber=")) {
        serve_part(store, sent, a);
    } else if (strstr(sent->url, "uploadId=")) {
        serve_complete(store, sent, a);
    } else {
        store->n_put++;
        store->object = sent->body_len;
        *a = (struct answer){.status = 200, .headers = "etag: \"" EMPTY_MD5 "\"\n"};
    }
}

struct world {
    struct script script;
    struct store store;
    struct s3pve_client *client;
    struct s3pve_upload *upload;
    struct s3pve_error err;
    char *bytes; /* three parts of them */
};

static struct world *world_new(void) {
    struct world *w = calloc(1, sizeof(*w));

    w->script.serve = serve;
    w->script.ctx = &w->store;
    w->store.object = UINT64_MAX;
    w->client = script_client(&w->script, "part-size", "5", NULL);
    w->bytes = malloc(3 * PART);
    for (size_t i = 0; i < 3 * PART; i++)
        w->bytes[i] = (char)(i * 7 + i / 4096);
    s3pve_upload_open(w->client, "key", NULL, &w->upload, NULL);
    return w;
}

static void world_free(struct world *w) {
    s3pve_upload_close(w->upload);
    is_int((long long)w->client->part_memory, 0, "all memory is given back");
    is_int(w->script.n_active, 0, "... and nothing is on the wire");
    s3pve_client_close(w->client);
    script_clear(&w->script);
    free(w->bytes);
    free(w);
}

static int put(struct world *w, size_t from, size_t len) {
    return s3pve_upload_write(w->upload, w->bytes + from, len, NULL, &w->err);
}

static int finish(struct world *w) {
    return s3pve_upload_complete(w->upload, NULL, NULL, &w->err);
}

static void little_is_one_put(void) {
    struct world *w = world_new();
    struct s3pve_info info;

    put(w, 0, 10);
    put(w, 10, 90);
    is_int(w->script.n_sent, 0, "nothing is sent while it is written");
    is_int(s3pve_upload_seal(w->upload, NULL, NULL), 0, "nor when it is sealed");
    is_int(w->script.n_sent, 0, "... it stays in memory");
    ok(w->client->part_memory <= 4096, "... in no more than it needs");
    is_int(s3pve_upload_complete(w->upload, &info, NULL, NULL), 0, "complete");
    is_int(w->store.n_put, 1, "... is one PUT");
    ok(memcmp(w->script.sent[0].body, w->bytes, 100) == 0, "... of these bytes");
    is_int((long long)info.size, 100, "... so many");
    is_int(finish(w), 0, "completing again is fine");
    is_int(w->script.n_sent, 1, "... and does nothing");
    is_int(put(w, 0, 1), -1, "but there is no more writing");
    world_free(w);
}

static void nothing_is_an_empty_object(void) {
    struct world *w = world_new();

    is_int(finish(w), 0, "an upload without a byte");
    is_int(w->store.n_put, 1, "... is one PUT");
    is_int((long long)w->store.object, 0, "... of nothing");
    world_free(w);
}

static void one_full_part_is_still_one_put(void) {
    struct world *w = world_new();

    put(w, 0, PART);
    is_int(w->script.n_sent, 0, "a full part waits: there may be no second");
    finish(w);
    is_int(w->store.n_put, 1, "one PUT");
    is_int(w->store.n_create, 0, "... and no multipart upload");
    world_free(w);
}

static void another_byte_makes_it_multipart(void) {
    struct world *w = world_new();
    struct s3pve_info info = {0};

    put(w, 0, PART + 1);
    is_int(w->store.n_create, 1, "a second part begins: an upload is created");
    is_str(s3pve_upload_id(w->upload), "u1", "... and its id known");
    s3pve_upload_seal(w->upload, NULL, NULL);
    is_int((long long)w->store.part[1], (long long)PART, "the first part is stored");
    is_int((long long)w->store.part[2], 1, "... and the second");
    is_int((long long)s3pve_upload_stored(w->upload), (long long)PART + 1, "... and known to be");
    ok(w->store.object == UINT64_MAX, "sealed is not published");
    is_int(s3pve_upload_complete(w->upload, &info, NULL, NULL), 0, "complete publishes");
    is_int(w->store.n_complete, 1, "... in one request");
    is_int(w->store.n_head, 0, "... for the ETag proves the parts");
    is_int((long long)info.size, (long long)PART + 1, "... and so the size");
    world_free(w);
}

static void the_bytes_arrive_in_order(void) {
    struct world *w = world_new();
    size_t at = 0;
    bool same = true;

    for (size_t n = 1; at < 3 * PART; n = n * 3 % 100003) {
        size_t len = n < 3 * PART - at ? n : 3 * PART - at;

        put(w, at, len);
        at += len;
    }
    is_int(finish(w), 0, "15 MiB in pieces of all sizes");
    is_int(w->store.n_part, 3, "... are three parts");
    for (unsigned i = 0; i < w->script.n_sent; i++) {
        const struct sent *sent = &w->script.sent[i];
        const char *number = strstr(sent->url, "partNumber=");

        if (number)
            same = same && sent->body_len == PART &&
                   memcmp(sent->body, w->bytes + (size_t)(atoi(number + 11) - 1) * PART, PART) == 0;
    }
    ok(same, "... each with its own bytes");
    is_int((long long)w->store.object, (long long)(3 * PART), "... and the object has all of them");
    world_free(w);
}

static void parts_fly_together_in_bounded_memory(void) {
    struct world *w = world_new();
    uint64_t most = 0;

    w->store.take_ms = 100;
    for (int i = 0; i < 20; i++) {
        put(w, 0, PART / 2);
        if (w->client->part_memory > most)
            most = w->client->part_memory;
    }
    is_int(finish(w), 0, "50 MiB are written");
    ok(w->script.n_active_max > 1, "... several parts at a time");
    ok(w->script.n_active_max <= PARTS_IN_FLIGHT, "... but not too many");
    ok(most <= (PARTS_IN_FLIGHT + 1) * PART, "... in five parts' memory");
    world_free(w);
}

static void other_streams_leave_one_buffer(void) {
    struct world *w = world_new();

    w->store.take_ms = 100;
    atomic_fetch_add(&w->client->part_memory, STORAGE_MEMORY);
    for (int i = 0; i < 4; i++)
        put(w, 0, PART);
    is_int(w->client->part_memory - STORAGE_MEMORY <= PART, 1, "one buffer when memory is short");
    is_int(finish(w), 0, "... is enough to get through");
    is_int(w->script.n_active_max, 1, "... one part at a time");
    atomic_fetch_sub(&w->client->part_memory, STORAGE_MEMORY);
    world_free(w);
}

static void a_refused_part_is_final(void) {
    struct world *w = world_new();

    w->store.fail_part = 1;
    w->store.fail_times = 1;
    w->store.failure =
        (struct answer){.status = 403, .body = "<Error><Code>AccessDenied</Code></Error>"};
    put(w, 0, 2 * PART);
    is_int(s3pve_upload_seal(w->upload, NULL, &w->err), -1, "a part is refused");
    is_int(w->err.code, S3PVE_E_DENIED, "... DENIED");
    ok(strstr(w->err.message, "part 1") != NULL, "... and named");
    is_int(put(w, 0, 1), -1, "writing fails from now on");
    is_int(w->err.code, S3PVE_E_DENIED, "... for the same reason");
    is_int(finish(w), -1, "so does completing");
    is_int(w->store.n_complete, 0, "... without asking the store");
    s3pve_upload_close(w->upload);
    w->upload = NULL;
    is_int(w->store.n_abort, 1, "closing aborts the upload");
    world_free(w);
}

static void a_part_without_an_etag_is_corrupt(void) {
    struct world *w = world_new();

    w->store.fail_part = 1;
    w->store.fail_times = 1;
    w->store.failure = (struct answer){.status = 200};
    put(w, 0, 2 * PART);
    s3pve_upload_seal(w->upload, NULL, &w->err);
    is_int(w->err.code, S3PVE_E_CORRUPT, "a part stored without an ETag is not believed");
    world_free(w);
}

static void abort_waits_for_parts_in_flight(void) {
    struct world *w = world_new();

    w->store.take_ms = 60000;
    put(w, 0, 2 * PART + 1);
    s3pve_upload_abort(w->upload, NULL);
    is_int(w->script.n_active, 0, "what was in flight is let go first");
    is_int(w->store.n_abort, 2, "then the upload is aborted, twice: a part may have come late");
    is_int(put(w, 0, 1), -1, "and there is no more writing");
    is_int(w->err.code, S3PVE_E_CANCELLED, "... CANCELLED");
    world_free(w);
}

static void an_upload_that_never_began_aborts_quietly(void) {
    struct world *w = world_new();

    put(w, 0, 100);
    s3pve_upload_abort(w->upload, NULL);
    is_int(w->script.n_sent, 0, "nothing was there to abort");
    world_free(w);
}

static void cancelling_ends_a_blocked_write(void) {
    struct world *w = world_new();
    int stop = 0;
    const struct s3pve_call call = {.cancel = &stop};

    w->store.fail_part = 1;
    w->store.fail_times = 99;
    w->store.failure = (struct answer){.hang = true};
    s3pve_upload_write(w->upload, w->bytes, 2 * PART, NULL, NULL);
    stop = 1;
    is_int(s3pve_upload_seal(w->upload, &call, &w->err), -1, "sealing waits for a part that hangs");
    is_int(w->err.code, S3PVE_E_CANCELLED, "... until it is cancelled");
    ok(w->script.now_ms < 1000, "... which is soon");
    world_free(w);
}

static void a_hanging_part_ends_by_its_deadline(void) {
    struct world *w = world_new();

    w->store.fail_part = 1;
    w->store.fail_times = 99;
    w->store.failure = (struct answer){.hang = true};
    put(w, 0, 2 * PART);
    s3pve_upload_seal(w->upload, NULL, &w->err);
    is_int(w->err.code, S3PVE_E_TIMEOUT, "a store that hangs is a timeout");
    ok(w->script.now_ms <= 10000 + (int64_t)(PART / 64),
       "... after the call's time and the body's");
    world_free(w);
}

static void a_part_nobody_moved_is_sent_again(void) {
    struct world *w = world_new();

    w->store.fail_part = 1;
    w->store.fail_times = 1;
    w->store.failure = (struct answer){.hang = true};
    put(w, 0, PART + 1);
    w->script.now_ms += 600000; /* the writer has nothing for ten minutes */
    is_int(finish(w), 0, "a transfer that stood still meanwhile is begun anew");
    is_int((long long)w->store.object, (long long)PART + 1, "... and the object whole");
    world_free(w);
}

static void sealing_is_not_the_end(void) {
    struct world *w = world_new();

    put(w, 0, PART + 10);
    s3pve_upload_seal(w->upload, NULL, NULL);
    is_int(w->store.n_part, 2, "sealed with a short last part");
    s3pve_upload_seal(w->upload, NULL, NULL);
    is_int(w->store.n_part, 2, "sealing again costs nothing");
    is_int(put(w, PART + 10, 20), 0, "more comes after all");
    is_int(finish(w), 0, "and it is completed");
    is_int((long long)w->store.part[2], 30, "the last part is sent again, longer");
    ok(memcmp(w->script.sent[w->script.n_sent - 2].body, w->bytes + PART, 30) == 0,
       "... and whole");
    is_int((long long)w->store.object, (long long)PART + 30, "the object has everything");
    is_int((long long)s3pve_upload_stored(w->upload), (long long)PART + 30, "... counted once");
    world_free(w);
}

static void a_sealed_upload_may_grow_by_parts(void) {
    struct world *w = world_new();

    put(w, 0, 100);
    s3pve_upload_seal(w->upload, NULL, NULL);
    put(w, 100, PART);
    s3pve_upload_seal(w->upload, NULL, NULL);
    put(w, PART + 100, PART);
    is_int(finish(w), 0, "100 bytes, a part more, another part more");
    is_int((long long)w->store.object, 2 * (long long)PART + 100, "... are all there");
    is_int((long long)w->store.part[2], (long long)PART, "... the second part full by now");
    world_free(w);
}

static void begin_makes_an_id_before_the_first_byte(void) {
    struct world *w = world_new();

    is_int(s3pve_upload_begin(w->upload, NULL, NULL), 0, "begun by hand");
    is_str(s3pve_upload_id(w->upload), "u1", "... it has an id");
    s3pve_upload_begin(w->upload, NULL, NULL);
    is_int(w->store.n_create, 1, "... just one");
    put(w, 0, 10);
    is_int(finish(w), 0, "ten bytes");
    is_int(w->store.n_put, 0, "... are no PUT any more");
    is_int((long long)w->store.part[1], 10, "... but one short part");
    world_free(w);

    w = world_new();
    s3pve_upload_begin(w->upload, NULL, NULL);
    is_int(finish(w), 0, "and nothing at all");
    is_int(w->store.n_part, 1, "... is one empty part, for there must be one");
    is_int((long long)w->store.object, 0, "... of an empty object");
    world_free(w);
}

static void completing_may_be_repeated_after_a_failure(void) {
    struct world *w = world_new();

    put(w, 0, PART + 1);
    w->store.complete =
        (struct answer){.status = 403, .body = "<Error><Code>AccessDenied</Code></Error>"};
    is_int(finish(w), -1, "completing is refused");
    is_int(w->err.code, S3PVE_E_DENIED, "... DENIED");
    w->store.complete = (struct answer){0};
    is_int(finish(w), 0, "the next time it works");
    is_int(w->store.n_part, 2, "... without sending a part again");
    world_free(w);
}

static void a_complete_that_was_done_is_found_out_later(void) {
    struct world *w = world_new();

    put(w, 0, PART + 1);
    w->store.complete =
        (struct answer){.status = 404, .body = "<Error><Code>NoSuchUpload</Code></Error>"};
    w->store.published_anyway = true;
    is_int(finish(w), 0, "NoSuchUpload, but the object is there with our marker");
    world_free(w);
}

static void leaving_keeps_the_parts(void) {
    struct world *w = world_new();

    put(w, 0, 2 * PART);
    s3pve_upload_leave(w->upload);
    w->upload = NULL;
    is_int(w->store.n_abort, 0, "who leaves does not abort");
    world_free(w);
}

static void too_much_for_the_parts_there_are_is_refused(void) {
    struct script s = {0};
    struct s3pve_client *client = script_client(&s, "part-size", "5", NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_upload *upload;
    struct store store = {.object = UINT64_MAX};
    char *bytes = calloc(1, PART);

    s.serve = serve;
    s.ctx = &store;
    client->config.max_parts = 2;
    client->config.equal_parts = true;
    s3pve_upload_open(client, "key", NULL, &upload, NULL);
    is_int(s3pve_upload_write(upload, bytes, PART, NULL, NULL), 0, "the first part");
    is_int(s3pve_upload_write(upload, bytes, PART, NULL, NULL), 0, "and the second");
    is_int(s3pve_upload_write(upload, bytes, 1, NULL, &err), -1, "there is no third");
    is_int(err.code, S3PVE_E_NO_SPACE, "... NO_SPACE");
    is_int(err.errnum, EFBIG, "... EFBIG");
    s3pve_upload_close(upload);
    s3pve_client_close(client);
    script_clear(&s);
    free(bytes);
}

static void a_file_is_read_to_its_end(void) {
    static const size_t lengths[] = {0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct world *w = world_new();
        int fd = memfd_create("input", MFD_CLOEXEC);

        if (write(fd, w->bytes, lengths[i]) != (ssize_t)lengths[i] || lseek(fd, 0, SEEK_SET) != 0)
            ok(false, "a file of %zu bytes", lengths[i]);
        is_int(s3pve_upload_read_fd(w->upload, fd, NULL, NULL), 0, "%zu bytes", lengths[i]);
        is_int(finish(w), 0, "... are uploaded");
        is_int((long long)w->store.object, (long long)lengths[i], "... all of them");
        is_int(w->store.n_create, lengths[i] > PART, "... in parts only where it takes two");
        close(fd);
        world_free(w);
    }
}

static void a_pipe_is_read_to_its_end(void) {
    struct world *w = world_new();
    int fds[2], status;
    pid_t pid;
    bool same = true;

    if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        ok(false, "pipe and fork");
        return;
    }
    if (pid == 0) {
        close(fds[0]);
        for (size_t at = 0; at < 2 * PART + 5;) {
            size_t left = 2 * PART + 5 - at;
            ssize_t n = write(fds[1], w->bytes + at, left < 70000 ? left : 70000);

            if (n < 0)
                _exit(1);
            at += (size_t)n;
        }
        _exit(0);
    }
    close(fds[1]);
    is_int(s3pve_upload_read_fd(w->upload, fds[0], NULL, &w->err), 0, "a pipe is read");
    is_int(finish(w), 0, "... and uploaded");
    is_int((long long)w->store.object, 2 * (long long)PART + 5, "... to its end");
    for (unsigned i = 0; i < w->script.n_sent; i++) {
        const char *number = strstr(w->script.sent[i].url, "partNumber=");

        if (number)
            same = same && memcmp(
                               w->script.sent[i].body,
                               w->bytes + (size_t)(atoi(number + 11) - 1) * PART,
                               w->script.sent[i].body_len
                           ) == 0;
    }
    ok(same, "... byte by byte");
    waitpid(pid, &status, 0);
    close(fds[0]);
    world_free(w);
}

static void broken_input_is_never_published(void) {
    struct world *w = world_new();

    is_int(s3pve_upload_read_fd(w->upload, -1, NULL, &w->err), -1, "no such descriptor");
    is_int(w->err.errnum, EBADF, "... EBADF");
    is_int(finish(w), -1, "what was read before it is not taken for the whole");
    is_int(w->store.n_put, 0, "... nothing is published");
    world_free(w);
}

int main(void) {
    little_is_one_put();
    nothing_is_an_empty_object();
    one_full_part_is_still_one_put();
    another_byte_makes_it_multipart();
    the_bytes_arrive_in_order();
    parts_fly_together_in_bounded_memory();
    other_streams_leave_one_buffer();
    a_refused_part_is_final();
    a_part_without_an_etag_is_corrupt();
    abort_waits_for_parts_in_flight();
    an_upload_that_never_began_aborts_quietly();
    cancelling_ends_a_blocked_write();
    a_hanging_part_ends_by_its_deadline();
    a_part_nobody_moved_is_sent_again();
    sealing_is_not_the_end();
    a_sealed_upload_may_grow_by_parts();
    begin_makes_an_id_before_the_first_byte();
    completing_may_be_repeated_after_a_failure();
    a_complete_that_was_done_is_found_out_later();
    leaving_keeps_the_parts();
    too_much_for_the_parts_there_are_is_refused();
    a_file_is_read_to_its_end();
    a_pipe_is_read_to_its_end();
    broken_input_is_never_published();
    return done_testing();
}
