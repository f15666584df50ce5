/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "files/keylock.h"

#define LOOK_MS 100 /* between two looks at a waiting caller's cancellation */

static void drop(struct keylock **p) {
    struct keylock *lock = *p;

    *p = lock->next;
    free((char *)lock->key);
    free(lock);
}

/* With `lock` held. */
static void drop_expired(struct s3pve_files *files, int64_t now_ms) {
    struct keylock **p = &files->keylocks;

    while (*p) {
        if ((*p)->until_ms && (*p)->until_ms <= now_ms)
            drop(p);
        else
            p = &(*p)->next;
    }
}

/* With `lock` held. */
static bool is_taken(struct s3pve_files *files, const char *key) {
    drop_expired(files, clock_monotonic_ms());
    for (const struct keylock *lock = files->keylocks; lock; lock = lock->next) {
        if (strcmp(lock->key, key) == 0)
            return true;
    }
    return false;
}

int keylock_take(
    struct s3pve_files *files, struct keylock *ret_lock, const char *key, bool patient
) {
    struct s3pve_call call = files_call(files, 0);

    LOCK_SCOPE(&files->lock);
    while (is_taken(files, key)) {
        if (call.cancel && __atomic_load_n(call.cancel, __ATOMIC_RELAXED))
            return -EINTR;
        if (!patient && !files->online)
            return -EBUSY;
        files_wait(files, LOOK_MS);
    }
    *ret_lock = (struct keylock){.next = files->keylocks, .key = key};
    files->keylocks = ret_lock;
    return 0;
}

void keylock_give(struct s3pve_files *files, struct keylock *lock, int rc) {
    struct keylock **p = &files->keylocks;

    if (rc == -EINTR)
        keylock_linger(files, lock->key);
    LOCK_SCOPE(&files->lock);
    while (*p != lock)
        p = &(*p)->next;
    *p = lock->next;
    pthread_cond_broadcast(&files->changed);
}

void keylock_linger(struct s3pve_files *files, const char *key) {
    struct keylock *lock = calloc(1, sizeof(*lock));
    char *copy = strdup(key);

    if (!lock || !copy) {
        free(lock);
        free(copy);
        return;
    }
    LOCK_SCOPE(&files->lock);
    *lock = (struct keylock
    ){.next = files->keylocks, .key = copy, .until_ms = clock_monotonic_ms() + KEY_LINGER_MS};
    files->keylocks = lock;
}

void keylock_clear(struct s3pve_files *files) {
    while (files->keylocks)
        drop(&files->keylocks);
}
