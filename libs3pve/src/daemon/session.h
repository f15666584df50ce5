/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * session.h - the mount
 *
 *     session_open() --> mounted --session_leave()--> unmounted --session_close()--> gone
 *                           |                            ^
 *                           +-- umount(8) by the admin --+
 */
#ifndef DAEMON_SESSION_H
#define DAEMON_SESSION_H

#include "base/cleanup.h"
#include "s3pve-volume.h"

struct session;

struct session_options {
    const char *name;              /* the storage's in paths */
    const char *mountpoint;        /* ready, see mountpoint.h */
    struct s3pve_client *client;   /* borrowed */
    struct s3pve_files *files;     /* borrowed */
    struct s3pve_volumes *volumes; /* borrowed; NULL: images/ is a directory like others */
    int ended_fd;                  /* borrowed; an eventfd that gets 1 when the mount is gone */
    bool debug;                    /* print every request */
};

/** session_source() - what storage @name is called in the mount table; @text has 160 bytes */
void session_source(const char *name, char *text);

/** session_open() - mount and serve.  Return: 0 when the kernel has been answered, or -1 (IO, ...)
 */
int session_open(
    const struct session_options *options, struct session **ret_session, struct s3pve_error *err
);

/** session_leave() - unmount; while something is open only with @force: new opens fail then, and
 *  what is open stays until session_close().  Return: 0, or -EBUSY, or another negative errno */
int session_leave(struct session *session, bool force);

/** session_close() - unmount if need be; files being closed get STOP_GRACE_MS to finish, then all
 *  that waits is cancelled (volumes by s3pve_volumes_stop()) and what is still open is dropped.
 *  Returns NULL. */
struct session *session_close(struct session *session);
DEFINE_CLEANUP(struct session *, session_close)

bool session_is_mounted(struct session *session); /* as far as we know */
unsigned session_n_open(struct session *session); /* open files */

/** session_volume_changed() - @volume was created, deleted, renamed (both names) or resized by
 *  somebody else than the mount, which shows that at once.  Any thread; does not wait. */
void session_volume_changed(struct session *session, const char *volume);

#endif
