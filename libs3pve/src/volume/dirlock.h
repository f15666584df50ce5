/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * dirlock.h - a lock that all nodes of a Proxmox VE cluster see: a folder in its file system
 *
 * The protocol is that of pmxcfs.  Making the folder is atomic in the cluster, and takes quorum.
 * Who wants one that is there asks for it by setting its times to 0: it goes if it was not renewed
 * for 120 s.  Setting them to now renews it, and fails if it was made on another node since.
 */
#ifndef VOLUME_DIRLOCK_H
#define VOLUME_DIRLOCK_H

#include <limits.h>
#include <stdint.h>

#include "s3pve.h"

struct dirlock {
    char path[PATH_MAX]; /* all but the last folder exists */
    unsigned life_ms;    /* so long after it was renewed nobody else gets it */
    int64_t since_ms;    /* clock_boottime_ms() before it was */
};

/*
 * Wait for it until clock_monotonic_ms() is @until_ms, or *cancel is set.
 * Return: 0, or -1 (TIMEOUT, CANCELLED; IO: there are no locks now, with the folder and why).
 */
int dirlock_take(
    struct dirlock *lock, int64_t until_ms, const int *cancel, struct s3pve_error *err
);

/* It is ours for its whole life from now on; or -1 (IO): it may not be, and must be left alone. */
int dirlock_renew(struct dirlock *lock, struct s3pve_error *err);

/* Unless so much time went by that it may be another's by now. */
void dirlock_drop(const struct dirlock *lock);

#endif
