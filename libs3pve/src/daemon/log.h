/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * log.h - where events go
 *
 * Into the journal with one field for each part (S3_OPERATION, S3_KEY, ...) when systemd started
 * us, else to standard error.  What repeats is said once in half a minute and then counted.
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include "base/cleanup.h"
#include "s3pve.h"

/* Call once, before threads; @storage is borrowed for good. */
void log_open(const char *storage, enum s3pve_log_level most);

/* An s3pve_log_fn. */
void log_record(void *ctx, const struct s3pve_log_record *record);

/* The daemon's own events; @operation is one word: "mount", "config", ... */
void log_say(enum s3pve_log_level level, const char *operation, const char *fmt, ...)
    _printf_(3, 4);

#endif
