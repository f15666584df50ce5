/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* mem3_request.h - GETs that are submitted to the store in memory; done before they are waited for
 */
#ifndef MEM3_REQUEST_H
#define MEM3_REQUEST_H

#include "core/object.h"
#include "core/request.h"
#include "mem3.h"

void request_submit(struct s3pve_client *client, struct request *rq) {
    size_t len = 0;

    s3pve_object_pread(
        client,
        rq->key,
        NULL,
        rq->into,
        rq->range.len,
        rq->range.offset,
        &len,
        NULL,
        &rq->call,
        &rq->error
    );
    rq->received = len;
    rq->state = REQUEST_DONE;
}

int request_wait(
    struct s3pve_client *client, struct request *const *rqs, size_t n_rqs, int timeout_ms
) {
    return 0;
}

void request_cancel(struct s3pve_client *client, struct request *rq) {
}

int s3pve_probe(
    struct s3pve_client *client,
    struct s3pve_caps *ret_caps,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    return error_set(err, S3PVE_E_UNSUPPORTED, "nobody probes a double");
}

void s3pve_client_use_caps(struct s3pve_client *client, const struct s3pve_caps *caps) {
}

int object_put_once(
    struct s3pve_client *client,
    const struct object_source *source,
    bool *ret_lost,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    return s3pve_object_put(
        client,
        source->key,
        source->iov->iov_base,
        source->iov->iov_len,
        source->options,
        NULL,
        call,
        err
    );
}

#endif
