/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* caps.h - what this server was seen to do, found out once a week and kept in the state folder */
#ifndef DAEMON_CAPS_H
#define DAEMON_CAPS_H

#include "daemon/config.h"
#include "s3pve.h"

/** caps_load() - let @client act on what is known of this very bucket.  Return: true when that is
 *  there and recent */
bool caps_load(struct s3pve_client *client, const struct config *config);

/** caps_save() - keep them.  Return: 0, or -1 with @err set */
int caps_save(const struct config *config, const struct s3pve_caps *caps, struct s3pve_error *err);

#endif
