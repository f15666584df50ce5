/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* control_cmd.h - a command of the control socket: what it takes, and what it does */
#ifndef DAEMON_CONTROL_CMD_H
#define DAEMON_CONTROL_CMD_H

#include <jansson.h>

#include "daemon/daemon.h"

enum control_field_type {
    FIELD_FLAG,    /* true or false */
    FIELD_TEXT,    /* not empty */
    FIELD_BYTES,   /* an integer, not negative */
    FIELD_NUMBER,  /* one above 0 */
    FIELD_SECONDS, /* a number up to VOLUME_COMMAND_MS_MAX */
};

struct control_field {
    const char *name; /* NULL: no more */
    enum control_field_type type;
    bool needed;
};

#define CONTROL_FIELDS 3

/* @request has the fields, of their types; all that are needed, and no others. */
struct control_command {
    const char *name;
    json_t *(*run)(struct daemon *daemon, json_t *request);
    struct control_field fields[CONTROL_FIELDS + 1];
    bool waits; /* for the store, as long as "timeout" says */
};

/* volume_cmd.c: ends with one without a name */
extern const struct control_command volume_cmd_table[];

#endif
