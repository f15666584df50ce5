/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* waiting.h - one line, once, when the store has not answered for a while */
#ifndef CLI_WAITING_H
#define CLI_WAITING_H

#include "cli/cli.h"

/* Once there is a client, and before it is closed. */
void waiting_start(const struct cli *cli);
void waiting_stop(void);

/* An attempt failed, so that there is a reason to tell.  Any thread. */
void waiting_note(const char *why);

#endif
