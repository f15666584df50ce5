/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * job.h - requests of the kernel that may wait for the store
 *
 *     job_submit() --> work() --> reply()
 *           |             ^
 *           +--> queue ---+   by the thread that finished the one before
 *
 * The threads that take requests from the kernel are few, and all of them might come to wait for a
 * store that does not answer; statfs and stat would then wait behind them.  So only FUSE_WAITING of
 * each kind may be at work at once.  One more is copied into a queue, and its thread is free again.
 *
 * A request whose process was killed need not be answered in earnest.  The kernel tells us of any
 * signal, and of none to a process that had only started a readahead; so while requests take long
 * we look at their processes twice a second, and set .cancel, which the library watches.
 */
#ifndef DAEMON_JOB_H
#define DAEMON_JOB_H

#include <fuse_lowlevel.h>
#include <stdint.h>

#include "s3pve.h"

enum job_kind {
    JOB_READ,   /* waits for downloads */
    JOB_WRITE,  /* waits for uploads */
    JOB_NAME,   /* keeps others out of a directory: must not wait behind uploads */
    JOB_VOLUME, /* waits for a volume to be opened, maybe for another node's lease */
    N_JOB_KINDS,
};

struct job {
    fuse_req_t req;
    int (*work)(struct job *job);               /* may wait; a count, 0, or a negative errno */
    void (*reply)(struct job *job, int result); /* answers req */
    struct session *session;                    /* borrowed */

    /* Arguments, as far as the operation has them; borrowed until queued, then owned. */
    uint64_t ino, ino2;
    const char *name, *name2;
    const void *data;
    size_t len;
    off_t offset;
    struct fuse_file_info fi;
    struct stat attr; /* in or out */
    mode_t mode;
    unsigned flags;
    bool must_run; /* rather than be refused when too many wait */
    void *result;  /* what work() leaves for reply() */

    /* Ours. */
    int cancel;
    int64_t started_ms;
    struct job *next; /* in the queue, or among those at work */
};

struct jobs;

struct jobs *jobs_new(void); /* NULL: no memory or thread */
/** jobs_free() - none may be left */
struct jobs *jobs_free(struct jobs *jobs);

/** job_submit() - run it here, or queue a copy; @job may be on the caller's stack */
void job_submit(struct jobs *jobs, const struct job *job, enum job_kind kind);

/** jobs_count() - at work or waiting, of one kind */
unsigned jobs_count(struct jobs *jobs, enum job_kind kind);

/** jobs_cancel() - end everything, now and from now on, as if its process had been killed */
void jobs_cancel(struct jobs *jobs);

#endif
