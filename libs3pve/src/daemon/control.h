/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * control.h - the control socket: one line of JSON in, one out, see DESIGN.md section 7
 *
 * A thread a client, since some commands wait; CONTROL_CLIENTS of them.  Only root may ask.
 */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include "daemon/daemon.h"

struct control;

int control_open(struct daemon *daemon, struct control **ret_control, struct s3pve_error *err);
struct control *control_close(struct control *control); /* waits for the answers being given */

/** control_answer() - run one request.  Return: the answer, one line without newline; free() it;
 *  NULL without memory */
char *control_answer(struct daemon *daemon, const char *line, size_t len);

#endif
