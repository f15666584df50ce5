/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "live.h"
#include "tap.h"

static const char *server_folder(void) {
    const char *folder = getenv("S3PVE_TEST_RGW");
    char command[512];

    if (!folder)
        skip_all("no S3PVE_TEST_RGW: run it with t/lib/prove");
    if (system("command -v radosgw ceph-mon ceph-osd >/dev/null") != 0)
        skip_all("needs radosgw, ceph-mon and ceph-osd");
    snprintf(command, sizeof(command), "t/lib/rgw start '%s' >/dev/null", folder);
    if (system(command) != 0) {
        printf("Bail out! the test server does not start\n");
        exit(1);
    }
    return folder;
}

struct s3pve_config *live_config(void) {
    static unsigned n;
    struct s3pve_config *config = s3pve_config_new();
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char path[512], bucket[64];

    snprintf(path, sizeof(path), "%s/s3pve.conf", server_folder());
    snprintf(bucket, sizeof(bucket), "c%d-%u-%lld", (int)getpid(), ++n, (long long)time(NULL));
    if (s3pve_config_read_file(config, path, &err) < 0 ||
        s3pve_config_set(config, "bucket", bucket, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        exit(1);
    }
    return config;
}

struct s3pve_client *live_client(const char *prefix) {
    struct s3pve_config *config = live_config();
    struct s3pve_client *client = NULL;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (s3pve_config_set(config, "prefix", prefix, &err) < 0 ||
        s3pve_client_open(config, NULL, NULL, &client, &err) < 0 ||
        s3pve_bucket_create(client, NULL, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        exit(1);
    }
    s3pve_config_free(config);
    return client;
}
