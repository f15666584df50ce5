/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* cmd_volume.h - how a volume is shown, by all commands that do */
#ifndef CLI_CMD_VOLUME_H
#define CLI_CMD_VOLUME_H

#include <jansson.h>

#include "s3pve-volume.h"

/* "closed", "open", "claimed", "moving". */
const char *volume_state(enum s3pve_volume_state state);

json_t *volume_json(const struct s3pve_volume_info *info);

#endif
