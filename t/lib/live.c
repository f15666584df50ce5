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

/* ------------------------------------------------------------------- fakes3 */

static char fake_dir[128];

static void run_fake(const char *verb, const char *args) {
    char command[1024];

    snprintf(command, sizeof(command), "t/lib/fakes3 %s '%s' %s", verb, fake_dir, args);
    if (system(command) != 0) {
        printf("Bail out! %s\n", command);
        exit(1);
    }
}

static unsigned ask_number(const char *command) {
    FILE *pipe = popen(command, "re");
    unsigned value = 0;

    if (!pipe || fscanf(pipe, "%u", &value) != 1) {
        printf("Bail out! %s\n", command);
        exit(1);
    }
    pclose(pipe);
    return value;
}

static void end_fake(void) {
    char command[512];

    if (!fake_dir[0])
        return;
    snprintf(command, sizeof(command), "t/lib/fakes3 stop '%s'; rm -rf '%s'", fake_dir, fake_dir);
    if (system(command) != 0)
        printf("# the fake server did not end\n");
    fake_dir[0] = '\0';
}

struct s3pve_client *live_fake(const char *settings, const char *timeout_s) {
    struct s3pve_config *config = s3pve_config_new();
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_client *client = NULL;
    char args[512], path[160];

    if (!fake_dir[0])
        atexit(end_fake);
    end_fake();
    snprintf(fake_dir, sizeof(fake_dir), "%s/s3pve-fake.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(fake_dir))
        exit(1);
    snprintf(args, sizeof(args), "%s watch=%d >/dev/null", settings, (int)getpid());
    run_fake("start", args);
    snprintf(path, sizeof(path), "%s/s3pve.conf", fake_dir);
    if (s3pve_config_read_file(config, path, &err) < 0 ||
        s3pve_config_set(config, "bucket", "bucket", &err) < 0 ||
        s3pve_config_set(config, "part-size", "5", &err) < 0 ||
        s3pve_config_set(config, "timeout", timeout_s, &err) < 0 ||
        s3pve_client_open(config, NULL, NULL, &client, &err) < 0 ||
        s3pve_bucket_create(client, NULL, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        exit(1);
    }
    s3pve_config_free(config);
    return client;
}

void live_fake_rule(const char *rule) {
    run_fake("rule", rule);
}

void live_fake_clear(void) {
    run_fake("clear", "");
    run_fake("forget", "");
}

unsigned live_fake_count(const char *operation) {
    char command[512];

    snprintf(command, sizeof(command), "t/lib/fakes3 log '%s' %s | wc -l", fake_dir, operation);
    return ask_number(command);
}

unsigned live_fake_uploads(void) {
    char command[512];

    snprintf(
        command,
        sizeof(command),
        "t/lib/fakes3 stats '%s' | sed 's/.*\"uploads\":\\([0-9]*\\).*/\\1/'",
        fake_dir
    );
    return ask_number(command);
}

void live_fake_zeroes(const char *key, const char *size) {
    char command[512];

    snprintf(
        command,
        sizeof(command),
        ". '%s/env' && curl -sSf -o /dev/null -d "
        "'{\"bucket\":\"bucket\",\"key\":\"%s\",\"size\":%s}' $FAKES3_ENDPOINT/_fakes3/zeroes",
        fake_dir,
        key,
        size
    );
    if (system(command) != 0) {
        printf("Bail out! %s\n", command);
        exit(1);
    }
}
