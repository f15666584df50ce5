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
    if (system(command) != 0)
        bail_out("the test server does not start");
    return folder;
}

static void set(struct s3pve_config *config, const char *name, const char *value) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (s3pve_config_set(config, name, value, &err) < 0)
        bail_out("%s", err.message);
}

/* What the server in @folder wrote down for its clients. */
static struct s3pve_config *read_config(const char *folder) {
    struct s3pve_config *config = s3pve_config_new();
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char path[512];

    snprintf(path, sizeof(path), "%s/s3pve.conf", folder);
    if (s3pve_config_read_file(config, path, &err) < 0)
        bail_out("%s", err.message);
    return config;
}

/* A client with its bucket made. */
static struct s3pve_client *make_bucket(const struct s3pve_config *config) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_client *client = NULL;

    if (s3pve_client_open(config, NULL, NULL, &client, &err) < 0 ||
        s3pve_bucket_create(client, NULL, &err) < 0)
        bail_out("%s", err.message);
    return client;
}

/* The same; takes @config. */
static struct s3pve_client *open_client(struct s3pve_config *config) {
    struct s3pve_client *client = make_bucket(config);

    s3pve_config_free(config);
    return client;
}

struct s3pve_config *live_config(void) {
    static unsigned n;
    struct s3pve_config *config = read_config(server_folder());
    char bucket[64];

    snprintf(bucket, sizeof(bucket), "c%d-%u-%lld", (int)getpid(), ++n, (long long)time(NULL));
    set(config, "bucket", bucket);
    return config;
}

struct s3pve_config *live_bucket(const char *prefix) {
    struct s3pve_config *config = live_config();

    set(config, "prefix", prefix);
    s3pve_client_close(make_bucket(config));
    return config;
}

struct s3pve_client *live_client(const char *prefix) {
    struct s3pve_config *config = live_config();

    set(config, "prefix", prefix);
    return open_client(config);
}

/* ------------------------------------------------------------------- fakes3 */

static char fake_dir[128];

static void run_fake(const char *verb, const char *args) {
    char command[1024];

    snprintf(command, sizeof(command), "t/lib/fakes3 %s '%s' %s", verb, fake_dir, args);
    if (system(command) != 0)
        bail_out("%s", command);
}

static unsigned ask_number(const char *command) {
    FILE *pipe = popen(command, "re");
    unsigned value = 0;

    if (!pipe || fscanf(pipe, "%u", &value) != 1)
        bail_out("%s", command);
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

struct s3pve_config *live_fake_config(const char *timeout_s) {
    struct s3pve_config *config = read_config(fake_dir);

    set(config, "bucket", "bucket");
    set(config, "part-size", "5");
    set(config, "timeout", timeout_s);
    return config;
}

struct s3pve_client *live_fake(const char *settings, const char *timeout_s) {
    char args[512];

    if (!fake_dir[0])
        atexit(end_fake);
    end_fake();
    snprintf(fake_dir, sizeof(fake_dir), "%s/s3pve-fake.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(fake_dir))
        bail_out("%s", fake_dir);
    snprintf(args, sizeof(args), "%s watch=%d >/dev/null", settings, (int)getpid());
    run_fake("start", args);
    return open_client(live_fake_config(timeout_s));
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
    if (system(command) != 0)
        bail_out("%s", command);
}
