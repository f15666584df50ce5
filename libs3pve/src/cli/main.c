/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* main.c - s3pve: the table of commands is the program */
#include <string.h>
#include <sys/resource.h>

#include "cli/out.h"
#include "cli/signals.h"
#include "cli/waiting.h"

static const struct command commands[] = {
    {"ls", "[-l] [-r] [PREFIX]", "list keys", 0, 1, cmd_ls, false},
    {"du", "[PREFIX...]", "count objects and bytes", 0, -1, cmd_du, false},
    {"put", "FILE|- [KEY]", "store a file or standard input", 1, 2, cmd_put, false},
    {"get", "KEY [FILE|-]", "fetch an object into a file", 1, 2, cmd_get, false},
    {"cat", "KEY...", "write objects to standard output", 1, -1, cmd_cat, false},
    {"rm", "KEY... | -r PREFIX...", "remove objects", 1, -1, cmd_rm, false},
    {"cp", "KEY NEWKEY", "copy an object inside the store", 2, 2, cmd_cp, false},
    {"head", "KEY...", "show what the store knows of an object", 1, -1, cmd_head, false},
    {"tags", "KEY [K=V&K2=V2]", "show or set an object's tags", 1, 2, cmd_tags, false},
    {"presign", "KEY", "print a URL that gets an object for a while", 1, 1, cmd_presign, false},
    {"mb", "", "make the bucket", 0, 0, cmd_mb, false},
    {"probe", "", "find out what this store can do", 0, 0, cmd_probe, false},
    {"status", "", "does it answer, how full is it", 0, 0, cmd_status, true},
    {"sweep", "[PREFIX]", "abort uploads that nobody will finish", 0, 1, cmd_sweep, false},
    {"providers", "", "list the presets", 0, 0, cmd_providers, true},
    {"volume create",
     "NAME [SIZE]",
     "make a disk; a file that grows",
     1,
     2,
     cmd_volume_create,
     false},
    {"volume ls", "[-l] [VMID]", "list disks", 0, 1, cmd_volume_ls, false},
    {"volume stat", "NAME...", "show what is known of a disk", 1, -1, cmd_volume_stat, false},
    {"volume rm", "NAME...", "remove disks", 1, -1, cmd_volume_rm, false},
    {"volume mv", "NAME NEWNAME", "give a disk another name", 2, 2, cmd_volume_mv, false},
    {"volume dump", "[-l] NAME", "show what a disk consists of", 1, 1, cmd_volume_dump, false},
    {"volume fsck", "NAME...", "check what the store has of a disk", 1, -1, cmd_volume_fsck, false},
    {"volume export", "NAME [FILE|-]", "fetch a disk as raw bytes", 1, 2, cmd_volume_export, false},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* How many of the words are the command's name: "ls", "volume ls"; 0: another's. */
static int matches(const struct command *command, char **words, int n) {
    const char *space = strchr(command->name, ' ');
    size_t len = space ? (size_t)(space - command->name) : strlen(command->name);

    if (strlen(words[0]) != len || memcmp(words[0], command->name, len) != 0)
        return 0;
    if (!space)
        return 1;
    return n > 1 && strcmp(words[1], space + 1) == 0 ? 2 : 0;
}

/* Of all commands, or of those that begin with @word. */
static void help_all(const char *word) {
    puts("Usage: s3pve [OPTION...] COMMAND [ARGUMENT...]\n\nCommands:");
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strncmp(commands[i].name, word, strlen(word)) == 0)
            printf("  %-13s %-20s %s\n", commands[i].name, commands[i].operands, commands[i].help);
    puts("\nOptions:");
    options_help(NULL);
    puts("\nKeys are relative to --prefix.  s3pve COMMAND --help shows a command's own options.");
}

static void help_command(const struct command *command) {
    printf(
        "Usage: s3pve [OPTION...] %s %s\n\n%s\n\n", command->name, command->operands, command->help
    );
    options_help(command->name);
    puts("\ns3pve --help shows the options that every command takes.");
}

static bool is_group(const char *word) {
    return strcmp(word, "volume") == 0;
}

static bool is_whole_group(const struct options *options) {
    return options->n_args == 1 && is_group(options->args[0]);
}

static int find_command(struct cli *cli, struct s3pve_error *err) {
    struct options *options = &cli->options;
    int n = 0;

    if (!options->n_args)
        return fail(err, S3PVE_E_INVALID, "what shall I do?  See s3pve --help");
    for (size_t i = 0; i < N_COMMANDS && !n; i++) {
        n = matches(&commands[i], options->args, options->n_args);
        cli->command = n ? &commands[i] : NULL;
    }
    if (!n && is_group(options->args[0]))
        return fail(
            err,
            S3PVE_E_INVALID,
            "no such command of %s; see s3pve %s --help",
            options->args[0],
            options->args[0]
        );
    if (!n)
        return fail(err, S3PVE_E_INVALID, "no command '%s'; see s3pve --help", options->args[0]);
    options->args += n;
    options->n_args -= n;
    return 0;
}

static int check_usage(const struct cli *cli, struct s3pve_error *err) {
    const struct command *command = cli->command;
    int n = cli->options.n_args;

    if (options_check(&cli->options, command->name, err) < 0)
        return -1;
    if (n < command->min || (command->max >= 0 && n > command->max))
        return fail(err, S3PVE_E_INVALID, "usage: s3pve %s %s", command->name, command->operands);
    return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct s3pve_error *err) {
    struct options *options = &cli->options;
    int r = options_parse(options, argc, argv, err);

    if (r == 0 && options->version)
        return printf("s3pve %s\n", s3pve_version()) < 0 ? -1 : 0;
    if (r == 0 && options->help && (!options->n_args || is_whole_group(options)))
        return help_all(options->n_args ? options->args[0] : ""), 0;
    if (r < 0 || find_command(cli, err) < 0)
        return -1;
    if (options->help)
        return help_command(cli->command), 0;
    if (check_usage(cli, err) < 0)
        return -1;
    if (!cli->command->no_client && session_open(cli, err) < 0)
        return -1;
    return cli->command->run(cli, options->n_args, options->args, err);
}

int main(int argc, char **argv) {
    const struct rlimit none = {0, 0};
    struct cli cli = {.call.cancel = signals_catch()};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int r;

    setrlimit(RLIMIT_CORE, &none); /* a core would hold the keys */
    r = run(&cli, argc, argv, &err);
    if (out_finish(r < 0 ? NULL : &err) < 0)
        r = -1;
    waiting_stop();
    cli.client = s3pve_client_close(cli.client);
    cli.config = s3pve_config_free(cli.config);
    if (r < 0 && !*cli.call.cancel)
        out_error(&cli, &err);
    signals_obey();
    return r < 0 ? out_exit_status(&err) : EXIT_OK;
}
