/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "base/crc32c.h"
#include "core/error.h"
#include "images/audit.h"

#define READ_BLOCKS 1024u /* of data, at once */

/* One segment, looked at by a thread of the crew. */
struct check {
    struct crew_job job;
    struct audit *audit;
    struct table_row row; /* the segment; header_len and total are what it should have */
    struct s3pve_error why;
    uint32_t n_bad, first_bad; /* blocks of its data */
    uint64_t disk_block;       /* where the first one belongs */
    bool begun;
};

struct checks {
    struct check checks[INSPECT_THREADS];
    uint32_t n;
};

/* --------------------------------------------------------------------- data */

static uint64_t disk_block(const struct segment *segment, uint32_t data) {
    for (uint32_t i = 0; i < segment->n_extents; i++) {
        const struct extent *extent = &segment->extents[i];

        if (extent->kind == EXTENT_DATA && data - extent->data < extent->n)
            return extent->block + data - extent->data;
    }
    return 0;
}

static uint32_t count_bad(
    const struct segment *segment,
    uint32_t first,
    uint32_t n,
    const uint8_t *data,
    uint32_t *ret_bad
) {
    uint32_t n_bad = 0;

    for (uint32_t i = 0; i < n; i++)
        if (crc32c(0, data + (size_t)i * BLOCK, BLOCK) != segment->sums[first + i] && !n_bad++)
            *ret_bad = first + i;
    return n_bad;
}

/* What is wrong is read once more: it may have been so on its way only. */
static int check_some(
    struct check *check, const struct segment *segment, uint32_t first, uint32_t n, uint8_t *data
) {
    uint64_t at = segment->header_len + (uint64_t)first * BLOCK;
    char name[SEGMENT_NAME];
    uint32_t bad = 0, n_bad = 1;

    segment_name(name, &segment->id);
    for (unsigned i = 0; i < 2 && n_bad; i++) {
        if (inspect_get(&check->audit->inspect, name, at, data, (size_t)n * BLOCK, &check->why) < 0)
            return -1;
        n_bad = count_bad(segment, first, n, data, &bad);
    }
    if (n_bad && !check->n_bad) {
        check->first_bad = bad;
        check->disk_block = disk_block(segment, bad);
    }
    check->n_bad += n_bad;
    return 0;
}

static void check_data(struct check *check, const struct segment *segment) {
    _free_ uint8_t *data = malloc((size_t)READ_BLOCKS * BLOCK);

    if (!data) {
        error_set(&check->why, S3PVE_E_NOMEM, "no memory for data");
        return;
    }
    for (uint32_t first = 0; first < segment->n_data; first += READ_BLOCKS) {
        uint32_t left = segment->n_data - first;

        if (check_some(check, segment, first, left < READ_BLOCKS ? left : READ_BLOCKS, data) < 0)
            return;
    }
}

static void check_segment(void *arg) {
    _cleanup_(segment_clear) struct segment segment = {0};
    struct check *check = arg;

    if (inspect_header(
            &check->audit->inspect,
            &check->row.id,
            check->row.header_len,
            &segment,
            NULL,
            &check->why
        ) < 0)
        return;
    if (segment.header_len != check->row.header_len || segment.n_data != check->row.total)
        error_set(
            &check->why,
            S3PVE_E_CORRUPT,
            "it has %" PRIu32 " blocks of data, and should have %" PRIu32,
            segment.n_data,
            check->row.total
        );
    else if (check->audit->data)
        check_data(check, &segment);
}

/* ------------------------------------------------------------------- checks */

static int end_check(struct check *check, struct s3pve_error *err) {
    struct audit *audit = check->audit;
    char name[SEGMENT_NAME];

    if (!check->begun)
        return 0;
    crew_wait(&audit->inspect.crew, &check->job);
    check->begun = false;
    if (check->n_bad) {
        segment_name(name, &check->row.id);
        audit_find(
            audit,
            name,
            "%" PRIu32 " of its %" PRIu32
            " blocks of data are damaged, the first one is block %" PRIu32
            ", of the disk's block %" PRIu64,
            check->n_bad,
            check->row.total,
            check->first_bad,
            check->disk_block
        );
    }
    return check->why.code ? audit_blame(audit, &check->row, &check->why, err) : 0;
}

static int begin_check(
    struct checks *checks, struct audit *audit, const struct table_row *row, struct s3pve_error *err
) {
    struct check *check = &checks->checks[checks->n++ % INSPECT_THREADS];

    if (end_check(check, err) < 0)
        return -1;
    *check = (struct check){.audit = audit, .row = *row, .begun = true};
    crew_start(&audit->inspect.crew, &check->job, check_segment, check);
    return 0;
}

/* All that was begun, whatever came before. */
static int end_checks(struct checks *checks, int rc, struct s3pve_error *err) {
    for (uint32_t i = 0; i < INSPECT_THREADS; i++, checks->n++)
        if (end_check(&checks->checks[checks->n % INSPECT_THREADS], rc < 0 ? NULL : err) < 0)
            rc = -1;
    return rc;
}

int audit_segments(struct audit *audit, struct s3pve_error *err) {
    _free_ struct checks *checks = calloc(1, sizeof(*checks));
    int rc = 0;

    if (!checks)
        return error_set(err, S3PVE_E_NOMEM, "no memory for segments");
    for (uint32_t i = 0; i < audit->n_order && rc == 0; i++) {
        const struct table_row *row = &audit->page.table.rows[audit->order[i]];

        if (row->type != OBJECT_MAP && row->live &&
            audit->rows[audit->order[i]].size != AUDIT_MISSING)
            rc = begin_check(checks, audit, row, err);
    }
    return end_checks(checks, rc, err);
}

/* ---------------------------------------------------------------------- log */

/* Where the log is: after which segment, if that could be read. */
struct tip {
    bool known;
    uint64_t seq, jseq;
    uint8_t hash[HASH_LEN];
};

static int check_next(
    struct audit *audit,
    struct tip *tip,
    struct table_row *row,
    uint64_t size,
    struct s3pve_error *err
) {
    _cleanup_(segment_clear) struct segment segment = {0};
    struct s3pve_error why = S3PVE_ERROR_INIT;
    uint8_t hash[HASH_LEN];
    bool known = tip->known;
    char name[SEGMENT_NAME];

    tip->known = false;
    if (inspect_next_header(&audit->inspect, &row->id, &segment, hash, &why) < 0)
        return audit_blame(audit, row, &why, err);
    segment_name(name, &row->id);
    if (known && !forward_follows(&segment, tip->seq, tip->jseq, tip->hash))
        audit_find(audit, name, "it does not go on from the segment before");
    if (size != segment.header_len + (uint64_t)segment.n_data * BLOCK)
        audit_find(
            audit,
            name,
            "it has %" PRIu64 " bytes instead of %" PRIu64,
            size,
            segment.header_len + (uint64_t)segment.n_data * BLOCK
        );
    row->header_len = segment.header_len;
    row->total = segment.n_data;
    *tip = (struct tip){.known = true, .seq = row->id.seq, .jseq = segment.jseq_last};
    memcpy(tip->hash, hash, HASH_LEN);
    return 0;
}

/* The last segment that there must be; beyond it the first that is missing is the end. */
static uint64_t last_seq(const struct root *root) {
    const struct root_epoch *last = root->epochs + root->n_epochs - 1;

    if (!root->n_epochs)
        return root->head_seq;
    return last->last ? last->last : last->first - 1;
}

static int audit_one(
    struct audit *audit,
    struct checks *checks,
    struct tip *tip,
    uint64_t seq,
    struct s3pve_error *err
) {
    const struct segment_id *id = forward_find(&audit->log, seq);
    const struct root_epoch *epoch = root_epoch_of(audit->log.root, seq);
    struct table_row row = {.type = OBJECT_DATA, .id.seq = seq};
    uint64_t *size;

    if (!id) {
        tip->known = false;
        if (epoch)
            row.id = (struct segment_id){seq, epoch->epoch, epoch->nonce};
        return epoch ? audit_missing(audit, &row, err) : 0;
    }
    row.id = *id;
    size = &audit->sizes[id - audit->log.ids];
    audit_count_log(audit, *size);
    if (check_next(audit, tip, &row, *size, err) < 0)
        return -1;
    *size = AUDIT_MISSING; /* it is accounted for */
    return audit->data && tip->known ? begin_check(checks, audit, &row, err) : 0;
}

int audit_log(struct audit *audit, struct s3pve_error *err) {
    _free_ struct checks *checks = calloc(1, sizeof(*checks));
    const struct root *root = &audit->inspect.idle.root;
    struct tip tip = {.known = audit->has_page, .seq = root->head_seq, .jseq = audit->page.jseq};
    uint64_t seq = root->head_seq, last = last_seq(root);
    int rc = 0;

    if (!checks)
        return error_set(err, S3PVE_E_NOMEM, "no memory for segments");
    memcpy(tip.hash, audit->page.hash, HASH_LEN);
    while (rc == 0 && (++seq <= last || forward_find(&audit->log, seq)))
        rc = audit_one(audit, checks, &tip, seq, err);
    rc = end_checks(checks, rc, err);
    for (size_t i = 0; i < audit->log.n; i++) {
        const struct segment_id *id = &audit->log.ids[i];

        if (audit->sizes[i] != AUDIT_MISSING)
            audit_count_left(audit, id, audit->sizes[i]);
        if (rc == 0 && !forward_knows(root, id))
            rc = audit_stranger(audit, id, err);
    }
    return rc;
}
