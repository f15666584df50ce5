/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* recover.c - what an earlier process left open is opened again */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "images/table.h"

struct recovery {
    struct s3pve_volumes *all;
    const struct s3pve_call *call;

    pthread_mutex_t lock; /* guards everything below */
    int n_active;
    struct s3pve_error failure; /* of an active one */
};

static void warn(struct s3pve_volumes *all, const char *name, const struct s3pve_error *err) {
    client_log(all->client, S3PVE_LOG_WARNING, "recover", name, "%s", err->message);
}

/* What it says of a volume is known, unless that is in the table already. */
static int note(void *ctx, const char *uuid) {
    struct recovery *recovery = ctx;
    struct s3pve_volumes *all = recovery->all;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_volume *volume;
    struct limit limit;
    struct state state;

    state_purge(all->state_dir, uuid, LOST_JOURNAL_DAYS);
    if (state_read(all->state_dir, uuid, &state, &err) < 0) {
        if (err.code != S3PVE_E_NOT_FOUND)
            warn(all, uuid, &err);
        return 0;
    }
    limit_begin(&limit, all, recovery->call);
    volume = table_take(&limit, state.name, TABLE_ANY, NULL);
    if (volume) {
        pthread_mutex_lock(&all->lock);
        if (!volume->runtime && !volume->uuid[0]) {
            strcpy(volume->uuid, uuid);
            volume->left = true;
            volume->info.state = S3PVE_VOLUME_OPEN;
            strcpy(volume->info.node, all->me.name);
            volume->active = state.active && strcmp(state.incarnation, all->me.incarnation) == 0;
        }
        pthread_mutex_unlock(&all->lock);
        table_give(volume);
    }
    limit_end(&limit);
    return 0;
}

/* ------------------------------------------------------------------ opening */

struct job {
    struct recovery *recovery;
    char name[S3PVE_VOLUME_NAME];
};

static void open_one(void *arg) {
    struct job *job = arg;
    struct recovery *recovery = job->recovery;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int rc = s3pve_volumes_activate(recovery->all, job->name, recovery->call, &err);

    if (rc < 0)
        warn(recovery->all, job->name, &err);
    pthread_mutex_lock(&recovery->lock);
    recovery->n_active += rc == 0;
    if (rc < 0)
        recovery->failure = err;
    pthread_mutex_unlock(&recovery->lock);
    free(job);
}

static int open_active(struct recovery *recovery, struct pool *pool) {
    struct s3pve_volumes *all = recovery->all;

    LOCK_SCOPE(&all->lock);
    for (struct s3pve_volume *volume = all->first; volume; volume = volume->next) {
        struct job *job = volume->active ? malloc(sizeof(*job)) : NULL;

        if (!volume->active)
            continue;
        if (!job)
            return -1;
        job->recovery = recovery;
        strcpy(job->name, volume->name);
        if (pool_run(pool, open_one, job) == 0)
            continue;
        free(job);
        return -1;
    }
    return 0;
}

_public_ int s3pve_volumes_recover(
    struct s3pve_volumes *all, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct recovery recovery = {.all = all, .call = call, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct pool *pool = pool_new(RECOVER_THREADS);
    int rc;

    if (!pool)
        return error_set(err, S3PVE_E_NOMEM, "no memory to recover volumes");
    rc = state_each(all->state_dir, note, &recovery, err);
    if (rc == 0 && open_active(&recovery, pool) < 0)
        rc = error_set(err, S3PVE_E_NOMEM, "no memory to recover volumes");
    pool_free(pool);
    if (rc < 0)
        return -1;
    if (!recovery.failure.code)
        return recovery.n_active;
    if (err)
        *err = recovery.failure;
    return -1;
}
