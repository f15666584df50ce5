/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Who writes to a file that grows is killed, again and again: it is as long as what was answered,
 * or as what was under way would have made it, and has what was written; what was cut off is zeroes
 * when it comes back.  TEST_CRASHES: how often, 8 by default.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "images.h"
#include "live.h"
#include "tap.h"

#define FILE1 "100/vm-100-disk-1.qcow2"
#define MODEL MIB(1)
#define LONGEST 30000u

/* What the dead leave behind. */
struct shared {
    uint64_t length;             /* as it was answered */
    uint64_t next;               /* or as what is under way makes it */
    uint64_t unsure, unsure_end; /* where it changes something */
    unsigned n_ops;
    uint8_t bytes[MODEL]; /* behind the length: zeroes */
};

static char dir[128];
static struct shared *shared;
static struct s3pve_config *config;
static struct s3pve_error err;
static unsigned seed;

static uint32_t chance(uint32_t n) {
    return (uint32_t)rand_r(&seed) % n;
}

static struct s3pve_client *new_client(void) {
    struct s3pve_client *new = NULL;

    if (s3pve_client_open(config, NULL, NULL, &new, &err) < 0 ||
        s3pve_client_start_thread(new, &err) < 0)
        bail_out("%s", err.message);
    return new;
}

static void begin(uint64_t next, uint64_t from, uint64_t to) {
    shared->next = next;
    shared->unsure = from;
    shared->unsure_end = to;
}

static void done(void) {
    shared->length = shared->next;
    shared->unsure = shared->unsure_end = 0;
    shared->n_ops++;
}

static bool write_some(struct s3pve_volume *file) {
    uint64_t at = chance(4) ? shared->length : chance((uint32_t)shared->length + 5000);
    uint64_t len = 1 + chance(LONGEST), end;
    uint8_t data[LONGEST];

    if (at + len > MODEL)
        at = MODEL - len;
    end = at + len;
    for (uint64_t i = 0; i < len; i++)
        data[i] = (uint8_t)(1 + chance(255));
    begin(end > shared->length ? end : shared->length, at, end);
    if (volume_write(file, data, at, len) != 0)
        return false;
    memcpy(shared->bytes + at, data, len);
    done();
    return true;
}

static bool cut(struct s3pve_volume *file) {
    uint64_t to = chance((uint32_t)MODEL), from = shared->length;

    begin(to, to < from ? to : 0, to < from ? from : 0);
    if (s3pve_volume_truncate(file, to, NULL, &err) < 0)
        return false;
    if (to < from)
        memset(shared->bytes + to, 0, from - to);
    done();
    return true;
}

static void work_until_killed(void) {
    struct node_options options = {.dir = dir, .name = "n1", .local = chance(2)};
    struct s3pve_volumes *node = node_open(new_client(), &options);
    struct s3pve_volume *file = NULL;
    bool good = s3pve_volume_hold(node, FILE1, NULL, &file, &err) == 0;

    while (good) {
        unsigned what = chance(20);

        if (what < 16)
            good = write_some(file);
        else if (what < 19)
            good = cut(file);
        else
            good = volume_flush(file) == 0;
    }
    _exit(1);
}

/* What is under way may be there or not; from now on it is as it is found. */
static bool is_right(struct s3pve_volume *file) {
    uint64_t length = s3pve_volume_size(file);
    uint8_t *got = calloc(1, MODEL);
    bool good = length == shared->length || length == shared->next;

    if (length && volume_read(file, got, 0, length) != 0)
        good = false;
    for (uint64_t i = 0; i < length && good; i++) {
        good = got[i] == shared->bytes[i] || (i >= shared->unsure && i < shared->unsure_end);
        if (!good)
            printf(
                "# byte %llu of %llu is %u\n",
                (unsigned long long)i,
                (unsigned long long)length,
                got[i]
            );
    }
    if (!good)
        printf(
            "# length %llu, was %llu or %llu\n",
            (unsigned long long)length,
            (unsigned long long)shared->length,
            (unsigned long long)shared->next
        );
    memcpy(shared->bytes, got, MODEL);
    free(got);
    shared->next = length;
    done();
    return good;
}

static void look(unsigned round) {
    struct s3pve_client *client = new_client();
    struct s3pve_volumes *node =
        node_open(client, &(struct node_options){.dir = dir, .name = "n1"});
    struct s3pve_volume *file = NULL;
    unsigned n_ops = shared->n_ops;

    if (s3pve_volume_hold(node, FILE1, NULL, &file, &err) < 0)
        bail_out("%s", err.message);
    ok(is_right(file), "killed for time %u, after %u changes, it is what it was", round, n_ops);
    begin(MODEL, 0, 0);
    if (s3pve_volume_truncate(file, MODEL, NULL, &err) < 0)
        bail_out("%s", err.message);
    done();
    ok(is_right(file), "... and what makes it longer is zeroes");
    s3pve_volume_release(file);
    s3pve_volumes_close(node);
    s3pve_client_close(client);
}

static void live_and_die(void) {
    unsigned n_ops = shared->n_ops;
    pid_t pid;

    seed++;
    pid = fork();
    if (pid == 0)
        work_until_killed();
    for (unsigned i = 0; i < 6000 && shared->n_ops < n_ops + 4; i++)
        usleep(10000);
    usleep(chance(500) * 1000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

int main(void) {
    unsigned n = getenv("TEST_CRASHES") ? (unsigned)atoi(getenv("TEST_CRASHES")) : 8;
    struct s3pve_client *client;
    char command[256];

    seed = (unsigned)getpid() * 1000;
    printf("# seed %u\n", seed);
    snprintf(dir, sizeof(dir), "%s/images.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!mkdtemp(dir) || shared == MAP_FAILED)
        bail_out("%s", dir);
    config = live_config();
    client = new_client();
    if (s3pve_bucket_create(client, NULL, &err) < 0 ||
        s3pve_volume_create(client, FILE1, S3PVE_VOLUME_FILE, NULL, &err) < 0)
        bail_out("%s", err.message);
    s3pve_client_close(client);
    for (unsigned i = 1; i <= n; i++) {
        live_and_die();
        look(i);
    }
    ok(shared->n_ops > 3 * n, "it was changed %u times", shared->n_ops);
    munmap(shared, sizeof(*shared));
    s3pve_config_free(config);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
