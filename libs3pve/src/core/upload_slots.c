/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* upload_slots.c - the parts of an upload that are on their way */
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/upload.h"

#define NEGLECT_MS 5000 /* a transfer nobody moves for so long may be cut by the server */
#define CANCEL_MS 100   /* how soon a cancel flag is seen */
#define WAIT_MS 60000

int upload_fail(
    struct s3pve_upload *upload, const struct s3pve_error *cause, struct s3pve_error *err
) {
    if (upload->failure.code == S3PVE_OK)
        upload->failure = *cause;
    if (err)
        *err = upload->failure;
    return -1;
}

int upload_check(const struct s3pve_upload *upload, struct s3pve_error *err) {
    if (upload->failure.code == S3PVE_OK)
        return 0;
    if (err)
        *err = upload->failure;
    return -1;
}

bool upload_is_busy(const struct s3pve_upload *upload) {
    for (int i = 0; i < PARTS_IN_FLIGHT; i++)
        if (upload->slots[i].busy)
            return true;
    return false;
}

struct upload_slot *upload_free_slot(struct s3pve_upload *upload) {
    for (int i = 0; i < PARTS_IN_FLIGHT; i++)
        if (!upload->slots[i].busy)
            return &upload->slots[i];
    return NULL;
}

/* A part outlives the call that filled it, so it takes that call's time but not its cancel flag. */
static void slot_send(
    struct s3pve_upload *upload, struct upload_slot *slot, const struct s3pve_call *call
) {
    struct s3pve_call mine = call ? *call : (struct s3pve_call){0};

    mine.cancel = NULL;
    multipart_part_request(&upload->mp, &slot->rq, "UploadPart", slot->number, &mine);
    slot->rq.body = &slot->iov;
    slot->rq.n_body = 1;
    slot->rq.body_len = slot->iov.iov_len;
    slot->rq.checksum = true;
    slot->neglected = false;
    slot->busy = true;
    request_submit(upload->client, &slot->rq);
}

struct upload_slot *upload_submit(
    struct s3pve_upload *upload, const void *data, size_t len, const struct s3pve_call *call
) {
    struct upload_slot *slot = upload_free_slot(upload);

    slot->iov = (struct iovec){.iov_base = (void *)(data ? data : ""), .iov_len = len};
    slot->number = upload->number;
    slot_send(upload, slot, call);
    return slot;
}

/*
 * Without a network thread transfers stand still while the caller is busy elsewhere.  That is no
 * fault of the store's, and a part is sent again for every time it was neglected.
 */
static bool slot_forgive(struct s3pve_upload *upload, struct upload_slot *slot) {
    enum s3pve_code code = slot->rq.error.code;
    struct s3pve_call call = slot->rq.call;

    if (!slot->neglected || (code != S3PVE_E_TIMEOUT && code != S3PVE_E_IO))
        return false;
    request_clear(&slot->rq);
    slot_send(upload, slot, &call);
    return true;
}

static void slot_done(struct s3pve_upload *upload, struct upload_slot *slot) {
    struct s3pve_error err = slot->rq.error;

    if (err.code != S3PVE_OK && slot_forgive(upload, slot))
        return;
    if (err.code == S3PVE_OK)
        multipart_note(
            &upload->mp, slot->number, slot->iov.iov_len, slot->rq.reply.info.etag, &err
        );
    if (err.code == S3PVE_OK) {
        atomic_store(&upload->stored, upload->mp.size);
    } else {
        error_wrap(&err, "part %u", slot->number);
        upload_fail(upload, &err, NULL);
    }
    request_clear(&slot->rq);
    slot->busy = false;
}

static void note_neglect(struct s3pve_upload *upload) {
    struct transport *transport = &upload->client->transport;
    int64_t now = transport->now_ms(transport->ctx);

    for (int i = 0; i < PARTS_IN_FLIGHT && now - upload->moved_ms > NEGLECT_MS; i++)
        upload->slots[i].neglected = true;
    upload->moved_ms = now;
}

bool upload_move(struct s3pve_upload *upload, int ms) {
    struct transport *transport = &upload->client->transport;
    struct request *rqs[PARTS_IN_FLIGHT];
    bool any = false;
    int i;

    note_neglect(upload);
    for (i = 0; i < PARTS_IN_FLIGHT; i++)
        rqs[i] = upload->slots[i].busy ? &upload->slots[i].rq : NULL;
    while ((i = request_wait(upload->client, rqs, PARTS_IN_FLIGHT, any ? 0 : ms)) >= 0) {
        slot_done(upload, &upload->slots[i]);
        rqs[i] = NULL;
        any = true;
    }
    upload->moved_ms = transport->now_ms(transport->ctx);
    return any;
}

int upload_check_cancel(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct s3pve_error cause;

    if (!call || !call->cancel || !__atomic_load_n(call->cancel, __ATOMIC_RELAXED))
        return 0;
    error_set(&cause, S3PVE_E_CANCELLED, "upload of %s: cancelled", upload->key);
    return upload_fail(upload, &cause, err);
}

int upload_wait(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
) {
    while (!upload_move(upload, call && call->cancel ? CANCEL_MS : WAIT_MS))
        if (upload_check_cancel(upload, call, err) < 0)
            return -1;
    return upload_check(upload, err);
}

bool upload_cancel_slots(struct s3pve_upload *upload) {
    bool any = false;

    for (int i = 0; i < PARTS_IN_FLIGHT; i++) {
        struct upload_slot *slot = &upload->slots[i];

        if (!slot->busy)
            continue;
        if (upload->client->pid == getpid())
            request_cancel(upload->client, &slot->rq);
        request_clear(&slot->rq);
        slot->busy = false;
        any = true;
    }
    return any;
}

void upload_free_buffers(struct s3pve_upload *upload) {
    for (int i = 0; i < PARTS_IN_FLIGHT; i++)
        parts_buffer_free(upload->client, &upload->slots[i].buffer);
    parts_buffer_free(upload->client, &upload->fill);
    upload->fill_len = 0;
}
