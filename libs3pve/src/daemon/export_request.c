/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/export_request.h"

#include <errno.h>

#include "base/limits.h"
#include "daemon/log.h"
#include "s3pve-volume.h"

struct asked {
    struct s3pve_volume_request volume; /* first */
    struct nbd_request *nbd;
};

/* The end of a volume is told once, see volume_care.c. */
static void done(struct s3pve_volume_request *request, const struct s3pve_error *err) {
    struct asked *asked = (struct asked *)request;
    if (err)
        log_say(S3PVE_LOG_DEBUG, "nbd", "%s", err->message);
    nbd_request_done(asked->nbd, err ? err->errnum : 0);
    free(asked);
}

static void stretch(struct s3pve_volume_request *request, uint64_t len, bool zero) {
    nbd_status_add(((struct asked *)request)->nbd, len, zero, zero);
}

static enum s3pve_volume_op op_of(enum nbd_type type) {
    switch (type) {
    case NBD_WRITE: return S3PVE_VOLUME_WRITE;
    case NBD_FLUSH: return S3PVE_VOLUME_FLUSH;
    case NBD_TRIM:
    case NBD_ZERO: return S3PVE_VOLUME_ZERO;
    case NBD_STATUS: return S3PVE_VOLUME_MAP;
    case NBD_READ:
    case NBD_CACHE: break;
    }
    return S3PVE_VOLUME_READ;
}

void export_request_submit(void *volume, struct nbd_request *request) {
    struct asked *asked = calloc(1, sizeof(*asked));
    if (!asked) {
        nbd_request_done(request, ENOMEM);
        return;
    }
    asked->nbd = request;
    asked->volume = (struct s3pve_volume_request){
        .op = op_of(request->type),
        .offset = request->offset,
        .len = request->len,
        .fua = request->fua,
        .unmap = !request->no_hole,
        .data = request->data,
        .more = request->more,
        .stretch = stretch,
        .done = done,
    };
    if (request->type == NBD_CACHE && request->len > EXPORT_CACHE_AHEAD)
        asked->volume.len = EXPORT_CACHE_AHEAD;
    s3pve_volume_submit(volume, &asked->volume);
}
