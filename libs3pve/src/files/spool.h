/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* spool.h - a file on the node for bytes that do not come in order; nameless, so a crash frees it
 */
#ifndef FILES_SPOOL_H
#define FILES_SPOOL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct s3pve_files;

struct spool {
    int fd;           /* -1: none */
    uint64_t charged; /* bytes counted against SPOOL_MAX: the largest size it had */
};

#define SPOOL_INIT ((struct spool){.fd = -1})

/* All return 0, or -errno; -ENOSPC also when all spools together would exceed SPOOL_MAX. */
int spool_open(struct s3pve_files *files, struct spool *ret_spool);
/* Is there space on the disk for so many bytes more?  Made at the cost of the cache, if need be. */
int spool_make_room(struct s3pve_files *files, const struct spool *spool, uint64_t bytes);
int spool_write(
    struct s3pve_files *files, struct spool *spool, const void *buf, size_t len, uint64_t offset
);
int spool_truncate(struct s3pve_files *files, struct spool *spool, uint64_t size);
/* Return: bytes read, less than @len only at the end; or -errno */
ssize_t spool_read(const struct spool *spool, void *buf, size_t len, uint64_t offset);
void spool_close(struct s3pve_files *files, struct spool *spool);

#endif
