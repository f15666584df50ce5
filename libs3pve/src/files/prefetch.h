/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * prefetch.h - who reads one backup's notes will read those of all
 *
 * Proxmox VE lists backups with the first line of their notes, file after file: a round trip each.
 * With the first one read, the others of its directory are fetched side by side, into the blocks.
 */
#ifndef FILES_PREFETCH_H
#define FILES_PREFETCH_H

#include "files/files.h"

/* With `lock` held: @node is being opened for reading.  Each version is fetched once. */
void prefetch_beside(struct s3pve_files *files, struct node *node);

#endif
