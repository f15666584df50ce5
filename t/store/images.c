/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Volumes by name on a real server: made, listed, opened, handed from node to node, deleted. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "images.h"
#include "live.h"
#include "tap.h"

#define SIZE MIB(16)
#define DISK "100/vm-100-disk-0.raw"
#define OTHER "101/vm-101-disk-0.raw"
#define BASE "100/base-100-disk-0.raw"

static char dir[128];
static struct s3pve_client *client;
static struct s3pve_error err;

/* ------------------------------------------------------------------ in the bucket */

struct seen {
    char names[1000];
    unsigned n, stop_at;
};

static int see(void *ctx, const struct s3pve_volume_info *info) {
    struct seen *seen = ctx;

    snprintf(
        seen->names + strlen(seen->names),
        sizeof(seen->names) - strlen(seen->names),
        "%s ",
        info->name
    );
    return ++seen->n == seen->stop_at ? 7 : 0;
}

static const char *list(uint64_t vmid) {
    static struct seen seen;

    seen = (struct seen){0};
    if (s3pve_volume_list(client, vmid, see, &seen, NULL, &err) < 0)
        return err.message;
    return seen.names;
}

static void test_idle(void) {
    struct s3pve_volume_info info;
    struct seen seen = {.stop_at = 2};
    char name[64], wanted[1000] = "100/vm-100-disk-0.raw 100/vm-100-disk-1.qcow2 ";

    is_str(list(0), "", "an empty bucket has no volumes");
    is_int(s3pve_volume_create(client, DISK, SIZE, NULL, &err), 0, "one is made %s", err.message);
    is_int(s3pve_volume_create(client, DISK, SIZE, NULL, &err), -1, "a second time it is not");
    is_int(err.code, S3PVE_E_CONFLICT, "... but a conflict: %s", err.message);
    is_int(s3pve_volume_create(client, "100/vm-100-disk-1.raw", 100, NULL, &err), -1, "no sector");
    is_int(s3pve_volume_create(client, "100/vm-100-disk-1.raw", 0, NULL, &err), -1, "no bytes");
    is_int(err.code, S3PVE_E_INVALID, "... %s", err.message);
    is_int(s3pve_volume_create(client, "100/../x.raw", 512, NULL, &err), -1, "nor a bad name");
    is_int(err.code, S3PVE_E_INVALID, "... %s", err.message);
    is_int(s3pve_volume_stat(client, DISK, &info, NULL, &err), 0, "it is found %s", err.message);
    is_str(info.name, DISK, "... by its name");
    is_int((long long)info.size, SIZE, "... with its size");
    ok(info.created > 1600000000, "... its age");
    is_int(info.state, S3PVE_VOLUME_CLOSED, "... and is nobody's");
    ok(!info.node[0] && !info.is_file, "... and no file");
    s3pve_volume_create(client, "100/vm-100-disk-1.qcow2", S3PVE_VOLUME_FILE, NULL, &err);
    is_int(s3pve_volume_stat(client, "100/vm-100-disk-1.qcow2", &info, NULL, &err), 0, "a file");
    ok(info.is_file && info.size == 0, "... is one, and empty");
    s3pve_volume_create(client, "9/base-9-disk-0.raw", SIZE, NULL, &err);
    is_str(
        list(0),
        "100/vm-100-disk-0.raw 100/vm-100-disk-1.qcow2 9/base-9-disk-0.raw ",
        "all are listed"
    );
    is_str(list(9), "9/base-9-disk-0.raw ", "... or one guest's");
    is_str(list(10), "", "... or none");
    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "%u/vm-%u-disk-0.raw", 200 + i, 200 + i);
        s3pve_volume_create(client, name, SIZE, NULL, &err);
        strcat(strcat(wanted, name), " ");
    }
    strcat(wanted, "9/base-9-disk-0.raw ");
    is_str(list(0), wanted, "... also of many guests, in order");
    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "%u/vm-%u-disk-0.raw", 200 + i, 200 + i);
        s3pve_volume_delete(client, name, NULL, &err);
    }
    is_int(s3pve_volume_list(client, 0, see, &seen, NULL, &err), 7, "a list can be ended");
    is_int(seen.n, 2, "... at once");
    is_int(s3pve_volume_delete(client, "9/base-9-disk-0.raw", NULL, &err), 0, "one is deleted");
    is_int(s3pve_volume_delete(client, "9/base-9-disk-0.raw", NULL, &err), -1, "... not twice");
    is_int(err.code, S3PVE_E_NOT_FOUND, "... %s", err.message);
    is_str(list(9), "", "... and is gone");
}

static void test_many(void) {
    char name[64], wanted[1000] = "";

    for (unsigned i = 10; i < 10 + LIST_ROOTS + 3; i++) {
        snprintf(name, sizeof(name), "7/vm-7-disk-%u.raw", i);
        s3pve_volume_create(client, name, SIZE, NULL, &err);
        strcat(strcat(wanted, name), " ");
    }
    is_str(list(7), wanted, "more than are read at once are listed in order");
    for (unsigned i = 10; i < 10 + LIST_ROOTS + 3; i++) {
        snprintf(name, sizeof(name), "7/vm-7-disk-%u.raw", i);
        s3pve_volume_delete(client, name, NULL, &err);
    }
    is_str(list(0), "100/vm-100-disk-0.raw 100/vm-100-disk-1.qcow2 ", "... and deleted");
}

/* ------------------------------------------------------------------- on nodes */

static void test_life(void) {
    struct s3pve_volumes *one = node_open(client, &(struct node_options){.dir = dir, .name = "n1"});
    struct s3pve_volumes *two = node_open(client, &(struct node_options){.dir = dir, .name = "n2"});
    struct s3pve_call brief = {.timeout_ms = 300};
    struct s3pve_call soon = {.timeout_ms = LEASE_OBSERVE_MS / 2};
    struct s3pve_volume *volume = NULL;
    struct s3pve_volume_stats stats;

    is_int(s3pve_volumes_activate(one, DISK, NULL, &err), 0, "a node activates it %s", err.message);
    is_int(s3pve_volumes_activate(one, DISK, NULL, &err), 0, "... and again, which is nothing new");
    is_int(s3pve_volume_hold(one, DISK, NULL, &volume, &err), 0, "... holds it %s", err.message);
    is_int((long long)s3pve_volume_size(volume), SIZE, "... knows its size");
    is_int(put_bytes(volume, 1000, 70000, 1), 0, "... writes");
    ok(has_bytes(volume, 1000, 70000, 1), "... and reads that");
    ok(stats_of(one, DISK, &stats) && stats.active && stats.n_held == 1, "... and says so");
    ok(stats.dirty && stats.n_writes && !stats.failure.code, "... with what is to be stored");
    is_int(s3pve_volumes_activate(two, DISK, NULL, &err), -1, "another node does not get it");
    is_int(err.code, S3PVE_E_CONFLICT, "... %s", err.message);
    ok(strstr(err.message, "'n1'"), "... and is told who has it");
    is_int(count_files(dir, "n2"), 0, "... and keeps nothing of it");
    is_int(s3pve_volumes_deactivate(one, DISK, &brief, &err), -1, "it is held, and so stays");
    is_int(err.code, S3PVE_E_CONFLICT, "... %s", err.message);
    is_int(s3pve_volumes_resize(one, DISK, SIZE * 2, NULL, &err), 0, "it grows %s", err.message);
    is_int((long long)s3pve_volume_size(volume), SIZE * 2, "... under who holds it");
    is_int(put_bytes(volume, SIZE * 2 - 5000, 5000, 2), 0, "... who writes there");
    is_int(s3pve_volumes_resize(one, DISK, SIZE, NULL, &err), -1, "it does not shrink");
    is_int(err.code, S3PVE_E_INVALID, "... %s", err.message);
    volume = s3pve_volume_release(volume);
    is_int(s3pve_volumes_deactivate(one, DISK, NULL, &err), 0, "it is deactivated %s", err.message);
    ok(!stats_of(one, DISK, &stats), "... and not open any more");
    is_int(count_files(dir, "n1"), 0, "... and nothing of it is left on the node");
    is_int(s3pve_volumes_deactivate(one, DISK, NULL, &err), 0, "... twice is fine");
    is_int(s3pve_volumes_activate(two, DISK, &soon, &err), 0, "the other has it at once");
    is_int(s3pve_volume_hold(two, DISK, NULL, &volume, &err), 0, "... holds it");
    ok(has_bytes(volume, 1000, 70000, 1), "... with what was written");
    ok(has_bytes(volume, SIZE * 2 - 5000, 5000, 2), "... to its new end");
    volume = s3pve_volume_release(volume);
    is_int(
        s3pve_volume_delete(client, DISK, &(struct s3pve_call){.timeout_ms = 15000}, &err),
        -1,
        "who is no node cannot delete what one has"
    );
    is_int(s3pve_volumes_delete(two, DISK, NULL, &err), 0, "the node can %s", err.message);
    is_int(count_files(dir, "n2"), 0, "... and keeps nothing");
    is_int(s3pve_volume_hold(two, DISK, NULL, &volume, &err), -1, "... it is gone");
    is_int(err.code, S3PVE_E_NOT_FOUND, "... %s", err.message);
    s3pve_volumes_close(one);
    s3pve_volumes_close(two);
}

static void test_linger(void) {
    struct node_options options = {.dir = dir, .name = "n1", .linger_ms = 2000};
    struct s3pve_volumes *one = node_open(client, &options);
    struct s3pve_volume *volume = NULL, *again = NULL;
    struct s3pve_volume_stats stats;
    struct s3pve_volume_info info;

    s3pve_volume_create(client, DISK, SIZE, NULL, &err);
    is_int(s3pve_volume_hold(one, DISK, NULL, &volume, &err), 0, "one is held %s", err.message);
    is_int(s3pve_volume_hold(one, DISK, NULL, &again, &err), 0, "... twice");
    ok(again == volume, "... it is the same");
    is_int(put_bytes(volume, 0, 4096, 3), 0, "... written");
    s3pve_volume_release(again);
    usleep(2500000);
    ok(stats_of(one, DISK, &stats), "who holds it is not disturbed");
    s3pve_volume_release(volume);
    ok(stats_of(one, DISK, &stats) && !stats.active, "released, it is open for a while");
    for (unsigned i = 0; i < 600 && stats_of(one, DISK, &stats); i++)
        usleep(100000);
    ok(!stats_of(one, DISK, &stats), "... and then not");
    s3pve_volume_stat(client, DISK, &info, NULL, &err);
    is_int(info.state, S3PVE_VOLUME_CLOSED, "... but anybody's");
    is_int(count_files(dir, "n1"), 0, "... and nothing is left");
    is_int(s3pve_volume_hold(one, DISK, NULL, &volume, &err), 0, "held again %s", err.message);
    ok(has_bytes(volume, 0, 4096, 3), "... it has what was written");
    s3pve_volume_release(volume);
    s3pve_volumes_close(one);
}

struct opener {
    struct s3pve_volumes *node;
    const char *name;
    struct s3pve_volume *volume;
    struct s3pve_error err;
};

static void *opener_thread(void *arg) {
    struct opener *opener = arg;
    struct s3pve_call call = {.timeout_ms = 120000};

    s3pve_volume_hold(opener->node, opener->name, &call, &opener->volume, &opener->err);
    return NULL;
}

/* Who closes a volume writes his lease no more, or at the same pace: the root tells sooner.  The
 * nodes' leases are as in life, so that the first one does not seem to live. */
static void test_handed_over(const char *name, const char *what) {
    struct s3pve_volumes *one =
        node_open(client, &(struct node_options){.dir = dir, .name = "n1", .scale = 1});
    struct opener opener = {
        .node = node_open(client, &(struct node_options){.dir = dir, .name = "n2", .scale = 1}),
        .name = name,
    };
    struct s3pve_volume *volume = NULL;
    pthread_t thread;
    time_t began = time(NULL);

    s3pve_volumes_activate(one, name, NULL, &err);
    if (s3pve_volume_hold(one, name, NULL, &volume, &err) < 0)
        bail_out("%s", err.message);
    pthread_create(&thread, NULL, opener_thread, &opener);
    usleep(1000000);
    is_int(put_bytes(volume, 0, 300000, 5), 0, "%s that another node waits for is written", what);
    s3pve_volume_release(volume);
    is_int(s3pve_volumes_deactivate(one, name, NULL, &err), 0, "... and closed %s", err.message);
    pthread_join(thread, NULL);
    ok(opener.volume, "... the other has it then %s", opener.err.message);
    ok(time(NULL) - began < 40, "... and does not wait for a lease to end");
    if (!opener.volume)
        bail_out("none");
    ok(s3pve_volume_size(opener.volume) >= 300000, "... as long as it is");
    ok(has_bytes(opener.volume, 0, 300000, 5), "... with what was written meanwhile");
    s3pve_volume_release(opener.volume);
    is_int(s3pve_volumes_deactivate(opener.node, name, NULL, &err), 0, "... and hands it back");
    s3pve_volumes_close(one);
    s3pve_volumes_close(opener.node);
}

/* Its state is lost, while another volume keeps its lease alive. */
static void test_forgotten(void) {
    struct node_options options = {.dir = dir, .name = "n1"};
    struct s3pve_volumes *one = node_open(client, &options);
    struct s3pve_volume_info info;
    char command[256];

    s3pve_volume_create(client, OTHER, SIZE, NULL, &err);
    is_int(s3pve_volumes_activate(one, DISK, NULL, &err), 0, "one is active %s", err.message);
    s3pve_volumes_close(one);
    snprintf(command, sizeof(command), "rm -rf '%s/n1'", dir);
    ok(system(command) == 0, "its node loses its state");
    one = node_open(client, &options);
    is_int(s3pve_volumes_activate(one, OTHER, NULL, &err), 0, "... and goes on %s", err.message);
    s3pve_volume_stat(client, DISK, &info, NULL, &err);
    is_int(info.state, S3PVE_VOLUME_OPEN, "the first one still says that it is the node's");
    is_int(s3pve_volumes_deactivate(one, DISK, NULL, &err), 0, "deactivated %s", err.message);
    s3pve_volume_stat(client, DISK, &info, NULL, &err);
    is_int(info.state, S3PVE_VOLUME_CLOSED, "... it is anybody's");
    is_int(s3pve_volumes_deactivate(one, OTHER, NULL, &err), 0, "so is the other %s", err.message);
    is_int(s3pve_volumes_delete(one, OTHER, NULL, &err), 0, "... which goes %s", err.message);
    s3pve_volumes_close(one);
}

static void test_rename(void) {
    struct s3pve_volumes *one = node_open(client, &(struct node_options){.dir = dir, .name = "n1"});
    struct s3pve_volume *volume = NULL;
    struct s3pve_volume_stats stats;

    is_int(s3pve_volumes_activate(one, DISK, NULL, &err), 0, "an active one %s", err.message);
    is_int(s3pve_volumes_rename(one, DISK, BASE, NULL, &err), -1, "... is not renamed");
    is_int(err.code, S3PVE_E_CONFLICT, "... %s", err.message);
    s3pve_volumes_deactivate(one, DISK, NULL, &err);
    is_int(s3pve_volume_hold(one, DISK, NULL, &volume, &err), 0, "but one that was just used is");
    is_int(put_bytes(volume, 8192, 50000, 4), 0, "... and written");
    s3pve_volume_release(volume);
    ok(stats_of(one, DISK, &stats), "... and still open");
    is_int(s3pve_volumes_rename(one, DISK, BASE, NULL, &err), 0, "renamed %s", err.message);
    ok(!stats_of(one, DISK, &stats), "... it is not open any more");
    is_str(list(0), BASE " 100/vm-100-disk-1.qcow2 ", "... and has its new name alone");
    is_int(s3pve_volume_hold(one, BASE, NULL, &volume, &err), 0, "... by which it opens");
    ok(has_bytes(volume, 8192, 50000, 4), "... with what was written");
    s3pve_volume_release(volume);
    is_int(s3pve_volume_create(client, DISK, SIZE, NULL, &err), 0, "its old name is free");
    is_int(s3pve_volumes_delete(one, BASE, NULL, &err), 0, "it is deleted %s", err.message);
    is_int(s3pve_volume_empty_trash(client, NULL, &err), 0, "... and its objects %s", err.message);
    is_int(s3pve_volume_hold(one, DISK, NULL, &volume, &err), 0, "who has its name now is whole");
    ok(has_zeroes(volume, 0, SIZE), "... and another");
    s3pve_volume_release(volume);
    s3pve_volumes_close(one);
}

int main(void) {
    char command[256];

    snprintf(dir, sizeof(dir), "%s/images.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    client = live_client("pve");
    if (s3pve_client_start_thread(client, NULL) < 0)
        bail_out("no thread");
    test_idle();
    test_many();
    test_life();
    test_linger();
    test_handed_over(DISK, "a disk");
    test_handed_over("100/vm-100-disk-1.qcow2", "a file that grows");
    test_forgotten();
    test_rename();
    s3pve_client_close(client);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
