/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* out.h - what people and programs read: sizes, times, keys, JSON lines, errors */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/cli.h"

#define OUT_SIZE 24
#define OUT_TIME 32

/* "1.5 GiB"; or the plain number of bytes when not @human. */
const char *out_size(char text[OUT_SIZE], uint64_t bytes, bool human);

/* "2026-11-24 07:00" here, or "2026-11-24T06:00:00Z" when not @human; "-" for 0. */
const char *out_time(char text[OUT_TIME], int64_t epoch_s, bool human);

/* Is standard output a terminal, so that people read it? */
bool out_human(void);

/* A name from the store: on a terminal, control characters become \x1b and so on. */
void out_name(FILE *file, const char *name);

/* One object as a line on @file; takes @object over. */
void out_json(FILE *file, json_t *object);

/* A JSON string of any text: what is not UTF-8 becomes '?'. */
json_t *out_text(const char *text);

/* An object's facts; the key may be NULL. */
json_t *out_info(const char *key, const struct s3pve_info *info);

/* One line on stderr, or a JSON object there. */
void out_error(const struct cli *cli, const struct s3pve_error *err);

int out_exit_status(const struct s3pve_error *err);

/* Everything written?  A reader that went away ends the process by SIGPIPE, as elsewhere. */
int out_finish(struct s3pve_error *err);

#endif
