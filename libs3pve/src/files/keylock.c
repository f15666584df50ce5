/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <string.h>

#include "files/keylock.h"

#define LOOK_MS 100 /* between two looks at a waiting caller's cancellation */

/* With `lock` held. */
static bool is_taken(const struct s3pve_files *files, const char *key) {
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

void keylock_give(struct s3pve_files *files, struct keylock *lock) {
    struct keylock **p = &files->keylocks;

    LOCK_SCOPE(&files->lock);
    while (*p != lock)
        p = &(*p)->next;
    *p = lock->next;
    pthread_cond_broadcast(&files->changed);
}
