/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * client.h - one bucket of one store, as the rest of the library sees it
 *
 * Locks: `lock` guards what stands below it and is never held across the network.  `renewing` is
 * held while new keys are fetched, and taken before any other.
 */
#ifndef CORE_CLIENT_H
#define CORE_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "core/config.h"
#include "core/creds.h"
#include "core/http.h"
#include "core/sigv4.h"
#include "s3pve.h"

struct engine;

struct s3pve_client {
    struct config config; /* nothing changes but where the keys are from, under `renewing` */
    s3pve_log_fn log;
    void *log_ctx;
    pid_t pid;                  /* of the process that opened it */
    struct transport transport; /* owned */
    struct engine *engine;      /* owned: queues, window, retry budget; see engine.c */
    atomic_ullong part_memory;  /* bytes of part buffers in use, see upload.c */
    atomic_bool list_v1;        /* the server has no ListObjectsV2 */

    pthread_mutex_t renewing;

    pthread_mutex_t lock; /* guards everything below */
    struct creds creds;
    unsigned creds_serial;  /* grows with each new ones */
    int64_t creds_after_ms; /* no further try to renew them before this, as clocks may jump */
    char region[64];        /* what we sign for; "" until known */
    int64_t skew_s;         /* server's clock minus ours */
    struct sigv4_key signing_key;
    struct s3pve_caps caps;
    bool bucket_seen; /* it exists, or did */
    bool no_batch_delete;
    struct s3pve_counters counters;
};

/* Open with a transport of the caller's: for tests.  Takes @transport over, also on failure. */
int client_open_with(
    const struct s3pve_config *config,
    s3pve_log_fn log,
    void *log_ctx,
    const struct transport *transport,
    struct s3pve_client **ret_client,
    struct s3pve_error *err
);

/* Prefix in front; @ret_key is malloc()ed.  And the other way: NULL when it is not below ours. */
int client_full_key(
    const struct s3pve_client *client, const char *key, char **ret_key, struct s3pve_error *err
);
const char *client_relative_key(const struct s3pve_client *client, const char *full_key);

/* Temporary keys that end soon are replaced, as well as can be.  May block like creds_load(). */
void client_renew_creds(struct s3pve_client *client);

/* The store calls those keys expired.  Return: true when there are others now.  May block, too. */
bool client_refresh_creds(struct s3pve_client *client, unsigned creds_serial);

/* One event to the log, unless nobody listens. */
void client_log(
    struct s3pve_client *client,
    enum s3pve_log_level level,
    const char *operation,
    const char *key,
    const char *fmt,
    ...
) _printf_(5, 6);

#endif
