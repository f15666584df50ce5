/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

#include "base/cleanup.h"
#include "s3pve.h"

/* Start an error.  errno follows from the code.  Always returns -1: a failure is one line. */
int error_set(struct s3pve_error *err, enum s3pve_code code, const char *fmt, ...) _printf_(3, 4);

/* Put more context in front of an error on its way out.  Always returns -1. */
int error_wrap(struct s3pve_error *err, const char *fmt, ...) _printf_(2, 3);

/* The errno that says what @code says. */
int error_errno(enum s3pve_code code);

#endif
