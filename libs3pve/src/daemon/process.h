/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * process.h - what /proc tells of the processes that use the mount
 *
 * close(2) must publish a file, and say how that went, when it is the last close of it; but a
 * killed writer closes too, and so does every forked child that inherited the descriptor, in the
 * middle of a backup.  The kernel tells neither apart, so we look.
 */
#ifndef DAEMON_PROCESS_H
#define DAEMON_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** process_of() - the process a thread belongs to; 0 when that cannot be told */
pid_t process_of(pid_t tid);

/** process_is_killed() - a deadly signal is on its way, or it is gone */
bool process_is_killed(pid_t tid);

/** process_is_being_killed() - the same of one that is still there: a thread that asked for
 * something and went, as the kernel's workers and those of io_uring do, did not ask in vain */
bool process_is_being_killed(pid_t tid);

/** process_died_of_signal() - it is ending, and not because it wanted to */
bool process_died_of_signal(pid_t tid);

/** process_can_write() - has it another descriptor open for writing on that very file? */
bool process_can_write(pid_t pid, dev_t dev, uint64_t ino);

/* Who did what with an open file; process ids, 0 for nobody. */
struct closing {
    dev_t dev;
    uint64_t ino;
    pid_t opener, writer;
};

enum closing_kind {
    CLOSING_LAST,   /* nobody who used it has it open any more */
    CLOSING_EARLY,  /* somebody has, and will close it himself */
    CLOSING_KILLED, /* the last user was killed: what it wrote is not whole */
};

/** closing_judge() - thread @tid closes the file.  Takes seconds at most: should a kernel have the
 *  answer wait for @tid itself, which waits for us, it is CLOSING_EARLY. */
enum closing_kind closing_judge(const struct closing *file, pid_t tid);

#endif
