/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * cli.h - one run of s3pve: what was asked, with what, and why it failed
 *
 *     options -> command in the table -> configuration -> client -> run() -> exit status
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "cli/fail.h"
#include "cli/options.h"
#include "s3pve.h"

/* Exit codes; see s3pve(1), "EXIT STATUS". */
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_DENIED = 4,
    EXIT_CONFLICT = 5,
};

struct cli;

struct command {
    const char *name;
    const char *operands; /* as in its synopsis */
    const char *help;     /* one line */
    int min, max;         /* operands; max < 0: any number */
    int (*run)(struct cli *cli, int n, char **args, struct s3pve_error *err);
    bool no_client; /* asks no store, or opens the client itself */
};

struct cli {
    struct options options;
    const struct command *command;
    struct s3pve_client *client; /* owned */
    struct s3pve_config *config; /* owned */
    struct s3pve_call call;      /* default time, ended by a signal */
};

DEFINE_CLEANUP(struct s3pve_config *, s3pve_config_free)
DEFINE_CLEANUP(struct s3pve_client *, s3pve_client_close)
DEFINE_CLEANUP(struct s3pve_list *, s3pve_list_close)

/* session.c: settings from everywhere, in the manual's order, and a client for them. */
int session_open(struct cli *cli, struct s3pve_error *err);

/* caps.c: what an earlier probe of this bucket found out, and how it is kept. */
void caps_use(struct cli *cli);
void caps_keep(struct cli *cli, const struct s3pve_caps *caps);

/* storage.c: what the node's daemon and plugin know of a storage. */
int storage_configure(struct s3pve_config *config, const char *id, struct s3pve_error *err);
/* One request to its daemon.  @ret_answer: malloc()ed JSON line.  NOT_FOUND: no daemon runs. */
int storage_ask(const char *id, const char *command, char **ret_answer, struct s3pve_error *err);

/* Each reports a failing operand itself when more follow; the last failure is returned. */
int cmd_ls(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_du(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_put(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_get(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_cat(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_rm(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_cp(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_head(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_tags(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_presign(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_mb(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_probe(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_status(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_sweep(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_providers(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_volume_create(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_volume_ls(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_volume_stat(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_volume_rm(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_volume_mv(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_volume_dump(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_volume_fsck(struct cli *cli, int n, char **args, struct s3pve_error *err);
int cmd_volume_export(struct cli *cli, int n, char **args, struct s3pve_error *err);

#endif
