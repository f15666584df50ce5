/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * journal_file.h - the journal as files of one folder on the node; DESIGN-disks.md 5
 *
 *     lock      locked while a process has the volume open
 *     journal   two superblocks and the ring, full of zeroes when it is made
 *     journal-lost-...   what was set aside, see open.h
 *
 * Records go into the page cache: that alone survives the process (D2) and costs no wait; the disk
 * is waited for by a sync.  Thread-safe, but for set_aside and remove.
 */
#ifndef VOLUME_JOURNAL_FILE_H
#define VOLUME_JOURNAL_FILE_H

#include <sys/uio.h>

#include "volume/jrecord.h"

struct journal_file;

/*
 * @folder is made when missing, below one that exists.  @ring_len: bytes of a ring that has yet to
 * be made, with its first superblock: who finds that the volume is another's has not filled a disk
 * with zeroes; until then both superblocks are.  One that is there keeps its length.
 * Return: 0, or -1 (CONFLICT: another process has it; NO_SPACE, IO, NOMEM).
 */
int journal_file_open(
    const char *folder, uint64_t ring_len, struct journal_file **ret_file, struct s3pve_error *err
);
struct journal_file *journal_file_close(struct journal_file *file); /* NULL is fine; returns it */

uint64_t journal_file_ring_len(const struct journal_file *file); /* bytes */

/* --- superblocks */
int journal_file_superblocks(
    struct journal_file *file, uint8_t blocks[2 * BLOCK], struct s3pve_error *err
);
int journal_file_write_superblock(
    struct journal_file *file, const struct superblock *superblock, struct s3pve_error *err
); /* and sync it, and nothing else */

/* --- the ring; @place: bytes from its start.  @iov is used up. */
int journal_file_write(
    struct journal_file *file, uint64_t place, struct iovec *iov, size_t n, struct s3pve_error *err
);
int journal_file_read(
    struct journal_file *file, uint64_t place, void *data, size_t len, struct s3pve_error *err
);
/* What the @n blocks at @place have been written as; from then on get and peek check it.  Only of
 * places that nobody reads. */
void journal_file_note(struct journal_file *file, uint64_t place, const uint32_t *sums, uint32_t n);
/* Whole blocks that have their sums, or an error (D7). */
int journal_file_get(
    struct journal_file *file, uint64_t place, void *data, uint32_t n, struct s3pve_error *err
);
/* If that is possible without waiting for the disk.  Return: whether it was. */
bool journal_file_peek(struct journal_file *file, uint64_t place, void *data, uint32_t n);
/* Does the block at @data have its sum, as far as it is known? */
bool journal_file_is_right(const struct journal_file *file, uint64_t place, const void *data);
int journal_file_sync(struct journal_file *file, struct s3pve_error *err);
/* Have the kernel begin to write what it has, so that a sync finds little to do. */
void journal_file_write_back(struct journal_file *file);

/* Keep the journal under a name with @jseq in it; go on with an empty one. */
int journal_file_set_aside(struct journal_file *file, uint64_t jseq, struct s3pve_error *err);

/* The bucket has everything: it becomes a spare one, see spare.h, or its space is given back.  Only
 * close() may follow. */
void journal_file_remove(struct journal_file *file);

#endif
