/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* threads.h - those that look after a daemon when nobody asks for anything */
#ifndef DAEMON_THREADS_H
#define DAEMON_THREADS_H

#include "daemon/daemon.h"

/** threads_start() - Return: 0, or -1, and threads_join() is due all the same */
int threads_start(struct daemon *daemon, struct s3pve_error *err);

/** threads_join() - they end when the daemon is stopping */
void threads_join(struct daemon *daemon);

#endif
