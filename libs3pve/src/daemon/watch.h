/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* watch.h - is this storage still wanted here?  Proxmox VE never unmounts, so the daemon looks. */
#ifndef DAEMON_WATCH_H
#define DAEMON_WATCH_H

#include <stddef.h>

enum watch_state {
    WATCH_UNKNOWN, /* no file, or it cannot be read: the cluster file system is down */
    WATCH_WANTED,
    WATCH_GONE,      /* no section "s3: <storage>" */
    WATCH_DISABLED,  /* it says disable */
    WATCH_ELSEWHERE, /* its nodes do not include this one */
};

/** watch_judge() - what storage.cfg, as a zero-terminated text, says of @storage on @node */
enum watch_state watch_judge(const char *text, const char *storage, const char *node);

/** watch_file() - the same for the file at @path and this node; may block like the file system */
enum watch_state watch_file(const char *path, const char *storage);

/** watch_reason() - why a storage is not wanted, for people */
const char *watch_reason(enum watch_state state);

#endif
