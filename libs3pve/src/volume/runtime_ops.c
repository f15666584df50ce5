/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * runtime_ops.c - what the machine wants done
 *
 * A record is written at once: into the page cache that takes 4 us, a tenth of what it takes to
 * have another thread do it and to hear of it.  For the disk and for the bucket others wait.
 */
#include <string.h>

#include "base/clock.h"
#include "core/error.h"
#include "volume/runtime_private.h"

/* ------------------------------------------------------------------ journal */

static void written_back(struct runtime *rt, void *arg) {
    rt->writing_back = false;
}

static void write_back_job(void *arg) {
    struct runtime *rt = arg;

    journal_file_write_back(rt->journal);
    runtime_post_job(rt, &rt->write_back_event);
}

/* Else what a guest wrote without a flush would pile up for the next one, which waits for all of
 * it, and in the end for us, as the kernel lets nobody fill its memory. */
static void write_back(struct runtime *rt, size_t n) {
    rt->not_written_back += n;
    if (rt->not_written_back < JOURNAL_WRITE_BACK || rt->writing_back)
        return;
    rt->not_written_back = 0;
    rt->writing_back = runtime_job(rt, rt->volumes->local, write_back_job, rt) == 0;
}

static void journal_write(
    void *ctx,
    uint64_t place,
    uint64_t jseq,
    const void *header,
    size_t len,
    const struct volume_source *sources,
    uint32_t n
) {
    struct runtime *rt = ctx;
    struct written *written = &rt->written[rt->n_written++];
    size_t total = len;

    *written = (struct written){.jseq = jseq};
    rt->iov[0] = (struct iovec){(void *)header, len};
    for (uint32_t i = 0; i < n; i++) {
        const struct runtime_request *request = (const struct runtime_request *)sources[i].request;

        rt->iov[1 + i].iov_base = runtime_block(request, sources[i].first);
        rt->iov[1 + i].iov_len = (size_t)sources[i].n * BLOCK;
        journal_file_note(
            rt->journal, place + total, request->request.sums + sources[i].first, sources[i].n
        );
        total += rt->iov[1 + i].iov_len;
    }
    journal_file_write(rt->journal, place, rt->iov, 1 + (size_t)n, &written->err);
    write_back(rt, total);
}

void runtime_tell_written(struct runtime *rt) {
    while (rt->n_written) {
        struct written written = rt->written[0];

        memmove(rt->written, rt->written + 1, --rt->n_written * sizeof(written));
        volume_journal_written(rt->volume, written.jseq, written.err.code ? &written.err : NULL);
    }
}

static void synced(struct runtime *rt, void *arg) {
    volume_journal_synced(rt->volume, rt->syncing.err.code ? &rt->syncing.err : NULL);
}

static void sync_job(void *arg) {
    struct runtime *rt = arg;

    rt->syncing.err = S3PVE_ERROR_INIT;
    journal_file_sync(rt->journal, &rt->syncing.err);
    runtime_post_job(rt, &rt->syncing.event);
}

static void superblock_written(struct runtime *rt, void *arg) {
    volume_superblock_written(rt->volume, rt->superblock.err.code ? &rt->superblock.err : NULL);
}

static void superblock_job(void *arg) {
    struct runtime *rt = arg;

    rt->superblock.err = S3PVE_ERROR_INIT;
    journal_file_write_superblock(rt->journal, &rt->superblock.superblock, &rt->superblock.err);
    runtime_post_job(rt, &rt->superblock.event);
}

/* For the disk.  Without a thread for it there is no going on. */
static void start_io(struct runtime *rt, struct io *io, void (*job)(void *arg)) {
    if (runtime_job(rt, rt->volumes->local, job, rt) == 0)
        return;
    error_set(&io->err, S3PVE_E_NOMEM, "no thread for the journal");
    runtime_soon(rt, &io->event);
}

static void journal_sync(void *ctx) {
    struct runtime *rt = ctx;

    start_io(rt, &rt->syncing, sync_job);
}

static void superblock_write(void *ctx, const struct superblock *superblock) {
    struct runtime *rt = ctx;

    rt->superblock.superblock = *superblock;
    start_io(rt, &rt->superblock, superblock_job);
}

/* ------------------------------------------------------------------ uploads */

struct upload {
    struct runtime *runtime;
    struct event event;
    struct segment_id id;
    void *header; /* owned, as the pieces */
    size_t header_len, len;
    struct batch_piece *pieces;
    uint32_t n_pieces;
    bool stored;
    struct s3pve_error err; /* of the journal, which must have it */
};

static void upload_free(struct upload *upload) {
    free(upload->header);
    free(upload->pieces);
    free(upload);
}

static void upload_ended(struct runtime *rt, void *arg) {
    struct upload *upload = arg;

    if (upload->stored)
        volume_segment_stored(rt->volume, upload->id.seq);
    else if (upload->err.code)
        volume_fail(rt->volume, &upload->err);
    if (upload->stored)
        rt->counts.n_stored++;
    upload_free(upload);
}

/* What the node's disk damaged is nowhere else.  It is stored nevertheless, with the sum it should
 * have, so that it alone reads as an error. */
static void check(struct runtime *rt, uint64_t place, const uint8_t *data, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (!journal_file_is_right(
                rt->journal, place + (uint64_t)i * BLOCK, data + (size_t)i * BLOCK
            ))
            client_log(
                rt->store.client,
                S3PVE_LOG_ERROR,
                "volume",
                rt->store.folder,
                "this node's disk has damaged a block of the journal, which is lost"
            );
}

static int gather(struct upload *upload, uint8_t *object) {
    struct runtime *rt = upload->runtime;
    size_t at = upload->header_len;

    memcpy(object, upload->header, upload->header_len);
    for (uint32_t i = 0; i < upload->n_pieces; i++) {
        size_t len = (size_t)upload->pieces[i].n * BLOCK;
        uint64_t place = upload->pieces[i].ring % journal_file_ring_len(rt->journal);

        if (journal_file_read(rt->journal, place, object + at, len, &upload->err) < 0)
            return -1;
        check(rt, place, object + at, upload->pieces[i].n);
        at += len;
    }
    return 0;
}

void runtime_tell_waiting(struct runtime *rt, const struct s3pve_error *err) {
    LOCK_SCOPE(&rt->lock);

    rt->stats.waiting = *err;
}

/* Until it is there (D6); always the same bytes under that name (I3). */
static bool put(struct upload *upload, const uint8_t *object) {
    struct runtime *rt = upload->runtime;
    char name[SEGMENT_NAME];

    segment_name(name, &upload->id);
    for (unsigned n = 0;; n++) {
        struct s3pve_error err = S3PVE_ERROR_INIT;

        store_put(&rt->store, name, object, upload->len, &err);
        runtime_tell_waiting(rt, &err);
        if (!err.code)
            return true;
        if (!store_again(&rt->store, n))
            return false;
    }
}

static void upload_job(void *arg) {
    struct upload *upload = arg;
    struct runtime *rt = upload->runtime;
    uint8_t *object = NULL;

    for (unsigned n = 0; !(object = malloc(upload->len)) && store_again(&rt->store, n); n++)
        ;
    if (object && gather(upload, object) == 0)
        upload->stored = put(upload, object);
    if (upload->stored)
        fetch_keep(rt->volumes->cache, rt->params.uuid, &upload->id, object, upload->len);
    free(object);
    runtime_post_job(rt, &upload->event);
}

static struct upload *upload_new(
    struct runtime *rt,
    const struct segment_id *id,
    const void *header,
    size_t len,
    const struct batch_piece *pieces,
    uint32_t n
) {
    struct upload *upload = calloc(1, sizeof(*upload));

    if (!upload)
        return NULL;
    *upload = (struct upload){
        .runtime = rt,
        .event = {.fn = upload_ended, .arg = upload},
        .id = *id,
        .header = malloc(len),
        .header_len = len,
        .len = len,
        .pieces = calloc(n + 1, sizeof(*pieces)),
        .n_pieces = n,
    };
    if (!upload->header || !upload->pieces) {
        upload_free(upload);
        return NULL;
    }
    memcpy(upload->header, header, len);
    for (uint32_t i = 0; i < n; i++) {
        upload->pieces[i] = pieces[i];
        upload->len += (size_t)pieces[i].n * BLOCK;
    }
    return upload;
}

static void segment_put(
    void *ctx,
    const struct segment_id *id,
    const void *header,
    size_t len,
    const struct batch_piece *pieces,
    uint32_t n
) {
    struct runtime *rt = ctx;
    struct upload *upload = upload_new(rt, id, header, len, pieces, n);

    if (upload && runtime_job(rt, rt->volumes->uploads, upload_job, upload) == 0)
        return;
    if (upload)
        upload_free(upload);
    rt->out_of_memory = true;
}

/* -------------------------------------------------------------------- lease */

static bool lease_valid(void *ctx) {
    struct runtime *rt = ctx;

    return lease_term(rt->volumes->lease) == rt->term;
}

static void reclaimed(struct runtime *rt, void *arg) {
    rt->reclaiming = false;
    if (!rt->reclaim_error.code)
        rt->term = rt->reclaim_term;
    else if (rt->reclaim_error.code == S3PVE_E_CONFLICT)
        volume_fail(rt->volume, &rt->reclaim_error);
}

/* Who was about to take the volume fails now; and if somebody has it, we do. */
static void reclaim_job(void *arg) {
    struct runtime *rt = arg;

    rt->reclaim_error = S3PVE_ERROR_INIT;
    pthread_mutex_lock(&rt->root_lock);
    volume_reclaim(rt->volume, &store_ops, &rt->store, &rt->reclaim_error);
    pthread_mutex_unlock(&rt->root_lock);
    if (rt->reclaim_error.code && rt->reclaim_error.code != S3PVE_E_CONFLICT)
        store_again(&rt->store, 3);
    runtime_post_job(rt, &rt->reclaim_event);
}

void runtime_check_lease(struct runtime *rt) {
    uint64_t term = lease_term(rt->volumes->lease);

    if (!term || term == rt->term || rt->reclaiming || rt->volume->failure.code)
        return;
    rt->reclaim_term = term;
    rt->reclaiming = runtime_job(rt, rt->volumes->remote, reclaim_job, rt) == 0;
}

/* ------------------------------------------------------------------- others */

static void wake_at(void *ctx, int64_t at_ms) {
    struct runtime *rt = ctx;
    int64_t soonest_ms = clock_monotonic_ms() + WAKE_MIN_MS; /* it may wait for something else */

    rt->wake_ms = at_ms > soonest_ms ? at_ms : soonest_ms;
}

static void answer(void *ctx, struct volume_request *request, const struct s3pve_error *err) {
    struct runtime *rt = ctx;
    struct runtime_request *answered = (struct runtime_request *)request;

    runtime_clear(answered);
    rt->n_answered++;
    answered->done(answered, err);
}

const struct volume_ops runtime_volume_ops = {
    .answer = answer,
    .read = runtime_read_op,
    .edges = runtime_edges_op,
    .journal_write = journal_write,
    .journal_sync = journal_sync,
    .superblock_write = superblock_write,
    .segment_put = segment_put,
    .page_get = runtime_page_get,
    .checkpoint_put = runtime_checkpoint_put,
    .objects_delete = runtime_objects_delete,
    .lease_valid = lease_valid,
    .wake_at = wake_at,
};

void runtime_ops_init(struct runtime *rt) {
    rt->syncing.event.fn = synced;
    rt->superblock.event.fn = superblock_written;
    rt->reclaim_event.fn = reclaimed;
    rt->write_back_event.fn = written_back;
    runtime_map_init(rt);
}
