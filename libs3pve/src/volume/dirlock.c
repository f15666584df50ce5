/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/error.h"
#include "volume/dirlock.h"

#define LOOK_MIN_MS 100 /* at a lock that is another's; each look is a message to all nodes */
#define LOOK_MAX_MS 1000

/* Clocks of nodes do not run alike, and what we do next takes time, too. */
static bool is_surely_ours(const struct dirlock *lock) {
    return clock_boottime_ms() - lock->since_ms < lock->life_ms / 4 * 3;
}

static int fail_errno(const struct dirlock *lock, struct s3pve_error *err) {
    bool refused = errno == EACCES || errno == EPERM || errno == EROFS;

    return error_set(
        err,
        S3PVE_E_IO,
        "no lock '%s': %s%s",
        lock->path,
        strerror(errno),
        refused ? "; has the cluster lost its quorum?" : ""
    );
}

static bool is_cancelled(const int *cancel) {
    return cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED);
}

static void nap(unsigned ms, const int *cancel) {
    for (; ms && !is_cancelled(cancel); ms -= ms < 50 ? ms : 50)
        nanosleep(&(struct timespec){.tv_nsec = (ms < 50 ? ms : 50) * 1000000L}, NULL);
}

static int wait_more(
    const struct dirlock *lock,
    unsigned n,
    int64_t until_ms,
    const int *cancel,
    struct s3pve_error *err
) {
    static const struct timespec request[2];
    unsigned ms = LOOK_MIN_MS << (n < 4 ? n : 4);

    if (is_cancelled(cancel))
        return error_set(err, S3PVE_E_CANCELLED, "cancelled");
    if (clock_monotonic_ms() >= until_ms)
        return error_set(
            err,
            S3PVE_E_TIMEOUT,
            "no lock '%s': somebody has it; if he died, it is free %u s later",
            lock->path,
            lock->life_ms / 1000
        );
    (void)utimensat(AT_FDCWD, lock->path, request, 0); /* fails while its owner lives */
    nap(ms < LOOK_MAX_MS ? ms : LOOK_MAX_MS, cancel);
    return 0;
}

int dirlock_take(
    struct dirlock *lock, int64_t until_ms, const int *cancel, struct s3pve_error *err
) {
    for (unsigned n = 0;; n++) {
        lock->since_ms = clock_boottime_ms();
        if (mkdir(lock->path, 0700) == 0)
            return 0;
        if (errno != EEXIST)
            return fail_errno(lock, err);
        if (wait_more(lock, n, until_ms, cancel, err) < 0)
            return -1;
    }
}

int dirlock_renew(struct dirlock *lock, struct s3pve_error *err) {
    int64_t now_ms = clock_boottime_ms();
    const struct timespec now[2] = {{.tv_sec = clock_wall_s()}, {.tv_sec = clock_wall_s()}};

    /* Another process of this node could renew it as well. */
    if (!is_surely_ours(lock))
        return error_set(err, S3PVE_E_IO, "lock '%s' was not used in time", lock->path);
    if (utimensat(AT_FDCWD, lock->path, now, 0) < 0)
        return fail_errno(lock, err);
    lock->since_ms = now_ms;
    return 0;
}

void dirlock_drop(const struct dirlock *lock) {
    if (is_surely_ours(lock))
        (void)rmdir(lock->path);
}
