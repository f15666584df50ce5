/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "one_upload.h"
#include "tap.h"

static void a_refused_part_is_final(void) {
    struct world *w = world_new();

    w->store.fail_part = 1;
    w->store.fail_times = 1;
    w->store.failure =
        (struct answer){.status = 403, .body = "<Error><Code>AccessDenied</Code></Error>"};
    world_put(w, 0, 2 * PART);
    is_int(s3pve_upload_seal(w->upload, NULL, &w->err), -1, "a part is refused");
    is_int(w->err.code, S3PVE_E_DENIED, "... DENIED");
    ok(strstr(w->err.message, "part 1") != NULL, "... and named");
    is_int(world_put(w, 0, 1), -1, "writing fails from now on");
    is_int(w->err.code, S3PVE_E_DENIED, "... for the same reason");
    is_int(world_finish(w), -1, "so does completing");
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
    world_put(w, 0, 2 * PART);
    s3pve_upload_seal(w->upload, NULL, &w->err);
    is_int(w->err.code, S3PVE_E_CORRUPT, "a part stored without an ETag is not believed");
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

static void a_hanging_part_ends_at_the_timeout(void) {
    struct world *w = world_new();

    w->store.fail_part = 1;
    w->store.fail_times = 99;
    w->store.failure = (struct answer){.hang = true};
    world_put(w, 0, 2 * PART);
    s3pve_upload_seal(w->upload, NULL, &w->err);
    is_int(w->err.code, S3PVE_E_TIMEOUT, "a store that hangs is a timeout");
    is_int(w->script.now_ms, 10000, "... whatever the time that its bytes could have taken");
    world_free(w);
}

static void a_part_nobody_moved_is_sent_again(void) {
    struct world *w = world_new();

    w->store.fail_part = 1;
    w->store.fail_times = 1;
    w->store.failure = (struct answer){.hang = true};
    world_put(w, 0, PART + 1);
    for (size_t i = 0; i < 3; i++) {
        w->script.now_ms += 600000; /* the writer has nothing for ten minutes */
        is_int(world_put(w, PART + 1 + i * MIB(1), MIB(1)), 0, "a slow writer goes on");
    }
    is_int(world_finish(w), 0, "a transfer that stood still meanwhile is begun anew");
    is_int((long long)w->store.object, (long long)(PART + 1 + MIB(3)), "... and the object whole");
    world_free(w);
}

int main(void) {
    a_refused_part_is_final();
    a_part_without_an_etag_is_corrupt();
    cancelling_ends_a_blocked_write();
    a_hanging_part_ends_at_the_timeout();
    a_part_nobody_moved_is_sent_again();
    return done_testing();
}
