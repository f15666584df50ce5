/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* fail.h - the daemon's own failures, in the library's error object */
#ifndef DAEMON_FAIL_H
#define DAEMON_FAIL_H

#include "base/cleanup.h"
#include "s3pve.h"

/* Sets *err (which may be NULL) and returns -1, so that failing is one line. */
int fail(struct s3pve_error *err, enum s3pve_code code, const char *fmt, ...) _printf_(3, 4);

/* The same for a system call: adds the text of errno. */
int fail_errno(struct s3pve_error *err, const char *fmt, ...) _printf_(2, 3);

#endif
