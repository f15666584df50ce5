/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* reply.h - answers of the control socket, as JSON; members that memory fails for are missing */
#ifndef DAEMON_REPLY_H
#define DAEMON_REPLY_H

#include <jansson.h>

#include "s3pve.h"

json_t *reply_good(void); /* {"ok":true} */
json_t *reply_bad(const char *code, const char *why);
json_t *reply_error(const struct s3pve_error *err);

void reply_add(json_t *object, const char *name, json_t *value); /* takes @value */
void reply_add_number(json_t *object, const char *name, uint64_t number);
void reply_add_bool(json_t *object, const char *name, bool value);
void reply_add_text(json_t *object, const char *name, const char *text); /* "?" if not UTF-8 */

#endif
