/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* io.c - requests of those who hold a volume */
#include <stdlib.h>

#include "core/error.h"
#include "images/table.h"

struct asked {
    struct runtime_request r; /* first */
    struct s3pve_volume_request *request;
};

_public_ uint64_t s3pve_volume_size(struct s3pve_volume *volume) {
    return runtime_size(volume->runtime);
}

static void done(struct runtime_request *r, const struct s3pve_error *err) {
    struct s3pve_volume_request *request = ((struct asked *)r)->request;

    free(r);
    request->done(request, err);
}

static void stretch(struct runtime_request *r, uint64_t len, bool zero) {
    struct s3pve_volume_request *request = ((struct asked *)r)->request;

    request->stretch(request, len, zero);
}

_public_ void s3pve_volume_submit(
    struct s3pve_volume *volume, struct s3pve_volume_request *request
) {
    static const enum volume_request_type types[] = {
        [S3PVE_VOLUME_READ] = VOLUME_READ,
        [S3PVE_VOLUME_WRITE] = VOLUME_WRITE,
        [S3PVE_VOLUME_ZERO] = VOLUME_ZERO,
        [S3PVE_VOLUME_FLUSH] = VOLUME_FLUSH,
        [S3PVE_VOLUME_MAP] = VOLUME_READ,
    };
    struct asked *asked = calloc(1, sizeof(*asked));
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (!asked) {
        error_set(&err, S3PVE_E_NOMEM, "no memory for a request");
        request->done(request, &err);
        return;
    }
    asked->request = request;
    asked->r.request = (struct volume_request){
        .type = types[request->op],
        .offset = request->offset,
        .len = request->len,
        .fua = request->fua,
        .unmap = request->unmap,
    };
    asked->r.done = done;
    if (request->op == S3PVE_VOLUME_MAP)
        asked->r.stretch = stretch;
    else
        asked->r.data = request->data;
    runtime_submit(volume->runtime, &asked->r);
}
