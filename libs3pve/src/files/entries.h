/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* entries.h - what mkdir, rmdir, unlink and rename share */
#ifndef FILES_ENTRIES_H
#define FILES_ENTRIES_H

#include "files/files.h"

/* The key of the zero-byte object that marks a directory; malloc()ed, NULL without memory. */
char *entry_marker_key(const struct node *dir, const char *name);

/* These talk to the store.  Return: 0, or -errno. */
int entry_put_marker(struct s3pve_files *files, const char *key);
int entry_delete(struct s3pve_files *files, const char *operation, const char *key);

/* What is in memory may be 5 s old: these ask.  Return: 0, -EEXIST or -ENOTEMPTY, or -errno. */
int entry_check_absent(struct s3pve_files *files, const char *operation, const char *key);
int entry_check_empty(struct s3pve_files *files, const char *operation, const char *marker);

/* With `lock` held: what was at this name is gone from the store; T2, usage, and its readers know.
 * Return: its stream, doomed, with a reference that entry_drop_stream() takes; NULL when it had
 * none.
 */
struct stream *entry_removed(struct s3pve_files *files, struct node *node);

/* Without `lock`: drop a doomed stream, the caller's reference and that of being held.  NULL is
 * fine.
 */
void entry_drop_stream(struct stream *stream);

#endif
