/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/threads.h"

#include <poll.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/thread.h"
#include "daemon/caps.h"
#include "daemon/fail.h"
#include "daemon/log.h"
#include "daemon/volume_care.h"
#include "daemon/watch.h"

#define HEARTBEAT_MS 5000
#define REFRESH_MS 10000       /* one heartbeat's requests; not longer, or `online` lags */
#define RECOVERY_MS 600000     /* to abort what an earlier daemon left */
#define PROBE_MS 60000         /* to find out what the server can do ... */
#define PROBE_WAIT_MS 1000     /* ... as soon as it is online ... */
#define PROBE_AGAIN_MS 3600000 /* ... and again when that failed */
#define CARE_MS 2000           /* between two looks at the volumes */
#define RECOVER_MS 60000       /* one go at those that an earlier daemon had ... */
#define RECOVER_AGAIN_MS 2000  /* ... and the time to the next */
#define TRASH_EVERY_MS 3600000 /* other nodes may have left some */
#define TRASH_AGAIN_MS 300000  /* what could not be deleted */

/* Sleeps, unless the daemon is to end; false then. */
static bool sleep_ms(struct daemon *daemon, unsigned ms) {
    int64_t until = clock_monotonic_ms() + ms;
    while (!daemon_is_stopping(daemon)) {
        int64_t left = until - clock_monotonic_ms();
        if (left <= 0)
            return true;
        poll(NULL, 0, left < 200 ? (int)left : 200);
    }
    return false;
}

/* Not before READY: with S3 down it would take its time. */
static void recover(struct daemon *daemon) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = {.timeout_ms = RECOVERY_MS, .cancel = &daemon->stop};
    if (s3pve_files_recover(daemon->files, &call, &err) < 0 && !daemon_is_stopping(daemon))
        log_say(S3PVE_LOG_WARNING, "recover", "%s", err.message);
}

static bool is_online(struct daemon *daemon) {
    struct s3pve_files_stats stats;
    s3pve_files_stats(daemon->files, &stats);
    return stats.online;
}

static int probe(struct daemon *daemon, struct s3pve_error *err) {
    struct s3pve_caps caps = {0};
    struct s3pve_call call = {.timeout_ms = PROBE_MS, .cancel = &daemon->stop};
    if (s3pve_probe(daemon->client, &caps, &call, err) < 0)
        return -1;
    s3pve_client_use_caps(daemon->client, &caps);
    LOCK_SCOPE(&daemon->lock);
    return caps_save(daemon->config, &caps, err);
}

static bool load_caps(struct daemon *daemon) {
    LOCK_SCOPE(&daemon->lock);
    return caps_load(daemon->client, daemon->config);
}

static void *chores(void *arg) {
    struct daemon *daemon = arg;
    bool known = load_caps(daemon);
    recover(daemon);
    while (!known && sleep_ms(daemon, PROBE_WAIT_MS)) {
        struct s3pve_error err = S3PVE_ERROR_INIT;
        if (!is_online(daemon))
            continue;
        known = probe(daemon, &err) == 0;
        if (known || daemon_is_stopping(daemon))
            break;
        log_say(S3PVE_LOG_WARNING, "probe", "%s", err.message);
        sleep_ms(daemon, PROBE_AGAIN_MS);
    }
    return NULL;
}

static void *heartbeat(void *arg) {
    struct daemon *daemon = arg;
    struct s3pve_call call = {.timeout_ms = REFRESH_MS, .cancel = &daemon->stop};
    do {
        s3pve_files_refresh(daemon->files, &call);
    } while (sleep_ms(daemon, HEARTBEAT_MS));
    return NULL;
}

/* Ends the daemon when the storage was not wanted here twice in a row, and is not in use. */
static void *watch(void *arg) {
    struct daemon *daemon = arg;
    enum watch_state before = WATCH_UNKNOWN;
    while (sleep_ms(daemon, daemon->options.watch_ms)) {
        enum watch_state now = watch_file(daemon->options.storage_cfg, daemon->storage);
        bool unwanted = now > WATCH_WANTED && now == before;
        before = now;
        if (!unwanted)
            continue;
        log_say(S3PVE_LOG_INFO, "watch", "leaving: %s", watch_reason(now));
        if (daemon_stop(daemon, false) < 0)
            log_say(S3PVE_LOG_WARNING, "watch", "staying for now: files or volumes are in use");
    }
    return NULL;
}

/* What an earlier daemon had open, and then what was deleted. */
static void *restore(void *arg) {
    struct daemon *daemon = arg;
    while (!daemon->recovered && sleep_ms(daemon, RECOVER_AGAIN_MS))
        daemon->recovered = volume_care_recover(daemon, RECOVER_MS);
    for (int64_t due_ms = 0; sleep_ms(daemon, CARE_MS);) {
        bool asked = __atomic_exchange_n(&daemon->trash, 0, __ATOMIC_ACQUIRE);
        if ((!asked && clock_monotonic_ms() < due_ms) || !is_online(daemon))
            continue;
        bool done = volume_care_empty_trash(daemon);
        due_ms = clock_monotonic_ms() + (done ? TRASH_EVERY_MS : TRASH_AGAIN_MS);
    }
    return NULL;
}

static void *care(void *arg) {
    struct daemon *daemon = arg;
    struct volume_care told = {0};
    while (sleep_ms(daemon, CARE_MS))
        volume_care_look(daemon, &told);
    volume_care_clear(&told);
    return NULL;
}

/* --- all of them */

static const struct {
    const char *name;
    void *(*body)(void *arg);
} threads[DAEMON_THREADS] = {
    {"chores", chores},
    {"heartbeat", heartbeat},
    {"watch", watch},
    {"restore", restore},
    {"care", care},
};

int threads_start(struct daemon *daemon, struct s3pve_error *err) {
    for (unsigned i = 0; i < DAEMON_THREADS; i++) {
        if (thread_start(&daemon->threads[i], threads[i].name, threads[i].body, daemon) < 0)
            return fail(err, S3PVE_E_NOMEM, "no more threads");
        daemon->n_threads++;
    }
    return 0;
}

void threads_join(struct daemon *daemon) {
    while (daemon->n_threads > 0)
        pthread_join(daemon->threads[--daemon->n_threads], NULL);
}
