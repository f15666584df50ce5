/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* fail.h - errors that begin in the command line itself, in the library's own form */
#ifndef CLI_FAIL_H
#define CLI_FAIL_H

#include "base/cleanup.h"
#include "s3pve.h"

/* Start an error; @err may be NULL.  Always returns -1. */
int fail(struct s3pve_error *err, enum s3pve_code code, const char *fmt, ...) _printf_(3, 4);

/* The same for a system call: errno and its words behind the text. */
int fail_errno(struct s3pve_error *err, const char *fmt, ...) _printf_(2, 3);

#endif
