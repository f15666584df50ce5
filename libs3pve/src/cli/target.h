/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * target.h - the file that something is fetched into: FILE.part until it is whole
 *
 * A device or a pipe is written as it is; a file appears under its name when it is whole.
 */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include <stdbool.h>

#include "cli/fail.h"

struct target {
    char *path, *part; /* owned; where it goes in the end, and until then */
    int fd;
};

void target_clear(struct target *target);

/* No FILE, or a folder: the last part of the key is the file's name. */
int target_path(const char *key, const char *path, char **ret_path, struct s3pve_error *err);

bool target_in_place(const char *path);

/* @keep: what is there already; else it is empty. */
int target_open(struct target *target, bool keep, struct s3pve_error *err);
int target_publish(const struct target *target, struct s3pve_error *err);

/* It did not work out. */
void target_drop(const struct target *target);

#endif
