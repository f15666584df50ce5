/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* file.h - what a change needs of those who have the file open */
#ifndef FILES_FILE_H
#define FILES_FILE_H

#include "files/files.h"

/* With `lock` held, before @node is written to: whoever reads it keeps its inode, and the name gets
 * a fresh one.  Return: 0 when nobody is in the way, -ESTALE when the name has to be looked up
 * again, or -ENOMEM. */
int file_make_way(struct s3pve_files *files, struct node *node);

#endif
