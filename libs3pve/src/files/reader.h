/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * reader.h - an open file being read: pinned to one version, ahead of who reads in order (M4)
 *
 * Reads that follow each other open a window of chunks that are fetched in parallel ahead of them;
 * it grows while it is used.  The kernel sends its own read-ahead as several requests at once, so
 * "follow" allows for some disorder.  All other reads go through the blocks.
 */
#ifndef FILES_READER_H
#define FILES_READER_H

#include "files/files.h"

struct reader;

/* With `lock` held; @node is published.  @may_repin: the kernel has no pages of it.  NULL without
 * memory. */
struct reader *reader_new(struct s3pve_files *files, struct node *node, bool may_repin);

/* Give up what is under way and return at once; its memory goes when the last transfer has ended.
 * Takes `lock`.  Returns NULL. */
struct reader *reader_close(struct reader *reader);

/* Keep it in memory, closed or not, until released.  NULL is fine. */
struct reader *reader_hold(struct reader *reader);
void reader_release(struct reader *reader);

/* Return: bytes, fewer than @len only at the end; or -errno.  -EIO once the pinned version is gone.
 */
ssize_t reader_read(struct reader *reader, void *buf, size_t len, uint64_t offset);

/* Is it pinned to what @node has now?  With `lock` held. */
bool reader_is_of(const struct reader *reader, const struct node *node);

#endif
