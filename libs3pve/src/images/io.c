/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* io.c - requests of those who hold a volume */
#include <stdlib.h>

#include "core/error.h"
#include "images/length.h"

_public_ uint64_t s3pve_volume_size(struct s3pve_volume *volume) {
    return volume->length ? length_now(volume->length) : runtime_size(volume->runtime);
}

void io_done(struct asked *asked, const struct s3pve_error *err) {
    struct s3pve_volume_request *request = asked->request;

    free(asked);
    request->done(request, err);
}

static void done(struct runtime_request *r, const struct s3pve_error *err) {
    io_done((struct asked *)r, err);
}

static void stretch(struct runtime_request *r, uint64_t len, bool zero) {
    struct s3pve_volume_request *request = ((struct asked *)r)->request;

    request->stretch(request, len, zero);
}

static void describe(struct asked *asked, const struct s3pve_volume_request *request) {
    static const enum volume_request_type types[] = {
        [S3PVE_VOLUME_READ] = VOLUME_READ,
        [S3PVE_VOLUME_WRITE] = VOLUME_WRITE,
        [S3PVE_VOLUME_ZERO] = VOLUME_ZERO,
        [S3PVE_VOLUME_FLUSH] = VOLUME_FLUSH,
        [S3PVE_VOLUME_MAP] = VOLUME_READ,
    };

    asked->r.request = (struct volume_request){
        .type = types[request->op],
        .offset = request->offset,
        .len = request->len,
        .fua = request->fua,
        .unmap = request->unmap,
    };
    asked->r.done = done;
    asked->r.more = request->more;
    if (request->op == S3PVE_VOLUME_MAP)
        asked->r.stretch = stretch;
    else
        asked->r.data = request->data;
}

_public_ void s3pve_volume_submit(
    struct s3pve_volume *volume, struct s3pve_volume_request *request
) {
    struct asked *asked = calloc(1, sizeof(*asked));
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (!asked) {
        error_set(&err, S3PVE_E_NOMEM, "no memory for a request");
        request->done(request, &err);
        return;
    }
    asked->request = request;
    asked->volume = volume;
    describe(asked, request);
    if (volume->length)
        length_submit(asked);
    else
        runtime_submit(volume->runtime, &asked->r);
}

_public_ int s3pve_volume_truncate(
    struct s3pve_volume *volume,
    uint64_t size,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct limit limit;
    int rc;

    limit_begin(&limit, volume->all, call);
    rc = length_set(volume, size, &limit, err);
    limit_why(&limit, rc < 0 ? err : NULL);
    limit_end(&limit);
    return rc < 0 ? error_wrap(err, "%s", volume->name) : 0;
}
