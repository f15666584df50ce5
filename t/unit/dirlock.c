/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "cfs.h"
#include "tap.h"
#include "volume/dirlock.h"

static char dir[128];

static struct dirlock lock_named(const char *name, unsigned life_ms) {
    struct dirlock lock = {.life_ms = life_ms};

    snprintf(lock.path, sizeof(lock.path), "%s/%s", dir, name);
    return lock;
}

static int take(struct dirlock *lock, unsigned wait_ms, struct s3pve_error *err) {
    return dirlock_take(lock, clock_monotonic_ms() + wait_ms, NULL, err);
}

static bool is_there(const struct dirlock *lock) {
    return access(lock->path, F_OK) == 0;
}

static void one_has_it(void) {
    struct dirlock ours = lock_named("one", 60000), theirs = lock_named("one", 60000);
    struct dirlock other = lock_named("other", 60000);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(take(&ours, 0, &err), 0, "a lock is taken %s", err.message);
    is_int(take(&theirs, 150, &err), -1, "... and not by another");
    is_int(err.code, S3PVE_E_TIMEOUT, "... who waits as long as he wants to");
    ok(strstr(err.message, ours.path), "... and hears which: %s", err.message);
    is_int(take(&other, 0, &err), 0, "another lock is another");
    is_int(dirlock_renew(&ours, &err), 0, "it is renewed, although somebody asked for it");
    dirlock_drop(&ours);
    is_int(take(&theirs, 0, &err), 0, "dropped, it is free");
    dirlock_drop(&theirs);
    dirlock_drop(&other);
    ok(!is_there(&ours) && !is_there(&other), "nothing is left");
}

static void too_late(void) {
    struct dirlock lock = lock_named("late", 60000);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    take(&lock, 0, NULL);
    lock.since_ms -= 44000;
    is_int(dirlock_renew(&lock, &err), 0, "after most of its life it can be renewed");
    ok(clock_boottime_ms() - lock.since_ms < 10000, "... and begins anew");
    lock.since_ms -= 46000;
    is_int(dirlock_renew(&lock, &err), -1, "near its end it cannot");
    is_int(err.code, S3PVE_E_IO, "... which is a failure: %s", err.message);
    dirlock_drop(&lock);
    ok(is_there(&lock), "... and is left alone, as it may be another's by then");
    rmdir(lock.path);
    lock.since_ms = clock_boottime_ms();
    err = S3PVE_ERROR_INIT;
    is_int(dirlock_renew(&lock, &err), -1, "one that is gone cannot be renewed");
    is_int(err.code, S3PVE_E_IO, "... which is a failure: %s", err.message);
}

static void no_folder(void) {
    struct dirlock lock = lock_named("none/lock", 60000);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int64_t began_ms = clock_monotonic_ms();

    is_int(take(&lock, 10000, &err), -1, "without its folder there is no lock");
    ok(clock_monotonic_ms() - began_ms < 5000, "... which is said at once");
    is_int(err.code, S3PVE_E_IO, "... as a failure that may pass");
    ok(strstr(err.message, lock.path) && !strchr(err.message, '\n'), "... %s", err.message);
}

/* Of a file system that takes no writes: nobody's, as root may write anywhere. */
static void no_quorum(void) {
    struct dirlock lock = lock_named("refused", 60000);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int status = 1;
    pid_t pid = fork();

    if (pid == 0) {
        if (seteuid(65534) < 0)
            _exit(2);
        if (take(&lock, 10000, &err) == 0 || err.code != S3PVE_E_IO)
            _exit(1);
        _exit(strstr(err.message, lock.path) && strstr(err.message, "quorum") ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    if (WEXITSTATUS(status) == 2)
        printf("# not root: skipped\n");
    else
        ok(status == 0, "where it may not be made, the message names it, and quorum");
}

static void ends_waiting(void) {
    struct dirlock ours = lock_named("ends", 60000), theirs = lock_named("ends", 60000);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int cancel = 1;

    take(&ours, 0, NULL);
    is_int(
        dirlock_take(&theirs, clock_monotonic_ms() + 60000, &cancel, &err), -1, "who is cancelled"
    );
    is_int(err.code, S3PVE_E_CANCELLED, "... does not wait");
    dirlock_drop(&ours);
}

static void of_the_dead(void) {
    struct dirlock dead = lock_named("dead", 60000), ours = lock_named("dead", 60000);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int64_t began_ms = clock_monotonic_ms();
    pid_t cfs = cfs_start(dir, 1000);

    take(&dead, 0, NULL);
    is_int(take(&ours, 20000, &err), 0, "a dead node's lock is taken over %s", err.message);
    ok(clock_monotonic_ms() - began_ms >= 1000, "... after its life");
    dirlock_drop(&ours);
    cfs_stop(cfs);
}

int main(void) {
    snprintf(dir, sizeof(dir), "%s/dirlock.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    one_has_it();
    too_late();
    no_folder();
    no_quorum();
    ends_waiting();
    of_the_dead();
    is_int(rmdir(dir), 0, "cleaned up");
    return done_testing();
}
