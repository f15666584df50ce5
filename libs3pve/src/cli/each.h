/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* each.h - the same for every operand: one that fails does not stop the others */
#ifndef CLI_EACH_H
#define CLI_EACH_H

#include "cli/cli.h"

typedef int (*each_fn)(struct cli *cli, const char *arg, struct s3pve_error *err);

/* Every failure but the last is reported here; the last is the caller's. */
int each(struct cli *cli, int n, char **args, each_fn fn, struct s3pve_error *err);

#endif
