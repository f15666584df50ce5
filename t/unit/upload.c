/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "one_upload.h"
#include "tap.h"

static void little_is_one_put(void) {
    struct world *w = world_new();
    struct s3pve_info info;

    world_put(w, 0, 10);
    world_put(w, 10, 90);
    is_int(w->script.n_sent, 0, "nothing is sent while it is written");
    is_int(s3pve_upload_seal(w->upload, NULL, NULL), 0, "nor when it is sealed");
    is_int(w->script.n_sent, 0, "... it stays in memory");
    ok(w->client->part_memory <= 4096, "... in no more than it needs");
    is_int(s3pve_upload_complete(w->upload, &info, NULL, NULL), 0, "complete");
    is_int(w->store.n_put, 1, "... is one PUT");
    ok(memcmp(w->script.sent[0].body, w->bytes, 100) == 0, "... of these bytes");
    is_int((long long)info.size, 100, "... so many");
    is_int(world_finish(w), 0, "completing again is fine");
    is_int(w->script.n_sent, 1, "... and does nothing");
    is_int(world_put(w, 0, 1), -1, "but there is no more writing");
    world_free(w);
}

static void nothing_is_an_empty_object(void) {
    struct world *w = world_new();

    is_int(world_finish(w), 0, "an upload without a byte");
    is_int(w->store.n_put, 1, "... is one PUT");
    is_int((long long)w->store.object, 0, "... of nothing");
    world_free(w);
}

static void one_full_part_is_still_one_put(void) {
    struct world *w = world_new();

    world_put(w, 0, PART);
    is_int(w->script.n_sent, 0, "a full part waits: there may be no second");
    world_finish(w);
    is_int(w->store.n_put, 1, "one PUT");
    is_int(w->store.n_create, 0, "... and no multipart upload");
    world_free(w);
}

static void another_byte_makes_it_multipart(void) {
    struct world *w = world_new();
    struct s3pve_info info = {0};

    world_put(w, 0, PART + 1);
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

static void sealing_is_not_the_end(void) {
    struct world *w = world_new();

    world_put(w, 0, PART + 10);
    s3pve_upload_seal(w->upload, NULL, NULL);
    is_int(w->store.n_part, 2, "sealed with a short last part");
    s3pve_upload_seal(w->upload, NULL, NULL);
    is_int(w->store.n_part, 2, "sealing again costs nothing");
    is_int(world_put(w, PART + 10, 20), 0, "more comes after all");
    is_int(world_finish(w), 0, "and it is completed");
    is_int((long long)w->store.part[2], 30, "the last part is sent again, longer");
    ok(memcmp(w->script.sent[w->script.n_sent - 2].body, w->bytes + PART, 30) == 0,
       "... and whole");
    is_int((long long)w->store.object, (long long)PART + 30, "the object has everything");
    is_int((long long)s3pve_upload_stored(w->upload), (long long)PART + 30, "... counted once");
    world_free(w);
}

static void a_sealed_upload_may_grow_by_parts(void) {
    struct world *w = world_new();

    world_put(w, 0, 100);
    s3pve_upload_seal(w->upload, NULL, NULL);
    world_put(w, 100, PART);
    s3pve_upload_seal(w->upload, NULL, NULL);
    world_put(w, PART + 100, PART);
    is_int(world_finish(w), 0, "100 bytes, a part more, another part more");
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
    world_put(w, 0, 10);
    is_int(world_finish(w), 0, "ten bytes");
    is_int(w->store.n_put, 0, "... are no PUT any more");
    is_int((long long)w->store.part[1], 10, "... but one short part");
    world_free(w);

    w = world_new();
    s3pve_upload_begin(w->upload, NULL, NULL);
    is_int(world_finish(w), 0, "and nothing at all");
    is_int(w->store.n_part, 1, "... is one empty part, for there must be one");
    is_int((long long)w->store.object, 0, "... of an empty object");
    world_free(w);
}

static void completing_may_be_repeated_after_a_failure(void) {
    struct world *w = world_new();

    world_put(w, 0, PART + 1);
    w->store.complete =
        (struct answer){.status = 403, .body = "<Error><Code>AccessDenied</Code></Error>"};
    is_int(world_finish(w), -1, "completing is refused");
    is_int(w->err.code, S3PVE_E_DENIED, "... DENIED");
    w->store.complete = (struct answer){0};
    is_int(world_finish(w), 0, "the next time it works");
    is_int(w->store.n_part, 2, "... without sending a part again");
    world_free(w);
}

static void a_complete_that_was_done_is_found_out_later(void) {
    struct world *w = world_new();

    world_put(w, 0, PART + 1);
    w->store.complete =
        (struct answer){.status = 404, .body = "<Error><Code>NoSuchUpload</Code></Error>"};
    w->store.published_anyway = true;
    is_int(world_finish(w), 0, "NoSuchUpload, but the object is there with our marker");
    world_free(w);
}

static void abort_waits_for_parts_in_flight(void) {
    struct world *w = world_new();

    w->store.take_ms = 60000;
    world_put(w, 0, 2 * PART + 1);
    s3pve_upload_abort(w->upload, NULL);
    is_int(w->script.n_active, 0, "what was in flight is let go first");
    is_int(w->store.n_abort, 2, "then the upload is aborted, twice: a part may have come late");
    is_int(world_put(w, 0, 1), -1, "and there is no more writing");
    is_int(w->err.code, S3PVE_E_CANCELLED, "... CANCELLED");
    world_free(w);
}

static void an_upload_that_never_began_aborts_quietly(void) {
    struct world *w = world_new();

    world_put(w, 0, 100);
    s3pve_upload_abort(w->upload, NULL);
    is_int(w->script.n_sent, 0, "nothing was there to abort");
    world_free(w);
}

static void leaving_keeps_the_parts(void) {
    struct world *w = world_new();

    world_put(w, 0, 2 * PART);
    s3pve_upload_leave(w->upload);
    w->upload = NULL;
    is_int(w->store.n_abort, 0, "who leaves does not abort");
    world_free(w);
}

static void a_file_is_read_to_its_end(void) {
    static const size_t lengths[] = {0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct world *w = world_new();
        int fd = memfd_create("input", MFD_CLOEXEC);

        if (write(fd, w->bytes, lengths[i]) != (ssize_t)lengths[i] || lseek(fd, 0, SEEK_SET) != 0)
            ok(false, "a file of %zu bytes", lengths[i]);
        is_int(s3pve_upload_read_fd(w->upload, fd, NULL, NULL), 0, "%zu bytes", lengths[i]);
        is_int(world_finish(w), 0, "... are uploaded");
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
    is_int(world_finish(w), 0, "... and uploaded");
    is_int((long long)w->store.object, 2 * (long long)PART + 5, "... to its end");
    ok(world_sent_right(w), "... byte by byte");
    waitpid(pid, &status, 0);
    close(fds[0]);
    world_free(w);
}

static void broken_input_is_never_published(void) {
    struct world *w = world_new();

    is_int(s3pve_upload_read_fd(w->upload, -1, NULL, &w->err), -1, "no such descriptor");
    is_int(w->err.errnum, EBADF, "... EBADF");
    is_int(world_finish(w), -1, "what was read before it is not taken for the whole");
    is_int(w->store.n_put, 0, "... nothing is published");
    world_free(w);
}

int main(void) {
    little_is_one_put();
    nothing_is_an_empty_object();
    one_full_part_is_still_one_put();
    another_byte_makes_it_multipart();
    sealing_is_not_the_end();
    a_sealed_upload_may_grow_by_parts();
    begin_makes_an_id_before_the_first_byte();
    completing_may_be_repeated_after_a_failure();
    a_complete_that_was_done_is_found_out_later();
    abort_waits_for_parts_in_flight();
    an_upload_that_never_began_aborts_quietly();
    leaving_keeps_the_parts();
    a_file_is_read_to_its_end();
    a_pipe_is_read_to_its_end();
    broken_input_is_never_published();
    return done_testing();
}
