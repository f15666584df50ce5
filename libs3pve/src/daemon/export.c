/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/export.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/export_request.h"
#include "daemon/fail.h"
#include "daemon/listen.h"
#include "daemon/log.h"
#include "nbd/nbd.h"

#define LOOK_MS 100 /* between two looks at whether to give up waiting */

struct export_server {
    struct s3pve_volumes *volumes; /* borrowed */
    struct nbd_server *nbd;        /* owned, like these */
    char *run_dir;

    pthread_mutex_t lock; /* guards what follows, and what is said so below */
    pthread_cond_t changed;
    struct export *first; /* owned; in no order */
    bool stopped;
};

struct export {
    struct export_server *server; /* borrowed */
    char name[S3PVE_VOLUME_NAME];

    /* Of who has taken it; changed with the server's lock held. */
    struct s3pve_volume *volume; /* held */
    struct nbd_export *nbd;      /* owned; NULL: it is not served */
    uint64_t size;               /* as clients know it */

    /* Guarded by the server's lock. */
    bool taken;
    unsigned n_waiting;
    struct export *next;
};

/* --- all of them */

static void log_nbd(void *ctx, const char *name, const char *text) {
    (void)ctx;
    log_say(S3PVE_LOG_INFO, "nbd", "%s%s%s", name ? name : "", name ? ": " : "", text);
}

static struct export_server *server_new(const char *run_dir, struct s3pve_volumes *volumes) {
    pthread_condattr_t attr;
    struct export_server *server = calloc(1, sizeof(*server));
    if (!server || !(server->run_dir = strdup(run_dir))) {
        free(server);
        return NULL;
    }
    server->volumes = volumes;
    pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&server->changed, &attr);
    pthread_condattr_destroy(&attr);
    return server;
}

static void server_free(struct export_server *server) {
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    free(server->run_dir);
    free(server);
}

int export_open(
    const char *run_dir,
    struct s3pve_volumes *volumes,
    struct export_server **ret_server,
    struct s3pve_error *err
) {
    struct nbd_options options = {.log = log_nbd};
    struct export_server *server = server_new(run_dir, volumes);
    if (!server)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    options.listen_fd = listen_open(run_dir, EXPORT_SOCKET, NBD_CONNECTIONS, err);
    if (options.listen_fd < 0) {
        server_free(server);
        return -1;
    }
    int r = nbd_open(&options, &server->nbd);
    if (r < 0) {
        server_free(server);
        errno = -r;
        return fail_errno(err, "%s/%s", run_dir, EXPORT_SOCKET);
    }
    *ret_server = server;
    return 0;
}

/* Nobody has taken any. */
void export_stop(struct export_server *server) {
    if (!server)
        return;
    {
        LOCK_SCOPE(&server->lock);
        server->stopped = true;
    }
    listen_unlink(server->run_dir, EXPORT_SOCKET);
    for (struct export *export = server->first; export; export = export->next) {
        if (export->nbd)
            nbd_export_stop(export->nbd);
    }
}

static void let_go(struct export *export) {
    struct nbd_export *nbd = export->nbd;
    {
        LOCK_SCOPE(&export->server->lock);
        export->nbd = NULL;
    }
    nbd_export_free(nbd);
    export->volume = s3pve_volume_release(export->volume);
}

static unsigned left_ms(int64_t until_ms) {
    int64_t left = until_ms - clock_monotonic_ms();
    return left > 0 ? (unsigned)left : 0;
}

void export_let_go(struct export_server *server, int64_t until_ms) {
    for (struct export *export = server->first; export; export = export->next) {
        if (export->nbd && nbd_export_settle(export->nbd, left_ms(until_ms)) == 0)
            let_go(export);
    }
}

struct export_server *export_close(struct export_server *server) {
    if (!server)
        return NULL;
    for (struct export *export; (export = server->first);) {
        let_go(export);
        server->first = export->next;
        free(export);
    }
    nbd_close(server->nbd);
    server_free(server);
    return NULL;
}

/* --- one at a time with each name */

/* @why: what was waited for in vain when the time is over. */
static bool is_over(const struct export_wait *wait, const char *why, struct s3pve_error *err) {
    bool cancelled = wait->cancel && __atomic_load_n(wait->cancel, __ATOMIC_ACQUIRE);
    if (cancelled)
        fail(err, S3PVE_E_CANCELLED, "the daemon is ending");
    else if (clock_monotonic_ms() >= wait->until_ms)
        fail(err, S3PVE_E_TIMEOUT, "%s", why);
    else
        return false;
    return true;
}

static struct export **find(struct export_server *server, const char *name) {
    struct export **p = &server->first;
    while (*p && strcmp((*p)->name, name) != 0)
        p = &(*p)->next;
    return p;
}

/* With the lock held. */
static struct export *find_or_make(struct export_server *server, const char *name) {
    struct export **p = find(server, name);
    if (*p || !(*p = calloc(1, sizeof(**p))))
        return *p;
    (*p)->server = server;
    snprintf((*p)->name, sizeof((*p)->name), "%s", name);
    return *p;
}

/* With the lock held: it goes when there is nothing to remember of it. */
static void forget(struct export *export) {
    if (export->nbd || export->taken || export->n_waiting)
        return;
    *find(export->server, export->name) = export->next;
    free(export);
}

static void wait_a_little(struct export_server *server) {
    int64_t until_ms = clock_monotonic_ms() + LOOK_MS;
    struct timespec until = {
        .tv_sec = until_ms / 1000, .tv_nsec = (long)(until_ms % 1000 * 1000000)};
    pthread_cond_timedwait(&server->changed, &server->lock, &until);
}

struct export *export_take(
    struct export_server *server,
    const char *name,
    const struct export_wait *wait,
    struct s3pve_error *err
) {
    LOCK_SCOPE(&server->lock);
    struct export *export = find_or_make(server, name);
    if (!export) {
        fail(err, S3PVE_E_NOMEM, "out of memory");
        return NULL;
    }
    export->n_waiting++;
    bool over = false;
    while (export->taken &&
           !(over = is_over(wait, "another command is at work on this volume", err)))
        wait_a_little(server);
    export->n_waiting--;
    if (over)
        return NULL;
    export->taken = true;
    return export;
}

struct export *export_try(struct export_server *server, const char *name) {
    LOCK_SCOPE(&server->lock);
    struct export *export = find_or_make(server, name);
    if (!export || export->taken)
        return NULL;
    export->taken = true;
    return export;
}

void export_give(struct export *export) {
    struct export_server *server = export->server;
    LOCK_SCOPE(&server->lock);
    export->taken = false;
    pthread_cond_broadcast(&server->changed);
    forget(export);
}

/* --- one of them */

static int add_to_server(struct export *export, struct s3pve_error *err) {
    struct export_server *server = export->server;
    struct nbd_export_params params = {
        .name = export->name,
        .size = s3pve_volume_size(export->volume),
        .submit = export_request_submit,
        .ctx = export->volume,
    };
    LOCK_SCOPE(&server->lock);
    if (server->stopped)
        return fail(err, S3PVE_E_CANCELLED, "the daemon is ending");
    int r = nbd_export_add(server->nbd, &params, &export->nbd);
    if (r == -ENOSPC)
        return fail(err, S3PVE_E_NO_SPACE, "%d volumes are served already", NBD_EXPORTS);
    if (r < 0)
        return fail(err, S3PVE_E_INVALID, "%s cannot be served: %s", export->name, strerror(-r));
    export->size = params.size;
    return 0;
}

int export_add(struct export *export, const struct s3pve_call *call, struct s3pve_error *err) {
    if (export->nbd)
        return 0;
    if (s3pve_volume_hold(export->server->volumes, export->name, call, &export->volume, err) < 0)
        return -1;
    int r = add_to_server(export, err);
    if (r < 0)
        export->volume = s3pve_volume_release(export->volume);
    return r;
}

/* A client that is just ending may be seen a moment longer. */
static int wait_for_clients(
    struct export *export, const struct export_wait *wait, struct s3pve_error *err
) {
    int64_t until_ms = clock_monotonic_ms() + EXPORT_CLIENTS_MS;
    until_ms = wait->until_ms < until_ms ? wait->until_ms : until_ms;
    unsigned n;
    while ((n = nbd_export_users(export->nbd)) > 0) {
        if (clock_monotonic_ms() >= until_ms)
            return fail(err, S3PVE_E_CONFLICT, "%s is in use, NBD clients: %u", export->name, n);
        if (is_over(wait, "", err))
            return -1;
        poll(NULL, 0, LOOK_MS);
    }
    return 0;
}

int export_remove(struct export *export, const struct export_wait *wait, struct s3pve_error *err) {
    if (!export->nbd)
        return 0;
    if (wait_for_clients(export, wait, err) < 0)
        return -1;
    nbd_export_stop(export->nbd);
    while (nbd_export_settle(export->nbd, LOOK_MS) < 0) {
        if (!is_over(wait, "requests for the volume still wait for the store", err))
            continue;
        nbd_export_resume(export->nbd);
        return -1;
    }
    let_go(export);
    return 0;
}

void export_fit(struct export *export) {
    uint64_t size = export->nbd ? s3pve_volume_size(export->volume) : export->size;
    if (size == export->size)
        return;
    nbd_export_resize(export->nbd, size);
    export->size = size;
}

struct export_count export_count(struct export_server *server, const char *name) {
    struct export_count count = {0};
    LOCK_SCOPE(&server->lock);
    for (struct export *export = server->first; export; export = export->next) {
        if (!export->nbd || (name && strcmp(export->name, name) != 0))
            continue;
        count.n_exports++;
        count.n_clients += nbd_export_users(export->nbd);
    }
    return count;
}
