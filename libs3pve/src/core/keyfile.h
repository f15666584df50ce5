/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * keyfile.h - lines "name = value", as in our own files and in other tools' INI files
 *
 * Empty lines and those that begin with '#' or ';' are skipped.  Of a file with sections, only
 * [default] counts, and what stands before the first one.  Names come in our spelling: lower case
 * with '-', and aws_access_key_id is access-key.
 */
#ifndef CORE_KEYFILE_H
#define CORE_KEYFILE_H

#include <stdbool.h>

#include "s3pve.h"

typedef int (*keyfile_fn)(void *ctx, const char *name, const char *value, struct s3pve_error *err);

/*
 * Calls @fn for every line; its failure ends the reading and gets file and line in front.
 * A secret in a file that others than its owner may read is refused, except where the cluster file
 * system decides that itself (/etc/pve/priv); @secret: such a file is refused in any case.  Return:
 * 0, or -1 (INVALID, NOT_FOUND, DENIED, IO, NOMEM).
 */
int keyfile_read(const char *path, bool secret, keyfile_fn fn, void *ctx, struct s3pve_error *err);

#endif
