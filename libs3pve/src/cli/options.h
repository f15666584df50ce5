/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * options.h - the command line, taken apart by one table
 *
 * Texts are borrowed from argv.  A secret never comes this way: its option exists only to be
 * refused with a word on how to give it.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>

#include "s3pve.h"

#define OPTIONS_SETTINGS 32 /* options that set a configuration value */

struct options {
    bool json, quiet, no_progress, help, version;
    bool detailed, recursive, bytes, yes, resume, if_absent, data, salvage;
    unsigned verbose;
    const char *storage, *config_file;
    const char *content_type, *tags, *range, *expires, *older;
    struct s3pve_meta meta[S3PVE_META_MAX];
    unsigned n_meta;
    struct {
        const char *name, *value;
    } settings[OPTIONS_SETTINGS];
    unsigned n_settings;
    char **args; /* operands, the command first; the rest of argv */
    int n_args;
    unsigned long long seen; /* a bit for each row of the table */
};

/* Options and operands may be mixed; "--" ends the options.  Return: 0, or -1 (INVALID). */
int options_parse(struct options *options, int argc, char **argv, struct s3pve_error *err);

/* Is every option that was given one for @command?  Return: 0, or -1 (INVALID). */
int options_check(const struct options *options, const char *command, struct s3pve_error *err);

/* The lines of --help: those for all commands (@command NULL), or those for one alone. */
void options_help(const char *command);

/* "7d", "12h", "30m" or seconds, the value of --@name.  Return: 0, or -1 (INVALID). */
int options_seconds(
    const char *name, const char *text, unsigned *ret_seconds, struct s3pve_error *err
);

/* "512", "16M", "32G", "1.5T": bytes, K to P count in 1024.  Return: 0, or -1 (INVALID). */
int options_bytes(const char *text, uint64_t *ret_bytes, struct s3pve_error *err);

/* Was this option given on the command line, with a value? */
bool options_has_setting(const struct options *options, const char *name);

#endif
