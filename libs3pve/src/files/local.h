/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* local.h - files in vzdump's working directories: ordinary files on the node, named by inode */
#ifndef FILES_LOCAL_H
#define FILES_LOCAL_H

#include "files/files.h"

/* Return: a descriptor, or -errno.  @flags as in open(2), with O_CREAT for a new file. */
int local_open(struct s3pve_files *files, struct node *node, int flags);
void local_close(struct s3pve_files *files, struct node *node, int fd);

/* Return: bytes written, or -errno; -ENOSPC also beyond LOCAL_MAX. */
ssize_t local_write(
    struct s3pve_files *files,
    struct node *node,
    int fd,
    const void *buf,
    size_t len,
    uint64_t offset
);
int local_truncate(struct s3pve_files *files, struct node *node, uint64_t size);

/* The name is gone; open descriptors stay good.  With `lock` held. */
void local_remove(struct s3pve_files *files, const struct node *node);

/* At start: whatever is there has nobody any more. */
void local_empty(struct s3pve_files *files);

#endif
