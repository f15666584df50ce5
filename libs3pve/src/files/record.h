/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * record.h - multipart uploads that must be aborted should we die: one small file each
 *
 * A record is on disk before the upload's first part is sent, and goes when the upload has been
 * completed or is known to be aborted.  What is left when the next daemon starts, or after an
 * outage, is aborted then.
 */
#ifndef FILES_RECORD_H
#define FILES_RECORD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "s3pve.h"

struct s3pve_files;
struct record; /* of a live upload */

struct records {
    pthread_mutex_t lock; /* guards everything below */
    struct record *live;
    uint64_t last_no;
};

void records_init(struct records *records);
void records_clear(struct records *records); /* forgets what is live; the files stay */

/* Write down @key and @upload_id.  Return: 0, or -1 with @err set. */
int record_new(
    struct s3pve_files *files,
    const char *key,
    const char *upload_id,
    struct record **ret_record,
    struct s3pve_error *err
);

/* The upload is over.  @settled: nothing of it can be left; otherwise the file stays to be dealt
 * with later.  Frees; NULL is fine.  Returns NULL. */
struct record *record_end(struct s3pve_files *files, struct record *record, bool settled);

/* Abort every recorded upload that is not live.  Stops at a store that is dead.
 * Return: how many were tried in vain. */
unsigned records_abort_left(struct s3pve_files *files);

#endif
