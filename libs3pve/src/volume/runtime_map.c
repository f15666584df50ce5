/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* runtime_map.c - pages of the map, checkpoints, and objects that nothing needs any more */
#include <string.h>

#include "core/error.h"
#include "volume/runtime_private.h"

/* -------------------------------------------------------------------- pages */

struct paging {
    struct runtime *runtime;
    struct event event;
    struct volume_page page;
    struct buf bytes; /* owned */
    struct s3pve_error err;
};

static void page_ended(struct runtime *rt, void *arg) {
    struct paging *paging = arg;

    volume_page_got(
        rt->volume, &paging->page.id, &paging->bytes, paging->err.code ? &paging->err : NULL
    );
    buf_clear(&paging->bytes);
    free(paging);
}

static void page_job(void *arg) {
    struct paging *paging = arg;
    struct runtime *rt = paging->runtime;

    store_page(&rt->store, &paging->page, &paging->bytes, &paging->err);
    runtime_post_job(rt, &paging->event);
}

void runtime_page_get(void *ctx, const struct volume_page *page) {
    struct runtime *rt = ctx;
    struct paging *paging = calloc(1, sizeof(*paging));

    if (paging)
        *paging = (struct paging
        ){.runtime = rt, .event = {.fn = page_ended, .arg = paging}, .page = *page};
    if (paging && runtime_job(rt, rt->volumes->remote, page_job, paging) == 0)
        return;
    free(paging);
    rt->out_of_memory = true;
}

/* --------------------------------------------------------------- checkpoints */

static void checkpoint_ended(struct runtime *rt, void *arg) {
    volume_checkpoint_done(rt->volume, rt->publishing.err.code ? &rt->publishing.err : NULL);
}

static void checkpoint_job(void *arg) {
    struct runtime *rt = arg;

    rt->publishing.err = S3PVE_ERROR_INIT;
    pthread_mutex_lock(&rt->root_lock);
    volume_publish(&store_ops, &rt->store, rt->checkpoint, &rt->publishing.err);
    pthread_mutex_unlock(&rt->root_lock);
    runtime_tell_waiting(rt, &rt->publishing.err);
    runtime_post_job(rt, &rt->publishing.event);
}

void runtime_checkpoint_put(void *ctx, const struct checkpoint *checkpoint) {
    struct runtime *rt = ctx;

    rt->checkpoint = checkpoint;
    if (runtime_job(rt, rt->volumes->remote, checkpoint_job, rt) == 0)
        return;
    error_set(&rt->publishing.err, S3PVE_E_NOMEM, "no thread for a checkpoint");
    runtime_soon(rt, &rt->publishing.event);
}

/* ------------------------------------------------------------------- delete */

static void delete_ended(struct runtime *rt, void *arg) {
    volume_objects_deleted(rt->volume, rt->deleting.err.code ? &rt->deleting.err : NULL);
}

static void delete_job(void *arg) {
    struct runtime *rt = arg;

    rt->deleting.err = S3PVE_ERROR_INIT;
    store_ops.objects_delete(&rt->store, rt->doomed, rt->n_doomed, &rt->deleting.err);
    runtime_post_job(rt, &rt->deleting.event);
}

void runtime_objects_delete(void *ctx, const char (*names)[OBJECT_NAME], uint32_t n) {
    struct runtime *rt = ctx;
    char(*doomed)[OBJECT_NAME] = reallocarray(rt->doomed, n, sizeof(*doomed));

    if (doomed) {
        rt->doomed = doomed;
        rt->n_doomed = n;
        memcpy(doomed, names, n * sizeof(*doomed));
        if (runtime_job(rt, rt->volumes->remote, delete_job, rt) == 0)
            return;
    }
    error_set(&rt->deleting.err, S3PVE_E_NOMEM, "no memory to delete what is not needed");
    runtime_soon(rt, &rt->deleting.event);
}

void runtime_map_init(struct runtime *rt) {
    rt->publishing.event.fn = checkpoint_ended;
    rt->deleting.event.fn = delete_ended;
    pthread_mutex_init(&rt->root_lock, NULL);
}

void runtime_map_clear(struct runtime *rt) {
    free(rt->doomed);
    pthread_mutex_destroy(&rt->root_lock);
}
