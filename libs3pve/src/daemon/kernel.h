/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * kernel.h - telling the kernel that its cached names and pages are no longer true
 *
 * The kernel takes the directory's or the pages' locks for that, which a process may hold that
 * waits for us.  So it is told by a thread that answers nobody, from a queue.
 */
#ifndef DAEMON_KERNEL_H
#define DAEMON_KERNEL_H

#include <fuse_lowlevel.h>

#include "s3pve.h"

struct kernel;

struct kernel *kernel_new(struct fuse_session
                              *session /* borrowed */); /* NULL: no memory, thread */
/** kernel_stop() - tell it nothing more; does not wait */
void kernel_stop(struct kernel *kernel);
/** kernel_free() - waits for the thread: the session must be unmounted */
struct kernel *kernel_free(struct kernel *kernel);

/** kernel_notify() - what the files layer calls; never waits */
struct s3pve_files_notify kernel_notify(struct kernel *kernel);

/** kernel_forget_length() - of a file, and its other attributes.  At once, and also from a request
 * of the kernel's: it takes no lock for that */
void kernel_forget_length(struct kernel *kernel, uint64_t ino);

/** kernel_settle() - until it has been told everything, or INVALIDATION_MS are over: it does not
 *  listen while somebody waits with a lock of that directory.  Not from a request of the kernel's
 */
void kernel_settle(struct kernel *kernel);

#endif
