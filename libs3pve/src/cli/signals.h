/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * signals.h - a polite end: the running call is cancelled, what it left in the store is removed,
 * and then the process dies of the signal it got
 */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

/* From now on INT, TERM and HUP set the flag that is returned; a second one kills at once. */
const int *signals_catch(void);

/* Dies of the signal that came, if one came.  SIGPIPE counts after signals_broken_pipe(). */
void signals_obey(void);
void signals_broken_pipe(void);

/* For threads that must not be the ones interrupted. */
void signals_block(void);

#endif
