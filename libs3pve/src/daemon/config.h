/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* config.h - the daemon's configuration file, see DESIGN.md section 8 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "s3pve.h"

struct config {
    char *storage;               /* owned, like all of these */
    char *mountpoint;            /* absolute */
    char *state_dir;             /* absolute */
    char *cache_dir;             /* absolute; NULL: no cache */
    uint64_t cache_size;         /* bytes, for files and volumes together */
    uint64_t quota;              /* bytes; 0: none */
    bool bucket;                 /* a flush of a volume means the bucket, not just this node */
    char *node;                  /* this node's name */
    uint64_t journal_size;       /* bytes, of a volume's; 0: the default */
    struct s3pve_config *client; /* complete and checked */
};

/** config_is_name() - what may stand for a storage in paths and units, see DESIGN.md section 8 */
bool config_is_name(const char *text);

/**
 * config_load() - read and check the file
 * @name: of the storage whose configuration it has to be
 *
 * The file must be a regular one of ours that nobody else can write.
 *
 * Return: 0, or -1 (INVALID, IO) with a message that names the file and the setting.
 */
int config_load(
    const char *path, const char *name, struct config **ret_config, struct s3pve_error *err
);

/** config_parse() - the same of the file's text.  Return: 0, or -1 (INVALID, NOMEM) */
int config_parse(
    const char *text,
    size_t len,
    const char *name,
    struct config **ret_config,
    struct s3pve_error *err
);

/** config_volumes_cache() - bytes of the cache that are for volumes; 0: there is none */
uint64_t config_volumes_cache(const struct config *config);

struct config *config_free(struct config *config);
DEFINE_CLEANUP(struct config *, config_free)

#endif
