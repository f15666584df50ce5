/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "core/error.h"
#include "volume/arbiter.h"

/* What is there; nothing is an answer, too: an empty @etag. */
static int look(
    const struct arbiter_ops *ops,
    void *ctx,
    struct buf *text,
    char etag[ETAG_ROOM],
    struct s3pve_error *err
) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    if (ops->get(ctx, text, etag, &cause) == 0)
        return 0;
    etag[0] = '\0';
    if (cause.code == S3PVE_E_NOT_FOUND)
        return 0;
    if (err)
        *err = cause;
    return -1;
}

/* Is it still @etag, and the lock still ours? */
static int compare(
    const struct arbiter_ops *ops,
    void *ctx,
    const char *etag,
    bool *ret_lost,
    struct s3pve_error *err
) {
    _cleanup_(buf_clear) struct buf text = {0};
    char now[ETAG_ROOM];

    if (look(ops, ctx, &text, now, err) < 0)
        return -1;
    if (strcmp(now, etag) != 0)
        return error_set(err, S3PVE_E_CONFLICT, "the volume was changed by somebody else");
    *ret_lost = ops->renew(ctx, err) < 0;
    return *ret_lost ? -1 : 0;
}

/* A server that says yes and shows something else cannot be worked with. */
static int verify(
    const struct arbiter_ops *ops,
    void *ctx,
    const char *text,
    char new_etag[ETAG_ROOM],
    struct s3pve_error *err
) {
    _cleanup_(buf_clear) struct buf now = {0};

    if (look(ops, ctx, &now, new_etag, err) < 0)
        return -1;
    if (!new_etag[0] || strcmp(buf_text(&now), text) != 0)
        return error_set(err, S3PVE_E_IO, "what was written is not what is there");
    return 0;
}

/* @lost: the lock, or an answer, which then has the lock's life to come true. */
static int leave(const struct arbiter_ops *ops, void *ctx, bool lost, int rc) {
    if (!lost)
        ops->drop(ctx);
    return rc;
}

int arbiter_put(
    const struct arbiter_ops *ops,
    void *ctx,
    const char *text,
    const char *etag,
    char new_etag[ETAG_ROOM],
    struct s3pve_error *err
) {
    bool lost = false;
    int rc;

    if (ops->take(ctx, err) < 0)
        return -1;
    rc = compare(ops, ctx, etag, &lost, err);
    if (rc == 0)
        rc = ops->put(ctx, text, etag, &lost, err);
    if (rc == 0)
        rc = verify(ops, ctx, text, new_etag, err);
    return leave(ops, ctx, lost, rc);
}

int arbiter_remove(
    const struct arbiter_ops *ops, void *ctx, const char *etag, struct s3pve_error *err
) {
    bool lost = false;
    int rc;

    if (ops->take(ctx, err) < 0)
        return -1;
    rc = compare(ops, ctx, etag, &lost, err);
    if (rc == 0)
        rc = ops->remove(ctx, etag, &lost, err);
    return leave(ops, ctx, lost, rc);
}
