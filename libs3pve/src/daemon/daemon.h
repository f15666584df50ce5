/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * daemon.h - one storage on one node: its lock, its client, its files and volumes, and who gets
 * them
 *
 *     daemon_open() --> serving --daemon_stop()--> told to end --daemon_close()--> gone
 *
 * Threads: the main one (signals, systemd), the mount's, the NBD server's, one per control
 * connection, the volumes', and those of threads.h.
 */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include <pthread.h>

#include "daemon/config.h"
#include "daemon/session.h"
#include "s3pve-volume.h"

#define DAEMON_THREADS 5

struct daemon_options {
    const char *name;    /* the storage's in paths */
    const char *run_dir; /* lock, socket, configuration */
    const char *config_path;
    const char *storage_cfg; /* where to look whether the storage is still wanted */
    unsigned watch_ms;       /* how often */
    bool debug;
};

struct daemon {
    struct daemon_options options; /* borrowed strings */
    int64_t started_ms;            /* monotonic */
    char *storage;                 /* owned; its id */
    int lock_fd;
    int wake_fd;                 /* an eventfd: .stop is set, or the mount is gone */
    int stop;                    /* atomic; also what cancels calls in the background */
    struct s3pve_client *client; /* owned, like all below */
    struct s3pve_files *files;
    struct s3pve_volumes *volumes;
    struct session *session;
    struct export_server *exports;
    struct control *control;
    uint64_t volumes_cache; /* bytes: the volumes' part of the cache */
    bool recovered;         /* all volumes of an earlier daemon are open again */
    bool leaving;           /* for good: volumes are handed back */
    int trash;              /* atomic: a volume was deleted */
    unsigned n_waiting;     /* atomic: commands that wait for the store */
    pthread_t threads[DAEMON_THREADS];
    unsigned n_threads; /* of these */

    pthread_mutex_t lock; /* guards the configuration; reload replaces it */
    struct config *config;
};

/** daemon_open() - everything up to the mount; S3 may be down.  Return: 0, or -1; CONFLICT when
 *  another process has the storage, INVALID when the configuration is wrong */
int daemon_open(
    const struct daemon_options *options, struct daemon **ret_daemon, struct s3pve_error *err
);

/** daemon_stop() - ask the main thread to end; without @force only when the mount could be left.
 *  Return: 0, or -EBUSY */
int daemon_stop(struct daemon *daemon, bool force);
bool daemon_is_stopping(struct daemon *daemon);

/** daemon_reload() - read the configuration again.  Return: 1: some of it needs a restart, 0: all
 *  is in force, -1: nothing changed, see @err */
int daemon_reload(struct daemon *daemon, struct s3pve_error *err);

/** daemon_close() - unmount, abort what is open, end the threads.  Returns NULL. */
struct daemon *daemon_close(struct daemon *daemon);
DEFINE_CLEANUP(struct daemon *, daemon_close)

#endif
