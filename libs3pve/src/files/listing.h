/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* listing.h - how the tree learns what others did: directories are listed again when they are old
 */
#ifndef FILES_LISTING_H
#define FILES_LISTING_H

#include "files/files.h"

/*
 * Call before answering from @dir's children, with `lock` held; it is dropped while waiting, so
 * @dir must be pinned.  Waits for a listing at most LISTING_WAIT_MS, LISTING_FIRST_MS when there
 * never was one, and not at all for a directory known while the store is offline.
 *
 * Return: 0 when the children can be used, though perhaps old ones; -EIO when nothing is known;
 * -EINTR; -ENOENT when the directory has gone.
 */
int listing_refresh(struct s3pve_files *files, struct node *dir);

/* A directory we have just made: its content is known. */
void listing_mark_known(struct s3pve_files *files, struct node *dir);

#endif
