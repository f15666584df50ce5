/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "nbd/exports.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "nbd/wire.h"

void exports_init(struct exports *exports) {
    pthread_condattr_t attr;
    *exports = (struct exports){0};
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&exports->lock, NULL);
    pthread_cond_init(&exports->changed, &attr);
    pthread_condattr_destroy(&attr);
}

void exports_clear(struct exports *exports) {
    pthread_cond_destroy(&exports->changed);
    pthread_mutex_destroy(&exports->lock);
}

/* Where an export of that name is, or would be, in the list. */
static struct nbd_export **find(struct exports *exports, const void *name, size_t len) {
    struct nbd_export **p = &exports->first;
    while (*p && (strlen((*p)->name) != len || memcmp((*p)->name, name, len) != 0))
        p = &(*p)->next;
    return p;
}

static int link_export(struct exports *exports, struct nbd_export *export) {
    LOCK_SCOPE(&exports->lock);
    struct nbd_export **p = find(exports, export->name, strlen(export->name));
    if (*p)
        return -EEXIST;
    if (exports->n >= NBD_EXPORTS)
        return -ENOSPC;
    *p = export;
    exports->n++;
    return 0;
}

static void export_free(struct nbd_export *export) {
    free(export->name);
    free(export);
}

int exports_add(
    struct exports *exports, const struct nbd_export_params *params, struct nbd_export **ret_export
) {
    size_t len = strlen(params->name);
    if (len == 0 || len > NBD_NAME || params->size % NBD_SECTOR)
        return -EINVAL;
    struct nbd_export *export = calloc(1, sizeof(*export));
    char *name = strdup(params->name);
    if (!export || !name) {
        free(export);
        free(name);
        return -ENOMEM;
    }
    export->exports = exports;
    export->submit = params->submit;
    export->ctx = params->ctx;
    export->read_only = params->read_only;
    export->size = params->size;
    export->name = name;
    int r = link_export(exports, export);
    if (r < 0)
        export_free(export);
    else
        *ret_export = export;
    return r;
}

void exports_remove(struct nbd_export *export) {
    struct exports *exports = export->exports;
    {
        LOCK_SCOPE(&exports->lock);
        while (export->n_holds > 0)
            pthread_cond_wait(&exports->changed, &exports->lock);
        *find(exports, export->name, strlen(export->name)) = export->next;
        exports->n--;
    }
    export_free(export);
}

struct nbd_export *exports_hold(struct exports *exports, const void *name, size_t len) {
    LOCK_SCOPE(&exports->lock);
    struct nbd_export *export = *find(exports, name, len);
    if (!export || export->stopped)
        return NULL;
    export->n_holds++;
    return export;
}

void exports_release(struct nbd_export *export) {
    struct exports *exports = export->exports;
    LOCK_SCOPE(&exports->lock);
    export->n_holds--;
    pthread_cond_broadcast(&exports->changed);
}

void exports_enter(struct nbd_export *export) {
    LOCK_SCOPE(&export->exports->lock);
    export->n_users++;
}

void exports_leave(struct nbd_export *export) {
    LOCK_SCOPE(&export->exports->lock);
    export->n_users--;
}

uint64_t exports_size(struct nbd_export *export) {
    LOCK_SCOPE(&export->exports->lock);
    return export->size;
}

unsigned exports_holds(struct nbd_export *export) {
    LOCK_SCOPE(&export->exports->lock);
    return export->n_holds;
}

unsigned exports_users(struct nbd_export *export) {
    LOCK_SCOPE(&export->exports->lock);
    return export->n_users;
}

static int add_server(struct buf *out, const char *name) {
    uint8_t head[24];
    uint32_t len = (uint32_t)strlen(name);
    uint8_t *p = put_be64(head, WIRE_OPTION_REPLY);
    p = put_be32(p, OPT_LIST);
    p = put_be32(p, REP_SERVER);
    p = put_be32(p, len + 4);
    put_be32(p, len);
    return buf_add(out, head, sizeof(head)) < 0 || buf_add(out, name, len) < 0 ? -1 : 0;
}

int exports_list(struct exports *exports, struct buf *out) {
    LOCK_SCOPE(&exports->lock);
    for (struct nbd_export *export = exports->first; export; export = export->next) {
        if (!export->stopped && add_server(out, export->name) < 0)
            return -1;
    }
    return 0;
}

void exports_ask(struct nbd_export *export, uint64_t size, bool stop) {
    struct exports *exports = export->exports;
    LOCK_SCOPE(&exports->lock);
    export->size = size ? size : export->size;
    export->stopped |= stop;
    exports->n_asked += export->asked ? 0 : 1;
    export->asked = true;
}

void exports_wait(struct nbd_export *export) {
    struct exports *exports = export->exports;
    LOCK_SCOPE(&exports->lock);
    while (export->asked || export->dropping)
        pthread_cond_wait(&exports->changed, &exports->lock);
}

void exports_resume(struct nbd_export *export) {
    LOCK_SCOPE(&export->exports->lock);
    export->stopped = false;
}

int exports_settle(struct nbd_export *export, unsigned timeout_ms) {
    struct exports *exports = export->exports;
    struct timespec until = clock_in_ms(CLOCK_MONOTONIC, timeout_ms);
    int timed_out = 0;
    LOCK_SCOPE(&exports->lock);
    while (export->n_holds > 0 && !timed_out)
        timed_out = pthread_cond_timedwait(&exports->changed, &exports->lock, &until);
    return export->n_holds > 0 ? -ETIMEDOUT : 0;
}

bool exports_take_asked(struct exports *exports) {
    LOCK_SCOPE(&exports->lock);
    if (exports->n_asked == 0)
        return false;
    for (struct nbd_export *export = exports->first; export; export = export->next) {
        export->dropping = export->asked;
        export->asked = false;
    }
    exports->n_asked = 0;
    return true;
}

void exports_dropped(struct exports *exports) {
    LOCK_SCOPE(&exports->lock);
    for (struct nbd_export *export = exports->first; export; export = export->next)
        export->dropping = false;
    pthread_cond_broadcast(&exports->changed);
}
