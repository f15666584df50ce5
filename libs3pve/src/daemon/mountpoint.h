/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* mountpoint.h - the folder we mount on: what is there, and making it ready */
#ifndef DAEMON_MOUNTPOINT_H
#define DAEMON_MOUNTPOINT_H

#include <stdbool.h>

#include "s3pve.h"

#define MOUNT_TYPE "fuse.s3pve"

struct mount_entry {
    unsigned major, minor; /* of its device */
    char type[64];
    char source[256];
};

/** mountpoint_find() - what is mounted right there, on top.  Never touches the file system itself,
 *  which may be dead.  Return: 1 with *ret_entry, 0: nothing, -1: cannot tell (errno) */
int mountpoint_find(const char *path, struct mount_entry *ret_entry);

/**
 * mountpoint_prepare() - make @path ready to be mounted on
 * @source: our name in the mount table; what carries it is left from a dead daemon and is removed,
 *          so the caller must hold the storage's lock
 * @ret_path: the same without symbolic links, as the mount table will show it; free() it
 *
 * Refuses a folder that is another mount or has files in it: mounting would hide them.
 */
int mountpoint_prepare(
    const char *path, const char *source, char **ret_path, struct s3pve_error *err
);

/** mkdir_all() - mkdir -p; what is made gets @mode.  Return: 0, or -1 (errno) */
int mkdir_all(const char *path, unsigned mode);

#endif
