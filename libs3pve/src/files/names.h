/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* names.h - what a name says about how a file is kept; pure, see DESIGN.md 6, "Names" */
#ifndef FILES_NAMES_H
#define FILES_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/limits.h"

#define NAME_SIZE (LIMIT_KEY_SEGMENT + 1)
#define NAME_HEAD 512 /* bytes of a file that tell what it is: one tar header */

/* May it be one part of a key?  Return: 0, -ENAMETOOLONG, or -EINVAL. */
int name_check(const char *name);

/* An archive being written by vzdump: it will be renamed before anyone needs it. */
bool name_is_held(const char *name);

/* vzdump's own archives, side files not included: large, and read once from end to end. */
bool name_is_archive(const char *name);

/* A backup's notes: Proxmox VE reads those of all backups to list them. */
bool name_is_notes(const char *name);

/* Is a new directory @name in @dir (a path without slashes at its ends, "" the root) kept on the
 * node only?  vzdump's working directory, which nobody else needs and which dies with the task. */
bool name_is_local_dir(const char *dir, const char *name);

/* The n-th directory that PVE expects to be there, as a path; NULL past the end. */
const char *name_expected_dir(size_t index);

/* Not for the eyes of a mount: our own bookkeeping in the bucket. */
bool name_is_hidden(const char *dir, const char *name);

/*
 * What vzdump will rename its archive @name to, judged by the first bytes written.
 * Return: false when they look like nothing vzdump writes; @ret_name is "" then.
 */
bool name_predict(const char *name, const void *head, size_t len, char ret_name[NAME_SIZE]);

#endif
