/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* listen.h - a unix socket in the daemon's folder, for root alone */
#ifndef DAEMON_LISTEN_H
#define DAEMON_LISTEN_H

#include "s3pve.h"

/** listen_open() - @dir/@name, instead of what an earlier process left there; does not block
 *  @backlog: connections that wait to be accepted
 *
 *  Return: a descriptor, or -1 */
int listen_open(const char *dir, const char *name, int backlog, struct s3pve_error *err);

/** listen_unlink() - remove the name, while the storage's lock is ours: so it cannot be the next
 *  daemon's */
void listen_unlink(const char *dir, const char *name);

#endif
