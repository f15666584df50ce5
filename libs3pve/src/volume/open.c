/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* open.c - claim, list, headers, replay, commit; see DESIGN-disks.md 6 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/crc32c.h"
#include "core/error.h"
#include "volume/forward.h"
#include "volume/load.h"
#include "volume/machine.h"
#include "volume/swap.h"

struct opening {
    struct volume *volume;
    const struct volume_store *store;
    void *ctx;
    struct root *root;
    char *etag;
    struct superblock journal; /* of the journal on this node; seed 0: there is none */
    uint64_t ring_len;
    uint32_t nonce;
};

/* --------------------------------------------------------------------- root */

/* Nobody who lives has it. */
static int read_root(struct opening *o, const struct volume_node *node, struct s3pve_error *err) {
    struct volume_params *params = &o->volume->params;

    if (root_read(o->store, o->ctx, o->root, o->etag, err) < 0)
        return -1;
    if (root_check_writable(o->root, err) < 0 ||
        root_check_owner(o->store, o->ctx, o->root, o->etag, node, err) < 0)
        return -1;
    memcpy(params->uuid, o->root->uuid, UUID_LEN);
    params->size = o->root->size;
    return 0;
}

/* ------------------------------------------------------------------ journal */

static int read_journal(struct opening *o, struct s3pve_error *err) {
    uint8_t blocks[2 * BLOCK];
    struct superblock a, b;
    bool has_a, has_b;

    if (o->store->superblocks_read(o->ctx, blocks, &o->ring_len, err) < 0)
        return -1;
    has_a = superblock_decode(&a, blocks) && memcmp(a.uuid, o->root->uuid, UUID_LEN) == 0;
    has_b = superblock_decode(&b, blocks + BLOCK) && memcmp(b.uuid, o->root->uuid, UUID_LEN) == 0;
    if (has_a && (!has_b || a.generation > b.generation))
        o->journal = a;
    else if (has_b)
        o->journal = b;
    if (o->journal.seed && o->journal.ring_len != o->ring_len)
        return error_set(err, S3PVE_E_CORRUPT, "the journal is not as long as its superblock says");
    return 0;
}

static int write_superblock(struct opening *o, struct s3pve_error *err) {
    o->journal.generation++;
    return o->store->superblock_write(o->ctx, &o->journal, err);
}

static void new_journal(struct opening *o) {
    o->journal = (struct superblock){.ring_len = o->ring_len, .generation = o->journal.generation};
    memcpy(o->journal.uuid, o->root->uuid, UUID_LEN);
    while (!o->journal.seed)
        o->journal.seed = o->store->random(o->ctx);
}

static const struct root_epoch *last_epoch(const struct opening *o) {
    return o->root->n_epochs ? &o->root->epochs[o->root->n_epochs - 1] : NULL;
}

/* (I11) The records are of the epoch that was committed last. */
static bool is_ours(const struct opening *o) {
    const struct root_epoch *last = last_epoch(o);

    return o->journal.seed && last &&
           (last->nonce == o->journal.nonce ||
            (o->journal.next_nonce && last->nonce == o->journal.next_nonce));
}

/* -------------------------------------------------------------------- claim */

/* An earlier claim of ours that is not committed, as far as we know: its nonce stays, as the commit
 * may still land, and the journal has to know it then (I11). */
static void choose_nonce(struct opening *o) {
    const struct root_owner *owner = &o->root->owner;

    if (owner->state == ROOT_CLAIMING && owner->nonce == o->journal.next_nonce)
        o->nonce = owner->nonce;
    while (!o->nonce)
        o->nonce = o->store->random(o->ctx);
}

static int claim(struct opening *o, const struct volume_node *node, struct s3pve_error *err) {
    struct root_owner *owner = &o->root->owner;

    choose_nonce(o);
    if (!o->journal.seed)
        new_journal(o);
    if (is_ours(o))
        o->journal.nonce = last_epoch(o)->nonce; /* which may have been noted for its claim only */
    o->journal.next_nonce = o->nonce;
    if (write_superblock(o, err) < 0)
        return -1;
    owner->state = ROOT_CLAIMING;
    owner->epoch++;
    owner->nonce = o->nonce;
    strcpy(owner->node, node->name);
    strcpy(owner->incarnation, node->incarnation);
    return root_swap(o->store, o->ctx, o->root, o->etag, err);
}

/* ---------------------------------------------------------------------- log */

/* Segments that were stored too late to be part of the volume: dead from the start. */
static int note_strays(struct opening *o, const struct forward *log, struct s3pve_error *err) {
    for (size_t i = 0; i < log->n; i++) {
        struct table_row row = {
            .id = log->ids[i], .type = OBJECT_DATA, .died_seq = log->ids[i].seq};
        const struct root_epoch *epoch = root_epoch_of(o->root, row.id.seq);

        if (row.id.seq <= o->volume->tip && row.id.epoch == epoch->epoch &&
            row.id.nonce == epoch->nonce)
            continue;
        if (table_add(&o->volume->table, &row) < 0)
            return error_set(err, S3PVE_E_NOMEM, "no memory for the log");
    }
    return 0;
}

/*
 * Two nodes that had the volume at the same time, each with its own idea of the root, or a root
 * from before: on a server that keeps conditions it cannot be.  Who was faster than us is no
 * stranger.
 */
static int check_fork(const struct opening *o, const struct forward *log, struct s3pve_error *err) {
    const struct segment_id *stranger = forward_stranger(log);
    _cleanup_(root_clear) struct root now = {0};
    char etag[ETAG_ROOM], name[SEGMENT_NAME];

    if (!stranger)
        return 0;
    if (root_read(o->store, o->ctx, &now, etag, err) < 0)
        return -1;
    if (now.owner.epoch != o->root->owner.epoch || now.owner.nonce != o->nonce)
        return error_set(err, S3PVE_E_CONFLICT, "node '%s' was faster", now.owner.node);
    segment_name(name, stranger);
    return error_set(
        err,
        S3PVE_E_CORRUPT,
        "%s is of an owner whom volume.json does not know: two nodes have written to the volume; "
        "what volume.json knows is whole, and opens when segments of others are deleted",
        name
    );
}

/* Up to the first segment that is missing: the cut. */
static int roll_forward(struct opening *o, struct s3pve_error *err) {
    _cleanup_(forward_clear
    ) struct forward log = {.volume = o->volume, .store = o->store, .ctx = o->ctx, .root = o->root};

    if (load_checkpoint(o->volume, o->store, o->ctx, o->root, err) < 0 ||
        forward_list(&log, err) < 0 || check_fork(o, &log, err) < 0 || forward_roll(&log, err) < 0)
        return -1;
    if (note_strays(o, &log, err) < 0)
        return -1;
    return load_strays(o->volume, o->store, o->ctx, err);
}

/* ------------------------------------------------------------------- replay */

struct replay {
    uint64_t position;  /* in the ring, of the next record */
    uint64_t jseq;      /* which it must be */
    uint32_t epoch;     /* at least */
    uint64_t n_records; /* kept, beyond the cut */
    uint8_t *data;      /* owned; JRECORD_DATA_MAX blocks */
};

static bool sums_are_right(const struct jrecord *record, const uint8_t *data) {
    for (uint32_t i = 0; i < record->n_data; i++)
        if (crc32c(0, data + (size_t)i * BLOCK, BLOCK) != record->sums[i])
            return false;
    return true;
}

/* The header at the next position.  1, 0: no record that goes on from the last, -1: error. */
static int read_header(
    struct opening *o, struct replay *replay, struct jrecord *record, struct s3pve_error *err
) {
    static _Thread_local uint8_t header[JRECORD_HEADER_MAX];
    uint64_t place = replay->position % o->ring_len, to_end = o->ring_len - place;
    size_t len = to_end < JRECORD_HEADER_MAX ? (size_t)to_end : JRECORD_HEADER_MAX;

    if (o->store->ring_read(o->ctx, place, header, len, err) < 0)
        return -1;
    return jrecord_decode(record, o->journal.seed, o->root->uuid, header, len) &&
           record->jseq == replay->jseq && record->epoch >= replay->epoch &&
           record->epoch < o->root->owner.epoch && jrecord_len(record) <= to_end;
}

static int read_data(
    struct opening *o, struct replay *replay, const struct jrecord *record, struct s3pve_error *err
) {
    uint64_t place = replay->position % o->ring_len + record->header_len;

    if (o->store->ring_read(o->ctx, place, replay->data, (size_t)record->n_data * BLOCK, err) < 0)
        return -1;
    return sums_are_right(record, replay->data);
}

/* The record is dirty again: it goes into a batch of the new epoch. */
static int keep_record(struct opening *o, struct replay *replay, struct s3pve_error *err) {
    if (journal_replay(o->volume, replay->position) < 0)
        return error_set(err, S3PVE_E_NOMEM, "no memory for the journal");
    replay->n_records++;
    return 0;
}

/* 1: a record more, 0: no more, -1: error.  The record goes through volume->record. */
static int replay_one(struct opening *o, struct replay *replay, struct s3pve_error *err) {
    struct jrecord *record = &o->volume->record;
    int rc = read_header(o, replay, record, err);

    if (rc <= 0)
        return rc;
    /* a pad's, too: behind it may be what an earlier epoch left there, whose own pad was lost */
    replay->epoch = record->epoch;
    if (record->type == JRECORD_PAD) {
        replay->position += o->ring_len - replay->position % o->ring_len;
        return 1;
    }
    rc = read_data(o, replay, record, err);
    if (rc <= 0)
        return rc;
    if (record->jseq > o->volume->jseq_applied) {
        if (!replay->n_records && record->jseq != o->volume->jseq_applied + 1)
            return error_set(err, S3PVE_E_CORRUPT, "the journal does not go on from the bucket");
        if (keep_record(o, replay, err) < 0)
            return -1;
    }
    replay->position += jrecord_len(record);
    replay->epoch = record->epoch;
    replay->jseq++;
    return 1;
}

/* What is there may be half of a record, which what is written over it must not make whole when the
 * power fails again: so no zeroes, as headers end with, and nothing else before it is on the disk.
 */
static int wipe(struct opening *o, uint64_t place, struct s3pve_error *err) {
    uint8_t block[BLOCK];

    memset(block, 0xff, sizeof(block));
    return o->store->ring_write(o->ctx, place, block, sizeof(block), err);
}

/* All of it, from where the superblock says; where it ends the ring goes on. */
static int replay_journal(struct opening *o, struct s3pve_error *err) {
    _free_ uint8_t *data = malloc((size_t)JRECORD_DATA_MAX * BLOCK);
    struct replay replay = {
        .position = o->journal.tail, .jseq = o->journal.tail_jseq, .data = data};
    struct ring *ring = &o->volume->ring;
    int rc = 1;

    if (!data)
        return error_set(err, S3PVE_E_NOMEM, "no memory for the journal");
    *ring = (struct ring){.len = o->ring_len, .kept = o->journal.tail, .tail = o->journal.tail};
    for (unsigned pads = 0; rc > 0 && pads < 2;) {
        uint64_t jseq = replay.jseq;

        rc = replay_one(o, &replay, err);
        pads = replay.jseq == jseq ? pads + 1 : 0; /* a ring of nothing but padding is none */
    }
    if (rc < 0)
        return -1;
    ring->head = replay.position;
    if (!replay.n_records)
        ring->tail = ring->head;
    else
        ring->tail = o->volume->first->ring_first;
    o->volume->jseq = replay.n_records ? replay.jseq - 1 : o->volume->jseq_applied;
    return wipe(o, ring_place(ring, ring->head), err);
}

/* A journal of another epoch is not replayed (I11): what only it has is kept aside. */
static int recover_journal(struct opening *o, struct s3pve_error *err) {
    if (is_ours(o))
        return replay_journal(o, err);
    if (o->journal.nonce && o->store->journal_set_aside(o->ctx, o->journal.tail_jseq, 0, err) < 0)
        return -1;
    new_journal(o);
    o->volume->ring = (struct ring){.len = o->ring_len};
    o->volume->jseq = o->volume->jseq_applied;
    return 0;
}

/* ------------------------------------------------------------------- commit */

static int commit(struct opening *o, struct s3pve_error *err) {
    struct volume *volume = o->volume;

    if (root_add_epoch(o->root, volume->tip + 1) < 0)
        return error_set(err, S3PVE_E_NOMEM, "too many openings without a checkpoint");
    o->root->owner.state = ROOT_OPEN;
    if (root_swap(o->store, o->ctx, o->root, o->etag, err) < 0)
        return -1;
    o->journal.epoch = o->root->owner.epoch;
    o->journal.nonce = o->nonce;
    o->journal.next_nonce = 0;
    o->journal.tail = ring_place(&volume->ring, volume->ring.tail);
    o->journal.tail_jseq = journal_tail_jseq(volume);
    if (write_superblock(o, err) < 0)
        return -1;
    ring_keep(&volume->ring, volume->ring.tail);
    return 0;
}

static void start(struct opening *o) {
    struct volume *volume = o->volume;

    volume->epoch = o->root->owner.epoch;
    volume->nonce = o->nonce;
    volume->seed = o->journal.seed;
    volume->generation = o->journal.generation;
    volume->jseq_written = volume->jseq;
    volume->stored = volume->tip;
    volume->jseq_stored = volume->jseq_applied;
    volume->checkpoint_wanted = o->root->n_epochs > ROOT_EPOCHS_MANY;
    memcpy(volume->sealed_hash, volume->tip_hash, HASH_LEN);
    machine_move(volume);
}

static int open_steps(struct opening *o, const struct volume_node *node, struct s3pve_error *err) {
    if (read_root(o, node, err) < 0 || read_journal(o, err) < 0)
        return -1;
    if (claim(o, node, err) < 0 || roll_forward(o, err) < 0 || recover_journal(o, err) < 0)
        return -1;
    if (commit(o, err) < 0)
        return -1;
    start(o);
    return 0;
}

/* What seems to be missing may have been deleted by who took the volume from us. */
static void blame_rival(struct opening *o, struct s3pve_error *err) {
    _cleanup_(root_clear) struct root now = {0};
    char etag[ETAG_ROOM];

    if (root_read(o->store, o->ctx, &now, etag, NULL) < 0 || strcmp(etag, o->etag) == 0)
        return;
    error_set(
        err, S3PVE_E_CONFLICT, "node '%s' opened the volume at the same time", now.owner.node
    );
}

int volume_open(
    struct volume *volume,
    const struct volume_store *store,
    void *ctx,
    const struct volume_node *node,
    struct root *root,
    char etag[ETAG_ROOM],
    struct s3pve_error *err
) {
    struct opening o = {.volume = volume, .store = store, .ctx = ctx, .root = root, .etag = etag};
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    int rc = open_steps(&o, node, &cause);

    if (rc < 0 && (cause.code == S3PVE_E_CORRUPT || cause.code == S3PVE_E_NOT_FOUND))
        blame_rival(&o, &cause);
    if (rc < 0 && err)
        *err = cause;
    return rc;
}
