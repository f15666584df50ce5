/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "cli/each.h"
#include "cli/out.h"

int each(struct cli *cli, int n, char **args, each_fn fn, struct s3pve_error *err) {
    int failed = 0;

    for (int i = 0; i < n; i++) {
        struct s3pve_error why = S3PVE_ERROR_INIT;

        if (fn(cli, args[i], &why) == 0)
            continue;
        if (failed++)
            out_error(cli, err);
        *err = why;
        if (*cli->call.cancel)
            break;
    }
    return failed ? -1 : 0;
}
