/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/caps.h"
#include "daemon/control.h"
#include "daemon/fail.h"
#include "daemon/log.h"
#include "daemon/mountpoint.h"
#include "daemon/watch.h"

#define HEARTBEAT_MS 5000
#define REFRESH_MS 10000       /* one heartbeat's requests; not longer, or `online` lags */
#define RECOVERY_MS 600000     /* to abort what an earlier daemon left */
#define PROBE_MS 60000         /* to find out what the server can do ... */
#define PROBE_WAIT_MS 1000     /* ... as soon as it is online ... */
#define PROBE_AGAIN_MS 3600000 /* ... and again when that failed */

/* --- looking after things */

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
            log_say(S3PVE_LOG_WARNING, "watch", "staying for now: files are open");
    }
    return NULL;
}

static int start_threads(struct daemon *daemon, struct s3pve_error *err) {
    pthread_t *threads[] = {&daemon->chores, &daemon->heartbeat, &daemon->watch};
    void *(*bodies[])(void *) = {chores, heartbeat, watch};
    for (; daemon->n_threads < 3; daemon->n_threads++) {
        unsigned i = daemon->n_threads;
        if (pthread_create(threads[i], NULL, bodies[i], daemon) != 0)
            return fail(err, S3PVE_E_NOMEM, "no more threads");
    }
    return 0;
}

static void join_threads(struct daemon *daemon) {
    pthread_t *threads[] = {&daemon->chores, &daemon->heartbeat, &daemon->watch};
    while (daemon->n_threads > 0)
        pthread_join(*threads[--daemon->n_threads], NULL);
}

/* --- opening */

/* One daemon a storage: two would not know of each other's changes. */
static int lock_storage(struct daemon *daemon, struct s3pve_error *err) {
    char path[PATH_MAX];
    if (mkdir_all(daemon->options.run_dir, 0700) < 0)
        return fail_errno(err, "%s", daemon->options.run_dir);
    snprintf(path, sizeof(path), "%s/lock", daemon->options.run_dir);
    daemon->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (daemon->lock_fd < 0)
        return fail_errno(err, "%s", path);
    if (flock(daemon->lock_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
        char pid[16] = "";
        ssize_t n = pread(daemon->lock_fd, pid, sizeof(pid) - 1, 0);
        pid[n > 0 ? n : 0] = '\0';
        pid[strcspn(pid, "\n")] = '\0';
        return fail(err, S3PVE_E_CONFLICT, "process %s serves this storage already", pid);
    }
    if (ftruncate(daemon->lock_fd, 0) < 0 || dprintf(daemon->lock_fd, "%d\n", (int)getpid()) < 0)
        return fail_errno(err, "%s", path);
    return 0;
}

static int open_files(struct daemon *daemon, struct s3pve_error *err) {
    const struct config *config = daemon->config;
    if (mkdir_all(config->state_dir, 0700) < 0)
        return fail_errno(
            err,
            "state-dir %s cannot be made; name another in %s",
            config->state_dir,
            daemon->options.config_path
        );
    /* The cache is a help, not a need. */
    const char *cache_dir = config->cache_dir;
    if (cache_dir && mkdir_all(cache_dir, 0700) < 0) {
        log_say(S3PVE_LOG_WARNING, "cache", "%s: %s; going without", cache_dir, strerror(errno));
        cache_dir = NULL;
    }

    struct s3pve_files_options options = {
        .state_dir = config->state_dir,
        .cache_dir = cache_dir,
        .cache_size = config->cache_size,
        .quota = config->quota,
        .virtual_size = VIRTUAL_SIZE,
    };
    if (s3pve_client_open(config->client, log_record, NULL, &daemon->client, err) < 0 ||
        s3pve_client_start_thread(daemon->client, err) < 0)
        return -1;
    return s3pve_files_open(daemon->client, &options, &daemon->files, err);
}

static int open_mount(struct daemon *daemon, struct s3pve_error *err) {
    char source[160];
    _free_ char *mountpoint = NULL;
    session_source(daemon->options.name, source);
    if (mountpoint_prepare(daemon->config->mountpoint, source, &mountpoint, err) < 0)
        return -1;
    struct session_options options = {
        .name = daemon->options.name,
        .mountpoint = mountpoint,
        .files = daemon->files,
        .volumes = daemon->volumes,
        .ended_fd = daemon->wake_fd,
        .debug = daemon->options.debug,
    };
    return session_open(&options, &daemon->session, err);
}

int daemon_open(
    const struct daemon_options *options, struct daemon **ret_daemon, struct s3pve_error *err
) {
    _cleanup_(daemon_closep) struct daemon *daemon = calloc(1, sizeof(*daemon));
    if (!daemon)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    daemon->options = *options;
    daemon->started_ms = clock_monotonic_ms();
    daemon->lock_fd = -1;
    daemon->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&daemon->lock, NULL);

    if (daemon->wake_fd < 0)
        return fail_errno(err, "eventfd");
    if (config_load(options->config_path, options->name, &daemon->config, err) < 0)
        return -1;
    daemon->storage = strdup(daemon->config->storage);
    if (!daemon->storage)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    if (lock_storage(daemon, err) < 0 || open_files(daemon, err) < 0 ||
        open_mount(daemon, err) < 0 || control_open(daemon, &daemon->control, err) < 0 ||
        start_threads(daemon, err) < 0)
        return -1;
    *ret_daemon = steal_ptr(&daemon);
    return 0;
}

/* --- changing */

static bool same_text(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* A cache is made at the start or not at all; its size may change. */
static bool needs_restart(const struct config *now, const struct config *config) {
    return !same_text(config->storage, now->storage) ||
           !same_text(config->mountpoint, now->mountpoint) ||
           !same_text(config->state_dir, now->state_dir) ||
           !same_text(config->cache_dir, now->cache_dir) ||
           (config->cache_size > 0 && now->cache_size == 0);
}

int daemon_reload(struct daemon *daemon, struct s3pve_error *err) {
    const struct daemon_options *options = &daemon->options;
    _cleanup_(config_freep) struct config *config = NULL;
    LOCK_SCOPE(&daemon->lock);
    if (config_load(options->config_path, options->name, &config, err) < 0)
        return -1;
    int r = s3pve_client_reconfigure(daemon->client, config->client, err);
    if (r < 0)
        return r;
    s3pve_files_set_limits(daemon->files, config->cache_size, config->quota);

    bool restart = r > 0 || needs_restart(daemon->config, config);
    if (!restart) {
        config_free(daemon->config);
        daemon->config = steal_ptr(&config);
    }
    log_say(S3PVE_LOG_INFO, "config", "%s", restart ? "read; some of it needs a restart" : "read");
    return restart;
}

int daemon_stop(struct daemon *daemon, bool force) {
    if (!force) {
        int r = session_leave(daemon->session, false);
        if (r < 0)
            return r;
    }
    __atomic_store_n(&daemon->stop, 1, __ATOMIC_RELEASE);
    eventfd_write(daemon->wake_fd, 1);
    return 0;
}

bool daemon_is_stopping(struct daemon *daemon) {
    return __atomic_load_n(&daemon->stop, __ATOMIC_ACQUIRE) != 0;
}

/* --- closing */

struct daemon *daemon_close(struct daemon *daemon) {
    if (!daemon)
        return NULL;
    __atomic_store_n(&daemon->stop, 1, __ATOMIC_RELEASE);
    control_close(daemon->control);
    join_threads(daemon);
    session_close(daemon->session);
    s3pve_files_close(daemon->files);
    s3pve_client_close(daemon->client);
    config_free(daemon->config);
    free(daemon->storage);
    if (daemon->wake_fd >= 0)
        close(daemon->wake_fd);
    if (daemon->lock_fd >= 0)
        close(daemon->lock_fd);
    pthread_mutex_destroy(&daemon->lock);
    free(daemon);
    return NULL;
}
