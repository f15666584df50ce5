/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * audit.h - does what the bucket has of a volume fit together?
 *
 *     root -> the checkpoint's table -> listing -> log -> segments -> pages -> counts
 *
 *     audit.c           the way through, findings, and whether what is missing is still missed
 *     audit_list.c      objects that are there, and those that should be
 *     audit_segment.c   headers, data, the order of the log
 *     audit_map.c       MAP objects, pages, and how much of each object lives
 */
#ifndef IMAGES_AUDIT_H
#define IMAGES_AUDIT_H

#include "images/inspect.h"
#include "volume/forward.h"

#define AUDIT_MISSING UINT64_MAX /* as a size */

/* What became of a row of the table. */
struct audit_row {
    uint64_t size;  /* of its object, by the listing */
    uint32_t live;  /* blocks or pages that are pointed to */
    uint32_t n_bad; /* pages in it that were found bad */
};

struct audit {
    struct inspect inspect; /* first */
    bool data;
    void (*each)(void *ctx, const char *key, const char *what);
    void *ctx;
    struct s3pve_volume_health *health;

    struct root_page page; /* owned, as these; empty without a checkpoint */
    uint32_t own_row;
    bool has_page; /* there is none, or it was read */
    bool bad_pages;
    struct audit_row *rows;
    uint32_t *order; /* rows by the names of their objects */
    uint32_t n_order, at;
    struct forward log;
    uint64_t *sizes; /* of the log's objects */
    size_t sizes_room;

    /* What the root said when it was last looked whether something is still needed. */
    char now_etag[ETAG_ROOM];
    struct root_page now;
    uint64_t now_seq;
};

/* @name: below the data directory; NULL: the root. */
void audit_find(struct audit *audit, const char *name, const char *fmt, ...) _printf_(3, 4);

/* What was wrong with that object: found, if it is its fault.  Return: 0, or -1: it is not. */
int audit_blame(
    struct audit *audit,
    const struct table_row *row,
    const struct s3pve_error *why,
    struct s3pve_error *err
);

/* The object of @row is not there: found, if it still should.  Return: 0, or -1 with @err set. */
int audit_missing(struct audit *audit, const struct table_row *row, struct s3pve_error *err);

/* The root does not know its owner: found, unless there is another root, and he may be new. */
int audit_stranger(struct audit *audit, const struct segment_id *id, struct s3pve_error *err);

/* An object of the log that is part of the volume, and one that is not. */
void audit_count_log(struct audit *audit, uint64_t size);
void audit_count_left(struct audit *audit, const struct segment_id *id, uint64_t size);

/* Each of these returns 0, or -1 with @err set when it could not look. */
int audit_list(struct audit *audit, struct s3pve_error *err);
int audit_log(struct audit *audit, struct s3pve_error *err);
int audit_segments(struct audit *audit, struct s3pve_error *err);
int audit_map(struct audit *audit, struct s3pve_error *err);

#endif
