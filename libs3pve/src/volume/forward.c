/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "core/error.h"
#include "volume/forward.h"
#include "volume/load.h"
#include "volume/machine.h"

void forward_clear(struct forward *log) {
    free(log->ids);
    log->ids = NULL;
}

int forward_add(struct forward *log, const struct segment_id *id) {
    if (log->n == log->room) {
        size_t room = log->room ? log->room * 2 : 64;
        struct segment_id *ids = reallocarray(log->ids, room, sizeof(*ids));

        if (!ids)
            return -1;
        log->ids = ids;
        log->room = room;
    }
    log->ids[log->n++] = *id;
    return 0;
}

/* What is before the checkpoint was not asked for, and is nobody's to judge. */
static int note_segment(void *ctx, const struct segment_id *id) {
    struct forward *log = ctx;

    return id->seq > log->root->head_seq ? forward_add(log, id) : 0;
}

int forward_list(struct forward *log, struct s3pve_error *err) {
    return log->store->log_list(log->ctx, log->root->head_seq, note_segment, log, err);
}

const struct segment_id *forward_find(struct forward *log, uint64_t seq) {
    const struct root_epoch *epoch = root_epoch_of(log->root, seq);

    while (log->at < log->n && log->ids[log->at].seq < seq)
        log->at++; /* the log is in order, and so are we */
    for (size_t i = log->at; epoch && i < log->n && log->ids[i].seq == seq; i++) {
        const struct segment_id *id = &log->ids[i];

        if (id->epoch == epoch->epoch && id->nonce == epoch->nonce)
            return id;
    }
    return NULL;
}

/* Who writes has committed his epoch, and the root has it until a checkpoint covers it. */
bool forward_knows(const struct root *root, const struct segment_id *id) {
    if (root->n_epochs && id->epoch < root->epochs[0].epoch)
        return true;
    for (uint32_t i = 0; i < root->n_epochs; i++)
        if (root->epochs[i].epoch == id->epoch && root->epochs[i].nonce == id->nonce)
            return true;
    return false;
}

const struct segment_id *forward_stranger(const struct forward *log) {
    for (size_t i = 0; i < log->n; i++)
        if (!forward_knows(log->root, &log->ids[i]))
            return &log->ids[i];
    return NULL;
}

bool forward_follows(
    const struct segment *segment, uint64_t tip, uint64_t jseq, const uint8_t hash[HASH_LEN]
) {
    return segment->jseq_first == jseq + 1 && segment->prev_seq == tip &&
           (!tip || memcmp(segment->prev_hash, hash, HASH_LEN) == 0);
}

static int apply(struct forward *log, const struct segment_id *id, struct s3pve_error *err) {
    _cleanup_(buf_clear) struct buf header = {0};
    _cleanup_(segment_clear) struct segment segment = {0};
    struct volume *volume = log->volume;

    if (log->store->header_get(log->ctx, id, &header, err) < 0)
        return -1;
    if (segment_decode(&segment, header.data, header.len, id, log->root->uuid, err) < 0)
        return -1;
    if (!forward_follows(&segment, volume->tip, volume->jseq_applied, volume->tip_hash))
        return error_set(err, S3PVE_E_CORRUPT, "segment %" PRIu64 " does not follow", id->seq);
    if (segment.read_only)
        return error_set(
            err, S3PVE_E_UNSUPPORTED, "a newer version has to write to the volume: update this node"
        );
    if (load_apply(volume, log->store, log->ctx, &segment, err) < 0)
        return -1;
    segment_hash(header.data, header.len, volume->tip_hash);
    return 0;
}

/* What the root says an epoch ended with was seen by an opener. */
int forward_check_cut(const struct root *root, uint64_t seq, struct s3pve_error *err) {
    const struct root_epoch *last = root->n_epochs ? &root->epochs[root->n_epochs - 1] : NULL;

    if (!last || (seq >= last->first && seq > last->last))
        return 0;
    return error_set(
        err, S3PVE_E_CORRUPT, "segment %" PRIu64 " of the volume is missing in the bucket", seq
    );
}

int forward_roll(struct forward *log, struct s3pve_error *err) {
    const struct segment_id *id;
    uint64_t seq = log->root->head_seq;

    while ((id = forward_find(log, ++seq)))
        if (apply(log, id, err) < 0)
            return -1;
    return forward_check_cut(log->root, seq, err);
}
