/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Exports that are stopped: what of them is waited for, and how they come back. */
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "nbd/exports.h"
#include "tap.h"

static struct exports exports;
static struct nbd_export *disk;

static struct nbd_export *hold(void) {
    return exports_hold(&exports, "disk", 4);
}

static void test_users(void) {
    is_int(exports_users(disk), 0, "nobody uses an export");
    hold();
    exports_enter(disk);
    is_int(exports_users(disk), 1, "a connection does");
    exports_leave(disk);
    is_int(exports_users(disk), 0, "one that is gone does not");
    is_int(exports_holds(disk), 1, "though it has something in flight");
}

static void *let_go(void *arg) {
    usleep(50000);
    exports_release(disk);
    return arg;
}

static void test_settle(void) {
    int64_t began = clock_monotonic_ms();
    pthread_t thread;
    exports_ask(disk, 0, true);
    is_int(exports_settle(disk, 30), -ETIMEDOUT, "what is in flight is not waited for any longer");
    ok(clock_monotonic_ms() - began >= 30, "... than was asked for");
    if (thread_start(&thread, "let-go", let_go, NULL) < 0)
        bail_out("no thread");
    is_int(exports_settle(disk, 10000), 0, "when it is done, that is noticed");
    ok(clock_monotonic_ms() - began < 5000, "... at once");
    pthread_join(thread, NULL);
}

static void test_resume(void) {
    ok(!hold(), "a stopped one cannot be had");
    exports_resume(disk);
    ok(hold(), "until it is resumed");
    exports_release(disk);
    is_int(exports_settle(disk, 0), 0, "with nothing in flight it is settled");
}

int main(void) {
    exports_init(&exports);
    if (exports_add(&exports, &(struct nbd_export_params){.name = "disk", .size = 4096}, &disk) < 0)
        bail_out("no export");
    test_users();
    test_settle();
    test_resume();
    exports_remove(disk);
    exports_clear(&exports);
    return done_testing();
}
