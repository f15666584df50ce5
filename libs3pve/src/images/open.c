/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* open.c - a volume becomes this node's, and anybody's again; see DESIGN-disks.md 11 */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "images/length.h"

#define HAND_BACK_TRIES 2
#define HAND_BACK_TELL 1000u /* ms */

static void set_runtime(struct s3pve_volume *volume, struct runtime *runtime) {
    LOCK_SCOPE(&volume->all->lock);

    volume->runtime = runtime;
    if (runtime && volume->all->stopping)
        runtime_cancel(runtime);
}

void open_drop(struct s3pve_volume *volume) {
    struct runtime *runtime = volume->runtime;

    length_close(volume);
    set_runtime(volume, NULL);
    runtime_close(runtime);
}

static void set_failed(struct s3pve_volume *volume, const struct s3pve_error *err) {
    LOCK_SCOPE(&volume->all->lock);

    volume->failed = err ? *err : S3PVE_ERROR_INIT;
}

/* ------------------------------------------------------------- what it leaves */

static int remember(struct s3pve_volume *volume, bool active, struct s3pve_error *err) {
    struct state state = {.active = active};

    strcpy(state.name, volume->name);
    strcpy(state.incarnation, volume->all->me.incarnation);
    return state_write(volume->all->state_dir, volume->uuid, &state, err);
}

/* Somebody may have had it by another name at the same time. */
static int remember_again(struct s3pve_volume *volume, struct s3pve_error *err) {
    struct state state;

    if (state_read(volume->all->state_dir, volume->uuid, &state, NULL) == 0 &&
        strcmp(state.name, volume->name) == 0)
        return 0;
    return remember(volume, volume->active, err);
}

int open_set_active(struct s3pve_volume *volume, bool active, struct s3pve_error *err) {
    if (volume->active == active)
        return 0;
    if (remember(volume, active, err) < 0)
        return -1;
    LOCK_SCOPE(&volume->all->lock);
    volume->active = active;
    return 0;
}

static void forget(struct s3pve_volume *volume) {
    LOCK_SCOPE(&volume->all->lock);

    volume->active = volume->left = false;
    volume->uuid[0] = '\0';
}

/* The bucket has all of it. */
static void remove_all(struct s3pve_volume *volume) {
    if (volume->runtime)
        open_drop(volume);
    if (volume->uuid[0])
        state_remove(volume->all->state_dir, volume->uuid);
    forget(volume);
}

/* It is another's, and the journal may have what that one does not: no use to anybody but people.
 */
static void lose(struct s3pve_volume *volume) {
    if (volume->runtime)
        open_drop(volume);
    if (volume->uuid[0] && state_set_aside(volume->all->state_dir, volume->uuid))
        client_log(
            volume->all->client,
            S3PVE_LOG_ERROR,
            "volume",
            volume->name,
            "it is not this node's any more: what only its journal has is kept for %u days in "
            "%s/%s",
            LOST_JOURNAL_DAYS,
            volume->all->state_dir,
            volume->uuid
        );
    forget(volume);
}

/* -------------------------------------------------------------------- opening */

static int begin(
    struct s3pve_volume *volume, struct limit *limit, struct idle *idle, struct s3pve_error *err
) {
    if (idle_begin(idle, volume->all->client, volume->name, NULL, err) < 0)
        return -1;
    idle->store.cancel = &limit->cancel;
    idle->store.until_ms = limit->until_ms;
    return 0;
}

static int look(
    struct s3pve_volume *volume, struct limit *limit, struct idle *idle, struct s3pve_error *err
) {
    return begin(volume, limit, idle, err) < 0 ? -1 : idle_settle(idle, err);
}

static bool is_mine(const struct s3pve_volume *volume, const struct root *root) {
    return root->owner.state != ROOT_CLOSED && strcmp(root->owner.node, volume->all->me.name) == 0;
}

/*
 * It was not opened.  Unless the bucket says that it is not this node's, it may be, or become:
 * then it is to be handed back.
 */
static void look_what_is_left(struct s3pve_volume *volume, bool had_journal) {
    _cleanup_(idle_end) struct idle idle = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct limit limit;
    bool mine;

    limit_begin(&limit, volume->all, &(struct s3pve_call){.timeout_ms = LOOK_AGAIN_MS});
    mine = look(volume, &limit, &idle, &err) < 0 ? err.code != S3PVE_E_NOT_FOUND
                                                 : is_mine(volume, &idle.root);
    limit_end(&limit);
    if (!mine && !had_journal)
        state_remove(volume->all->state_dir, volume->uuid);
    LOCK_SCOPE(&volume->all->lock);
    volume->left = mine;
}

/* It is ours now, whatever becomes of it. */
static void opened(struct s3pve_volume *volume, const struct root *root, struct runtime *runtime) {
    struct s3pve_volume_info info;

    idle_info(volume->name, root, &info);
    info.state = S3PVE_VOLUME_OPEN;
    strcpy(info.node, volume->all->me.name);
    pthread_mutex_lock(&volume->all->lock);
    volume->info = info;
    volume->left = true;
    pthread_mutex_unlock(&volume->all->lock);
    set_runtime(volume, runtime);
}

/* Whoever had a file may have closed it since we looked, and it was longer then.  That nobody has
 * is seen by its rev: a claim and a commit, which are ours, are two. */
static int look_at_length(struct idle *idle, struct s3pve_error *err) {
    uint64_t rev = idle->root.rev + 2;
    _cleanup_(idle_end) struct idle now = {.store = idle->store};

    if (!idle_is_file(&idle->root))
        return 0;
    if (idle_read(&now, err) < 0)
        return -1;
    if (now.root.rev != rev) {
        root_clear(&idle->root);
        idle->root = now.root;
        now.root = (struct root){0};
    }
    return 0;
}

static int open_it(struct s3pve_volume *volume, struct limit *limit, struct s3pve_error *err) {
    _cleanup_(idle_end) struct idle idle = {0};
    struct s3pve_volumes *all = volume->all;
    struct runtime_options options = {0};
    struct runtime *runtime = NULL;
    bool had_journal;

    pthread_mutex_lock(&all->lock);
    options.bucket = all->bucket;
    pthread_mutex_unlock(&all->lock);
    if (look(volume, limit, &idle, err) < 0)
        return -1;
    state_uuid(idle.root.uuid, volume->uuid);
    had_journal = state_has_journal(all->state_dir, volume->uuid);
    if (remember(volume, volume->active, err) < 0 || length_recall(volume, &idle, err) < 0)
        return -1;
    if (runtime_open(all->shared, idle.store.folder, &options, &limit->cancel, &runtime, err) < 0) {
        look_what_is_left(volume, had_journal);
        return -1;
    }
    volume->bucket = options.bucket;
    opened(volume, &idle.root, runtime);
    if (remember_again(volume, err) == 0 && look_at_length(&idle, err) == 0 &&
        length_open(volume, &idle, limit, err) == 0)
        return 0;
    open_drop(volume);
    return -1;
}

static void tried_in_vain(struct s3pve_volume *volume, const struct s3pve_error *err) {
    LOCK_SCOPE(&volume->all->lock);

    volume->failed = *err;
    volume->n_tries++;
}

/* Somebody else just tried, while we waited for him. */
static bool was_tried(const struct s3pve_volume *volume, const struct limit *limit) {
    const struct s3pve_error *failed = &volume->failed;

    return limit->waited && volume->n_tries != limit->n_tries && failed->code &&
           failed->code != S3PVE_E_CANCELLED && failed->code != S3PVE_E_TIMEOUT;
}

static int has_failed(struct s3pve_volume *volume, struct s3pve_error *err) {
    struct runtime_stats stats;

    runtime_stats(volume->runtime, &stats);
    if (!stats.failure.code)
        return 0;
    if (err)
        *err = stats.failure;
    return error_wrap(err, "%s", volume->name);
}

int open_volume(struct s3pve_volume *volume, struct limit *limit, struct s3pve_error *err) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (volume->runtime && has_failed(volume, err) == 0)
        return 0;
    if (volume->runtime && volume->n_held)
        return -1;
    if (volume->runtime)
        open_drop(volume);
    if (was_tried(volume, limit)) {
        cause = volume->failed;
    } else if (open_it(volume, limit, &cause) == 0) {
        set_failed(volume, NULL);
        return 0;
    } else {
        limit_why(limit, &cause);
        error_wrap(&cause, "%s", volume->name);
        tried_in_vain(volume, &cause);
    }
    if (err)
        *err = cause;
    return -1;
}

/* ------------------------------------------------------- deletion and renaming */

/* Only what is closed is renamed.  One whose node died has first to be had, which may take as long
 * as its lease; one whose node lives cannot be. */
static int close_it(
    struct s3pve_volume *volume, struct idle *idle, struct limit *limit, struct s3pve_error *err
) {
    if (open_hand_back(volume, limit, err) < 0)
        return -1;
    if (idle_read(idle, err) < 0)
        return error_wrap(err, "%s", volume->name);
    if (idle->root.owner.state == ROOT_CLOSED || root_check_writable(&idle->root, NULL) < 0)
        return 0; /* what is half-done is for the next step */
    return open_volume(volume, limit, err) < 0 ? -1 : open_hand_back(volume, limit, err);
}

int open_rename(
    struct s3pve_volume *volume, const char *name, struct limit *limit, struct s3pve_error *err
) {
    _cleanup_(idle_end) struct idle idle = {0};

    if (begin(volume, limit, &idle, err) < 0 || close_it(volume, &idle, limit, err) < 0)
        return limit_why(limit, err);
    if (idle_rename(&idle, name, err) == 0)
        return 0;
    limit_why(limit, err);
    return error_wrap(err, "%s", volume->name);
}

int open_delete(struct s3pve_volume *volume, struct limit *limit, struct s3pve_error *err) {
    _cleanup_(idle_end) struct idle idle = {0};
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (begin(volume, limit, &idle, err) < 0)
        return -1;
    if (volume->runtime)
        open_drop(volume);
    if (idle_delete(&idle, &volume->all->me, &volume->all->times, &cause) == 0) {
        remove_all(volume);
        return 0;
    }
    if (cause.code == S3PVE_E_NOT_FOUND)
        remove_all(volume);
    limit_why(limit, &cause);
    if (err)
        *err = cause;
    return -1;
}

/* --------------------------------------------------------------- handing back */

/* What this node once had may be another's by now, or nobody's: 1, nothing to do. */
static int open_what_is_left(
    struct s3pve_volume *volume, struct limit *limit, struct s3pve_error *err
) {
    _cleanup_(idle_end) struct idle idle = {0};
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    const struct root_owner *owner = &idle.root.owner;

    if (look(volume, limit, &idle, &cause) == 0) {
        if (is_mine(volume, &idle.root))
            return open_volume(volume, limit, err);
        if (strcmp(owner->node, volume->all->me.name) == 0)
            remove_all(volume); /* closed by us, and then we died */
        else
            lose(volume);
        return 1;
    }
    if (cause.code == S3PVE_E_NOT_FOUND)
        return lose(volume), 1;
    if (err)
        *err = cause;
    return -1;
}

static int hand_back(struct s3pve_volume *volume, struct limit *limit, struct s3pve_error *err) {
    struct runtime_wait wait = limit_wait(limit);

    /* Sooner than the call's own time, so that it can say how much is missing. */
    wait.timeout_ms -= wait.timeout_ms < 8 * HAND_BACK_TELL ? wait.timeout_ms / 8 : HAND_BACK_TELL;
    if (length_store(volume, &wait, err) == 0 &&
        runtime_hand_back(volume->runtime, &wait, err) == 0) {
        remove_all(volume);
        return 0;
    }
    limit_why(limit, err);
    if (runtime_is_over(volume->runtime))
        open_drop(volume); /* whoever wants it next opens it anew */
    return error_wrap(err, "%s", volume->name);
}

/* One that failed is as if this process had died with it. */
static void drop_failed(struct s3pve_volume *volume) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (!volume->runtime || has_failed(volume, &cause) == 0)
        return;
    client_log(volume->all->client, S3PVE_LOG_WARNING, "volume", volume->name, "%s", cause.message);
    open_drop(volume);
}

/* This node knows nothing of it; but it may have lost what it knew, and still have the volume. */
static bool is_forgotten(struct s3pve_volume *volume, struct limit *limit) {
    _cleanup_(idle_end) struct idle idle = {0};

    return look(volume, limit, &idle, NULL) == 0 && is_mine(volume, &idle.root);
}

int open_hand_back(struct s3pve_volume *volume, struct limit *limit, struct s3pve_error *err) {
    struct s3pve_error cause;
    int rc;

    if (!volume->runtime && !volume->left && !volume->active && !is_forgotten(volume, limit))
        return 0;
    for (int i = 0; i < HAND_BACK_TRIES; i++) {
        cause = S3PVE_ERROR_INIT;
        drop_failed(volume);
        rc = volume->runtime ? 0 : open_what_is_left(volume, limit, &cause);
        if (rc == 0)
            rc = hand_back(volume, limit, &cause);
        if (rc >= 0 || volume->runtime || !limit_left_ms(limit))
            break; /* else it may be another's by now, or closed */
    }
    set_failed(volume, rc < 0 ? &cause : NULL);
    if (rc < 0 && err)
        *err = cause;
    return rc < 0 ? -1 : 0;
}
