/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* file.h - an open file: a stream to write, a reader to read, or a file on the node */
#ifndef FILES_FILE_H
#define FILES_FILE_H

#include "files/files.h"
#include "files/reader.h"
#include "files/stream.h"

struct s3pve_file {
    struct s3pve_files *files;
    struct node *node;     /* pinned; the inode the kernel opened */
    struct stream *stream; /* one reference; NULL: not for writing */
    int fd;                /* a local file's; -1 otherwise */
    bool appends, can_read;
    bool is_reader; /* counted as one */
    bool is_direct; /* a writer may change it: the kernel may keep no pages */

    pthread_mutex_t lock;  /* guards the pointer below */
    struct reader *reader; /* owned */
};

/* With `lock` held, before @node is written to: whoever reads it keeps its inode, and the name gets
 * a fresh one.  Return: 0 when nobody is in the way, -ESTALE when the name has to be looked up
 * again, or -ENOMEM. */
int file_make_way(struct s3pve_files *files, struct node *node);

#endif
