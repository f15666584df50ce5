/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * keylock.h - one of us at a time changes an object
 *
 * A file may be unlinked and made anew while the store still takes in the first: what is on its way
 * to a key has to be there, and undone if nobody wants it any more, before the next may follow.
 * Taken after a stream's `io`; who has it waits for the network alone, and for nobody else.
 */
#ifndef FILES_KEYLOCK_H
#define FILES_KEYLOCK_H

#include "files/files.h"

struct keylock {
    struct keylock *next;
    const char *key; /* borrowed */
};

/* @patient: waits also while the store is known not to answer.  Return: 0, -EBUSY, or -EINTR. */
int keylock_take(
    struct s3pve_files *files, struct keylock *ret_lock, const char *key, bool patient
);
void keylock_give(struct s3pve_files *files, struct keylock *lock);

#endif
