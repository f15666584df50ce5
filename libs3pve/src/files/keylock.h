/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * keylock.h - one of us at a time changes an object
 *
 * A file may be unlinked and made anew while the store still takes in the first: what is on its way
 * to a key has to be there, and undone if nobody wants it any more, before the next may follow.
 * Taken after a stream's `io`; who has it waits for the network alone, and for nobody else.
 *
 * A change whose caller was killed is not waited for, and may arrive all the same: its key stays
 * taken for a while.
 */
#ifndef FILES_KEYLOCK_H
#define FILES_KEYLOCK_H

#include "files/files.h"

struct keylock {
    struct keylock *next;
    const char *key;  /* borrowed; owned where nobody has it any more */
    int64_t until_ms; /* nobody has it, but it is not free before that; 0: somebody has it */
};

/* @patient: waits also while the store is known not to answer.  Return: 0, -EBUSY, or -EINTR. */
int keylock_take(
    struct s3pve_files *files, struct keylock *ret_lock, const char *key, bool patient
);

/* @rc: what became of the change. */
void keylock_give(struct s3pve_files *files, struct keylock *lock, int rc);

/* A change of @key that was not waited for, made without taking it. */
void keylock_linger(struct s3pve_files *files, const char *key);

void keylock_clear(struct s3pve_files *files);

#endif
