/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The daemon's configuration file: taken, it is complete; refused, one line says why. */
#include <string.h>

#include "base/limits.h"
#include "daemon/config.h"
#include "fuzz.h"
#include "s3pve-volume.h"

static void check_path(const char *path) {
    must(path[0] == '/' && path[1] && path[strlen(path) - 1] != '/');
    must(!strstr(path, "//") && !strstr(path, "/../") && !strstr(path, "/./"));
}

static void check_config(const struct config *config) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    must(strcmp(config->storage, "store1") == 0);
    check_path(config->mountpoint);
    check_path(config->state_dir);
    if (config->cache_dir)
        check_path(config->cache_dir);
    must(config->node[0] && strlen(config->node) < S3PVE_VOLUME_NODE && !strchr(config->node, '/'));
    must(!config->journal_size || config->journal_size >= JOURNAL_RING_MIN);
    must(config_volumes_cache(config) <= config->cache_size);
    must(s3pve_config_check(config->client, &err) == 0);
    must(strcmp(s3pve_config_get(config->client, "storage"), "store1") == 0);
    must(!*s3pve_config_get(config->client, "secret-key"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct config *config = NULL;

    if (config_parse((const char *)data, size, "store1", &config, &err) == 0) {
        check_config(config);
        config_free(config);
        return 0;
    }
    must(!config && err.code == S3PVE_E_INVALID && err.message[0]);
    must(!strpbrk(err.message, "\r\n") && memchr(err.message, 0, sizeof(err.message)));
    return 0;
}
