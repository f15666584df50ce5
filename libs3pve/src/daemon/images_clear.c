/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* images_clear.c - all of a disk is made zeroes */
#include <pthread.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "daemon/images_tree.h"

struct clearing {
    struct s3pve_volume_request request; /* first */
    pthread_mutex_t lock;                /* of what follows */
    pthread_cond_t changed;
    bool done, failed;
};

static void on_done(struct s3pve_volume_request *request, const struct s3pve_error *err) {
    struct clearing *clearing = (struct clearing *)request;
    LOCK_SCOPE(&clearing->lock);
    clearing->failed = err != NULL;
    clearing->done = true;
    pthread_cond_signal(&clearing->changed);
}

static bool clear(struct s3pve_volume *volume) {
    struct clearing clearing = {
        .request =
            {
                .op = S3PVE_VOLUME_ZERO,
                .len = s3pve_volume_size(volume),
                .unmap = true,
                .done = on_done,
            },
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    s3pve_volume_submit(volume, &clearing.request);
    LOCK_SCOPE(&clearing.lock);
    while (!clearing.done)
        pthread_cond_wait(&clearing.changed, &clearing.lock);
    return !clearing.failed;
}

bool images_clear_small(struct images *images, const char *name, const struct s3pve_call *call) {
    struct s3pve_volume *volume = NULL;
    if (s3pve_volume_hold(images->options.volumes, name, call, &volume, NULL) < 0)
        return false;
    bool cleared = s3pve_volume_size(volume) <= IMAGES_CLEAR && clear(volume);
    s3pve_volume_release(volume);
    return cleared;
}
