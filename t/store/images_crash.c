/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A daemon is killed with volumes open: the next one opens what was active, and hands back the
 * rest; all that was answered is there. */
#include <pthread.h>
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

#define SIZE MIB(16)
#define N_DISKS 3u /* two of them active, the last one held */

static const char *const disks[N_DISKS] = {
    "100/vm-100-disk-0.raw", "100/vm-100-disk-1.raw", "101/vm-101-disk-0.raw"};

static char dir[128], logged[4096];
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static struct s3pve_config *config;
static struct s3pve_client *client;
static struct s3pve_error err;

static void note(void *ctx, const struct s3pve_log_record *record) {
    size_t len;

    pthread_mutex_lock(&log_lock);
    len = strlen(logged);
    if (record->level <= S3PVE_LOG_WARNING)
        snprintf(logged + len, sizeof(logged) - len, "%s: %s\n", record->key, record->message);
    pthread_mutex_unlock(&log_lock);
}

static bool was_logged(const char *text) {
    bool found;

    pthread_mutex_lock(&log_lock);
    found = strstr(logged, text);
    logged[0] = '\0';
    pthread_mutex_unlock(&log_lock);
    return found;
}

static struct s3pve_client *new_client(void) {
    struct s3pve_client *new = NULL;

    if (s3pve_client_open(config, note, NULL, &new, &err) < 0 ||
        s3pve_client_start_thread(new, &err) < 0)
        bail_out("%s", err.message);
    return new;
}

static enum s3pve_volume_state state_of(const char *name) {
    struct s3pve_volume_info info = {.state = S3PVE_VOLUME_OPEN};

    s3pve_volume_stat(client, name, &info, NULL, &err);
    return info.state;
}

static bool gets_closed(const char *name) {
    for (unsigned i = 0; i < 1200 && state_of(name) != S3PVE_VOLUME_CLOSED; i++)
        usleep(50000);
    return state_of(name) == S3PVE_VOLUME_CLOSED;
}

static bool has(struct s3pve_volumes *node, const char *name, uint64_t len, unsigned seed) {
    struct s3pve_volume *volume = NULL;
    bool good;

    if (s3pve_volume_hold(node, name, NULL, &volume, &err) < 0)
        return false;
    good = has_bytes(volume, 0, len, seed);
    s3pve_volume_release(volume);
    return good;
}

static struct s3pve_volumes *open_n1(const char *boot) {
    return node_open(
        client, &(struct node_options){.dir = dir, .name = "n1", .boot = boot, .linger_ms = 100}
    );
}

/* What a daemon does, until it is killed. */
static void live_and_die(unsigned seed) {
    struct s3pve_volumes *node;
    struct s3pve_volume *volume;

    client = new_client();
    node = open_n1("boot-1");
    for (unsigned i = 0; i < N_DISKS; i++)
        if ((i + 1 < N_DISKS && s3pve_volumes_activate(node, disks[i], NULL, &err) < 0) ||
            s3pve_volume_hold(node, disks[i], NULL, &volume, &err) < 0 ||
            put_bytes(volume, 0, MIB(1), seed + i) != 0)
            _exit(1);
    kill(getpid(), SIGKILL);
}

static void run_and_kill(unsigned seed) {
    pid_t pid = fork();
    int status = 0;

    if (pid == 0)
        live_and_die(seed);
    waitpid(pid, &status, 0);
    ok(WIFSIGNALED(status), "a daemon with two active volumes and one in use is killed");
}

static void test_killed(void) {
    struct s3pve_volumes *node;
    struct s3pve_volume_stats stats;

    for (unsigned i = 0; i < N_DISKS; i++)
        s3pve_volume_create(client, disks[i], SIZE, NULL, &err);
    run_and_kill(1);
    node = open_n1("boot-1");
    is_int(
        s3pve_volumes_recover(node, NULL, &err), 2, "the next one has both again %s", err.message
    );
    ok(stats_of(node, disks[0], &stats) && stats.active, "... active");
    ok(stats_of(node, disks[1], &stats) && stats.active, "... the other, too");
    is_int(stats.epoch, 2, "... opened once more");
    ok(has(node, disks[0], MIB(1), 1) && has(node, disks[1], MIB(1), 2), "... with all answered");
    ok(gets_closed(disks[2]), "what was only in use is handed back");
    is_int(state_of(disks[0]), S3PVE_VOLUME_OPEN, "... what is active is not");
    is_int(s3pve_volumes_recover(node, NULL, &err), 2, "it may be asked twice");
    s3pve_volumes_close(node);

    node = open_n1("boot-2");
    is_int(s3pve_volumes_recover(node, NULL, &err), 0, "after a reboot nothing is active");
    ok(gets_closed(disks[0]) && gets_closed(disks[1]), "... and all is handed back");
    for (unsigned i = 0; i < 1200 && count_files(dir, "n1"); i++)
        usleep(50000);
    is_int(count_files(dir, "n1"), 0, "... and nothing is left on the node");
    s3pve_volumes_close(node);

    node = node_open(client, &(struct node_options){.dir = dir, .name = "n2"});
    ok(has(node, disks[0], MIB(1), 1) && has(node, disks[1], MIB(1), 2) &&
           has(node, disks[2], MIB(1), 3),
       "another node has all of them as they were");
    for (unsigned i = 0; i < N_DISKS; i++)
        is_int(s3pve_volumes_deactivate(node, disks[i], NULL, &err), 0, "... %s", disks[i]);
    s3pve_volumes_close(node);
    was_logged("");
}

/* Meanwhile another node takes one and somebody deletes another. */
static void test_lost(void) {
    struct s3pve_volumes *node, *other;
    struct s3pve_volume_stats stats;
    char command[300];

    run_and_kill(10);
    other = node_open(client, &(struct node_options){.dir = dir, .name = "n2", .scale = 10});
    is_int(s3pve_volumes_activate(other, disks[0], NULL, &err), 0, "one is taken %s", err.message);
    is_int(s3pve_volumes_delete(other, disks[1], NULL, &err), 0, "one deleted %s", err.message);
    was_logged("");
    node = open_n1("boot-1");
    is_int(s3pve_volumes_recover(node, NULL, &err), -1, "who comes back is told");
    ok(was_logged("'n2' has the volume open"), "... that one is another's");
    ok(stats_of(node, disks[0], &stats) && stats.active && stats.failure.code,
       "... which is still wanted here: %s",
       stats.failure.message);
    ok(gets_closed(disks[2]), "... what is left is handed back");
    is_int(s3pve_volumes_deactivate(node, disks[0], NULL, &err), 0, "it can be let go");
    is_int(s3pve_volumes_deactivate(node, disks[1], NULL, &err), 0, "... as what is gone");
    ok(was_logged("kept for"), "... and what only this node had is kept, and said");
    ok(!stats_of(node, disks[0], &stats) && !stats_of(node, disks[1], &stats),
       "... then forgotten");
    is_int(s3pve_volumes_recover(node, NULL, &err), 0, "... for good");
    s3pve_volumes_close(node);
    snprintf(command, sizeof(command), "ls '%s'/n1/*/journal-lost-* | wc -l | grep -qx 2", dir);
    ok(system(command) == 0, "both journals are there");
    snprintf(command, sizeof(command), "touch -d '40 days ago' '%s'/n1/*/journal-lost-*", dir);
    ok(system(command) == 0, "... and grow old");
    node = open_n1("boot-1");
    is_int(s3pve_volumes_recover(node, NULL, &err), 0, "the next one");
    is_int(count_files(dir, "n1"), 0, "... removes them");
    s3pve_volumes_close(node);
    is_int(s3pve_volumes_deactivate(other, disks[0], NULL, &err), 0, "the other hands it back");
    s3pve_volumes_close(other);
}

/* An older, consistent one is what is left of it. */
static void test_node_lost(void) {
    struct s3pve_volumes *node;
    struct s3pve_volume *volume = NULL;
    char command[300];
    uint8_t byte;

    s3pve_volume_create(client, disks[1], SIZE, NULL, &err);
    run_and_kill(20);
    snprintf(command, sizeof(command), "rm -rf '%s/n1'", dir);
    ok(system(command) == 0, "a node is lost with its disk");
    node = node_open(client, &(struct node_options){.dir = dir, .name = "n2", .scale = 10});
    is_int(s3pve_volume_hold(node, disks[0], NULL, &volume, &err), 0, "another has its volumes");
    is_int(volume_read(volume, &byte, 0, 1), 0, "... to read");
    s3pve_volume_release(volume);
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
    test_killed();
    test_lost();
    test_node_lost();
    s3pve_client_close(client);
    s3pve_config_free(config);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
