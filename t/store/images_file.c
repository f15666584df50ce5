/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Files that grow, on a real server: as long as what was written, whatever happens to who wrote. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "images.h"
#include "live.h"
#include "tap.h"

#define FILE1 "100/vm-100-disk-1.qcow2"

static char dir[128];
static struct s3pve_config *config;
static struct s3pve_client *client;
static struct s3pve_error err;

static struct s3pve_client *new_client(void) {
    struct s3pve_client *new = NULL;

    if (s3pve_client_open(config, NULL, NULL, &new, &err) < 0 ||
        s3pve_client_start_thread(new, &err) < 0)
        bail_out("%s", err.message);
    return new;
}

/* What the bucket says. */
static uint64_t length_of(const char *name) {
    struct s3pve_volume_info info = {0};

    if (s3pve_volume_stat(client, name, &info, NULL, &err) < 0)
        return UINT64_MAX;
    return info.size;
}

static struct s3pve_volume *hold(struct s3pve_volumes *node) {
    struct s3pve_volume *volume = NULL;

    if (s3pve_volume_hold(node, FILE1, NULL, &volume, &err) < 0)
        bail_out("%s", err.message);
    return volume;
}

static void test_growing(bool local) {
    struct node_options options = {.dir = dir, .name = "n1", .local = local};
    struct s3pve_volumes *node = node_open(client, &options);
    struct s3pve_volume_stats stats;
    struct s3pve_volume *file;
    uint8_t byte;

    ok(s3pve_volume_create(client, FILE1, S3PVE_VOLUME_FILE, NULL, &err) == 0,
       "a file is made, durability %s",
       local ? "node" : "bucket");
    file = hold(node);
    is_int((long long)s3pve_volume_size(file), 0, "it is empty");
    is_int(volume_read(file, &byte, 0, 1), 22, "... and nothing is to be read");
    is_int(put_bytes(file, 0, 1000, 1), 0, "a write");
    is_int((long long)s3pve_volume_size(file), 1000, "... makes it as long");
    is_int(put_bytes(file, 100, 300, 1), 0, "one within");
    is_int((long long)s3pve_volume_size(file), 1000, "... does not");
    is_int(put_bytes(file, 70001, 5, 1), 0, "one behind the end");
    is_int((long long)s3pve_volume_size(file), 70006, "... leaves a hole");
    ok(has_bytes(file, 0, 1000, 1) && has_zeroes(file, 1000, 69001), "... of zeroes");
    is_int(volume_read(file, &byte, 70006, 1), 22, "behind it there is nothing");
    is_int(volume_flush(file), 0, "a flush");
    if (!local)
        is_int((long long)length_of(FILE1), 70006, "... and the bucket says how long it is");
    is_int(put_bytes(file, FILE_ROOM - 100, 200, 2), 0, "a write that needs more room");
    is_int((long long)s3pve_volume_size(file), FILE_ROOM + 100, "... gets it");
    is_int(put_bytes(file, 5 * FILE_ROOM, 200, 2), 0, "one that needs much more");
    ok(has_bytes(file, FILE_ROOM - 100, 200, 2) && has_bytes(file, 5 * FILE_ROOM, 200, 2),
       "... too");
    is_int(s3pve_volume_truncate(file, 500, NULL, &err), 0, "cut short %s", err.message);
    is_int((long long)s3pve_volume_size(file), 500, "... it is");
    is_int(s3pve_volume_truncate(file, 80000, NULL, &err), 0, "made longer %s", err.message);
    ok(has_bytes(file, 0, 500, 1) && has_zeroes(file, 500, 79500), "... by zeroes");
    is_int(s3pve_volumes_resize(node, FILE1, 90000, NULL, &err), 0, "or by name %s", err.message);
    is_int((long long)s3pve_volume_size(file), 90000, "... the same");
    ok(stats_of(node, FILE1, &stats) && stats.info.size == 90000 && stats.info.is_file, "... told");
    s3pve_volume_release(file);
    is_int(s3pve_volumes_deactivate(node, FILE1, NULL, &err), 0, "handed back %s", err.message);
    is_int((long long)length_of(FILE1), 90000, "the bucket knows its length");
    is_int(count_files(dir, "n1"), 0, "... and the node nothing");
    file = hold(node);
    is_int((long long)s3pve_volume_size(file), 90000, "opened again");
    ok(has_bytes(file, 0, 500, 1) && has_zeroes(file, 500, 89500), "... it has what was written");
    s3pve_volume_release(file);
    s3pve_volumes_delete(node, FILE1, NULL, &err);
    s3pve_volumes_close(node);
}

static void test_background(void) {
    struct node_options options = {.dir = dir, .name = "n1", .local = true};
    struct s3pve_volumes *node = node_open(client, &options);
    struct s3pve_volume *file;

    s3pve_volume_create(client, FILE1, S3PVE_VOLUME_FILE, NULL, &err);
    file = hold(node);
    put_bytes(file, 0, 5000, 1);
    is_int((long long)length_of(FILE1), 0, "a write is not told to the bucket at once");
    for (unsigned i = 0; i < 600 && length_of(FILE1) != 5000; i++)
        usleep(100000);
    is_int((long long)length_of(FILE1), 5000, "... but after a while, whoever holds it");
    s3pve_volume_release(file);
    s3pve_volumes_delete(node, FILE1, NULL, &err);
    s3pve_volumes_close(node);
}

/* Write in a process of its own, which is then killed. */
static void write_and_die(bool local, bool flush) {
    struct node_options options = {.dir = dir, .name = "n1", .local = local};
    pid_t pid = fork();

    if (pid == 0) {
        struct s3pve_volumes *node = node_open(new_client(), &options);
        struct s3pve_volume *file = hold(node);

        if (put_bytes(file, 0, 100000, 3) != 0 || (flush && volume_flush(file) != 0) ||
            put_bytes(file, 100000, 23456, 3) != 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, NULL, 0);
}

static void test_killed(bool local) {
    struct node_options options = {.dir = dir, .name = "n1", .local = local};
    struct s3pve_volumes *node;
    struct s3pve_volume *file;
    char command[300];

    s3pve_volume_create(client, FILE1, S3PVE_VOLUME_FILE, NULL, &err);
    write_and_die(local, false);
    ok(length_of(FILE1) < 123456, "killed, the bucket does not know the file's length");
    node = node_open(client, &options);
    file = hold(node);
    is_int((long long)s3pve_volume_size(file), 123456, "... the next process does");
    ok(has_bytes(file, 0, 123456, 3), "... and has all that was answered");
    is_int(s3pve_volume_truncate(file, 3000, NULL, &err), 0, "it is cut %s", err.message);
    is_int(put_bytes(file, 3000, 96, 4), 0, "... written");
    s3pve_volume_release(file);
    s3pve_volumes_close(node);
    node = node_open(client, &options);
    file = hold(node);
    is_int(
        (long long)s3pve_volume_size(file), 3096, "closed without being handed back, it is that"
    );
    is_int(s3pve_volume_truncate(file, 9000, NULL, &err), 0, "made longer");
    ok(has_bytes(file, 3000, 96, 4) && has_zeroes(file, 3096, 5904), "... by zeroes");
    s3pve_volume_release(file);
    s3pve_volumes_delete(node, FILE1, NULL, &err);
    s3pve_volumes_close(node);
    snprintf(command, sizeof(command), "rm -rf '%s/n1'", dir);
    if (local)
        return;

    s3pve_volume_create(client, FILE1, S3PVE_VOLUME_FILE, NULL, &err);
    write_and_die(local, true);
    ok(system(command) == 0, "killed after a flush, and the node's disk is lost");
    node = node_open(client, &(struct node_options){.dir = dir, .name = "n2", .scale = 10});
    s3pve_volume_hold(node, FILE1, NULL, &file, &err);
    ok(s3pve_volume_size(file) >= 100000,
       "another node has what was flushed: %llu bytes",
       (unsigned long long)s3pve_volume_size(file));
    ok(has_bytes(file, 0, 100000, 3), "... as it was");
    is_int(s3pve_volume_truncate(file, 200000, NULL, &err), 0, "made longer");
    ok(has_zeroes(file, 123456, 76544), "... by zeroes");
    s3pve_volume_release(file);
    s3pve_volumes_delete(node, FILE1, NULL, &err);
    s3pve_volumes_close(node);
}

int main(void) {
    char command[256];

    snprintf(dir, sizeof(dir), "%s/images.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    config = live_config();
    client = new_client();
    if (s3pve_bucket_create(client, NULL, &err) < 0)
        bail_out("%s", err.message);
    test_growing(false);
    test_growing(true);
    test_background();
    test_killed(true);
    test_killed(false);
    s3pve_client_close(client);
    s3pve_config_free(config);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
