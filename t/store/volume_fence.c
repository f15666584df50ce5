/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A node that stands still for longer than its lease: another one takes its volume, and when it
 * wakes up it says yes to no flush (D5), damages nothing, and says why.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "guest.h"
#include "live.h"
#include "tap.h"

#define SIZE MIB(16)
#define SCALE 10 /* the lease is valid for 3.5 s, and watched for 5 */

/* What the sleeper tells. */
struct shared {
    uint32_t n_flushed; /* so often its writes were flushed */
    int errnum;         /* of the request that failed */
    bool refused;       /* and of one more after it */
};

static struct shared *shared;
static struct s3pve_config *config;
static char dir[128];

static struct s3pve_client *open_client(void) {
    struct s3pve_client *client = NULL;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (s3pve_client_open(config, NULL, NULL, &client, &err) < 0 ||
        s3pve_client_start_thread(client, &err) < 0)
        bail_out("%s", err.message);
    return client;
}

/* Writes its number and flushes, until that fails. */
static void sleeper(void) {
    struct s3pve_client *client = open_client();
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct guest guest;
    uint32_t block[BLOCK / 4];

    if (!guest_volumes(&guest, client, dir, "n1", MIB(8), SCALE) || !guest_open(&guest, true, &err))
        _exit(1);
    while (!shared->errnum) {
        memset(block, 0, sizeof(block));
        block[0] = shared->n_flushed + 1;
        shared->errnum = guest_write(&guest, block, 0, BLOCK);
        if (!shared->errnum)
            shared->errnum = guest_flush(&guest);
        if (!shared->errnum)
            shared->n_flushed++;
    }
    shared->refused = guest_write(&guest, block, 0, BLOCK) != 0;
    pause();
}

static uint32_t number_at(struct guest *guest, uint64_t offset) {
    uint32_t block[BLOCK / 4] = {UINT32_MAX};

    guest_read(guest, block, offset, BLOCK);
    return block[0];
}

static void test_taken(pid_t pid) {
    struct s3pve_client *client = open_client();
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct guest guest;
    uint32_t block[BLOCK / 4] = {77}, flushed, found;
    int64_t began_ms = clock_monotonic_ms();

    ok(guest_volumes(&guest, client, dir, "n2", MIB(8), SCALE), "another node");
    ok(guest_open(&guest, true, &err), "... takes the volume %s", err.message);
    ok(clock_monotonic_ms() - began_ms >= LEASE_OBSERVE_MS / SCALE, "... not before it is sure");
    flushed = shared->n_flushed;
    found = number_at(&guest, 0);
    ok(found == flushed || found == flushed + 1, "it has what was flushed: %u", found);
    is_int(guest_write(&guest, block, BLOCK, BLOCK), 0, "it writes");
    is_int(guest_flush(&guest), 0, "... and flushes");
    kill(pid, SIGCONT);
    for (int i = 0; i < 2000 && !shared->refused; i++)
        usleep(10000);
    /* it may yet count the one that was answered just before it fell asleep */
    ok(shared->n_flushed == flushed || shared->n_flushed == found,
       "the sleeper wakes up, and no flush succeeds");
    is_int(shared->errnum, EBUSY, "... since it is another's volume now");
    ok(shared->refused, "... and it takes nothing more");
    is_int((long long)number_at(&guest, 0), found, "the disk is as it was");
    is_int((long long)number_at(&guest, BLOCK), 77, "... and as it was written since");
    is_int(
        runtime_hand_back(guest.runtime, &WAIT(30000), &err), 0, "it is handed back %s", err.message
    );
    guest.runtime = runtime_close(guest.runtime);
    ok(guest_open(&guest, true, &err), "... and opens");
    is_int((long long)number_at(&guest, BLOCK), 77, "... as it was");
    guest_close(&guest);
    s3pve_client_close(client);
}

static void make_volume(void) {
    struct s3pve_client *client;

    config = live_bucket("pve");
    client = open_client();
    ok(guest_create(client, SIZE, 128), "a volume");
    s3pve_client_close(client);
}

int main(void) {
    char command[256];
    pid_t pid;

    snprintf(dir, sizeof(dir), "%s/fence.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    make_volume();
    pid = fork();
    if (pid == 0) {
        sleeper();
        _exit(1);
    }
    for (int i = 0; i < 3000 && shared->n_flushed < 3; i++)
        usleep(10000);
    ok(shared->n_flushed >= 3, "a node writes and flushes");
    kill(pid, SIGSTOP);
    test_taken(pid);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    s3pve_config_free(config);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
