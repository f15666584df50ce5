/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * state.h - what a transfer needs to go on after this process: one small file each, locked while
 * it is in use, below ${XDG_STATE_HOME:-~/.local/state}/s3pve/
 *
 *     open -> [value of an earlier try] -> save -> remove (done) or close (to be continued)
 */
#ifndef CLI_STATE_H
#define CLI_STATE_H

#include <jansson.h>

#include "base/limits.h"
#include "s3pve.h"

struct state {
    char path[4096];
    char *identity; /* owned; what the transfer is of: another one's value is not ours */
    char value[LIMIT_UPLOAD_ID + 256]; /* "" when there is none */
    int fd;                            /* locked; -1: closed */
};

/* What a transfer is of: the object, and @more about the file, taken over.  NULL: not UTF-8. */
json_t *state_identity(const struct s3pve_config *config, const char *key, json_t *more);

/* Lock the file that is open as @fd, if it still is the one of that name.  Return: false if not. */
bool state_lock(int fd, const char *path);

/* Takes @identity over.  Return: 0, or -1 (IO; CONFLICT: another process is at it). */
int state_open(struct state *state, const char *kind, json_t *identity, struct s3pve_error *err);

/* The same, but only what is there already: 1, or 0 when nothing is (or it cannot be had now). */
int state_find(struct state *state, const char *kind, json_t *identity);
int state_save(struct state *state, const char *value, struct s3pve_error *err);
void state_remove(struct state *state);
void state_close(struct state *state);

#endif
