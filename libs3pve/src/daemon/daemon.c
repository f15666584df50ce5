/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/control.h"
#include "daemon/export.h"
#include "daemon/fail.h"
#include "daemon/log.h"
#include "daemon/mountpoint.h"
#include "daemon/threads.h"
#include "daemon/volume_care.h"

#define RECOVER_FIRST_MS 10000 /* for volumes an earlier daemon had, before anybody is served */
#define HAND_BACK_MS 15000     /* for all volumes, when the daemon leaves for good */

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
        .cache_size = config->cache_size - config_volumes_cache(config),
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
        .client = daemon->client,
        .files = daemon->files,
        .volumes = daemon->volumes,
        .ended_fd = daemon->wake_fd,
        .debug = daemon->options.debug,
    };
    return session_open(&options, &daemon->session, err);
}

/* Guests of an earlier daemon are waiting: what can be opened soon is there when they are let in.
 * The rest follows, and they ask again. */
static int open_exports(struct daemon *daemon, struct s3pve_error *err) {
    daemon->recovered = volume_care_recover(daemon, RECOVER_FIRST_MS);
    if (export_open(daemon->options.run_dir, daemon->volumes, &daemon->exports, err) < 0)
        return -1;
    volume_care_serve_all(daemon);
    return 0;
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
        volume_care_open(daemon, err) < 0 || open_mount(daemon, err) < 0 ||
        open_exports(daemon, err) < 0 || control_open(daemon, &daemon->control, err) < 0 ||
        threads_start(daemon, err) < 0)
        return -1;
    *ret_daemon = steal_ptr(&daemon);
    return 0;
}

/* --- changing */

static bool same_text(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* A cache is made at the start or not at all; its size may change, but not the volumes' part. */
static bool needs_restart(const struct daemon *daemon, const struct config *config) {
    const struct config *now = daemon->config;
    return !same_text(config->storage, now->storage) ||
           !same_text(config->mountpoint, now->mountpoint) ||
           !same_text(config->state_dir, now->state_dir) ||
           !same_text(config->cache_dir, now->cache_dir) || !same_text(config->node, now->node) ||
           config->journal_size != now->journal_size ||
           (config->cache_size > 0 && now->cache_size == 0) ||
           config->cache_size < daemon->volumes_cache;
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
    uint64_t volumes = daemon->volumes_cache;
    uint64_t files = config->cache_size > volumes ? config->cache_size - volumes : 0;
    s3pve_files_set_limits(daemon->files, files, config->quota);
    s3pve_volumes_set_bucket(daemon->volumes, config->bucket);

    bool restart = r > 0 || needs_restart(daemon, config);
    if (!restart) {
        config_free(daemon->config);
        daemon->config = steal_ptr(&config);
    }
    log_say(S3PVE_LOG_INFO, "config", "%s", restart ? "read; some of it needs a restart" : "read");
    return restart;
}

int daemon_stop(struct daemon *daemon, bool force) {
    if (!force) {
        int r = volume_care_sum(daemon).n_used > 0 ? -EBUSY : session_leave(daemon->session, false);
        if (r < 0)
            return r;
        daemon->leaving = true; /* who waits for the end reads .stop first */
    }
    __atomic_store_n(&daemon->stop, 1, __ATOMIC_RELEASE);
    eventfd_write(daemon->wake_fd, 1);
    return 0;
}

bool daemon_is_stopping(struct daemon *daemon) {
    return __atomic_load_n(&daemon->stop, __ATOMIC_ACQUIRE) != 0;
}

/* --- closing */

/* Clients have been hung up on, so what fails from here on is no guest's error. */
static void close_volumes(struct daemon *daemon) {
    if (!daemon->volumes)
        return;
    s3pve_volumes_stop(daemon->volumes);
    export_close(daemon->exports);
    s3pve_volumes_close(daemon->volumes);
}

struct daemon *daemon_close(struct daemon *daemon) {
    if (!daemon)
        return NULL;
    __atomic_store_n(&daemon->stop, 1, __ATOMIC_RELEASE);
    control_close(daemon->control);
    threads_join(daemon);
    export_stop(daemon->exports);
    if (daemon->leaving)
        volume_care_hand_back(daemon, clock_monotonic_ms() + HAND_BACK_MS);
    session_close(daemon->session);
    close_volumes(daemon);
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
