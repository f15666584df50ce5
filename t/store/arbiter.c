/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Volumes on servers that do not keep conditions, under locks of a cluster: two nodes want one at
 * the same time, again and again, and one of them gets it.  TEST_FIGHTS: how often, on each server.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "cfs.h"
#include "guest.h"
#include "live.h"
#include "tap.h"
#include "volume/store.h"
#include "volume/swap.h"

#define SIZE MIB(16)
#define SCALE 10 /* the lease is renewed every second */
#define N_SWAPS 20

static const char *const liars[] = {
    "conditions=off",
    "conditions=refuse",
    "conditions=ignore-match",
    "conditions=ignore-none-match",
    "conditions=resurrect",
    "conditions=race",
};

static struct shared {
    pthread_barrier_t barrier;
    bool won[2];
    uint32_t flushed; /* the last number that a flush was answered for */
    unsigned n_fights, n_decided, n_won[2];
    char failure[300]; /* "", or what went wrong first */
} * shared;

static char dir[128], locks[160];

static void fail_with(const char *what, const char *why) {
    if (!shared->failure[0])
        snprintf(shared->failure, sizeof(shared->failure), "%.80s: %.200s", what, why);
}

/* A client of the fake server, with or without locks. */
static struct s3pve_client *open_client(const char *lock_dir) {
    struct s3pve_config *config = live_fake_config("20");
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_client *client = NULL;

    if (s3pve_config_set(config, "lock-dir", lock_dir, &err) < 0 ||
        s3pve_client_open(config, NULL, NULL, &client, &err) < 0 ||
        s3pve_client_start_thread(client, &err) < 0)
        bail_out("%s", err.message);
    s3pve_config_free(config);
    return client;
}

/* ------------------------------------------------------------------- fights */

static void use(struct guest *guest) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint32_t block[BLOCK / 4] = {0};

    if (guest_read(guest, block, 0, BLOCK) != 0 || block[0] != shared->flushed)
        fail_with("the winner", "does not find what was flushed");
    block[0] = shared->flushed + 1;
    if (guest_write(guest, block, 0, BLOCK) == 0 && guest_flush(guest) == 0)
        shared->flushed++;
    else
        fail_with("the winner", "cannot write");
    if (runtime_hand_back(guest->runtime, &WAIT(30000), &err) < 0)
        fail_with("handing back", err.message);
    guest->runtime = runtime_close(guest->runtime);
}

static void fight(struct guest *guest, unsigned me) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    pthread_barrier_wait(&shared->barrier);
    usleep((unsigned)rand() % 4000);
    shared->won[me] = guest_open(guest, true, &err);
    if (!shared->won[me] && err.code != S3PVE_E_CONFLICT)
        fail_with("the loser", err.message);
    pthread_barrier_wait(&shared->barrier);
    if (me == 0)
        shared->n_decided += shared->won[0] != shared->won[1];
    if (!shared->won[me])
        return;
    shared->n_won[me]++;
    use(guest);
}

static void fighter(unsigned me) {
    struct s3pve_client *client = open_client(locks);
    struct guest guest;

    srand(me + 1);
    if (!guest_volumes(&guest, client, dir, me ? "n1" : "n0", MIB(8), SCALE))
        fail_with("volumes", "none");
    for (unsigned i = 0; i < shared->n_fights && !shared->failure[0]; i++) {
        fight(&guest, me);
        pthread_barrier_wait(&shared->barrier);
    }
    guest_close(&guest);
    s3pve_client_close(client);
    _exit(0);
}

static void begin_shared(unsigned n_fights) {
    pthread_barrierattr_t attr;

    memset(shared, 0, sizeof(*shared));
    pthread_barrierattr_init(&attr);
    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->barrier, &attr, 2);
    shared->n_fights = n_fights;
}

static void run_two(void (*body)(unsigned me)) {
    pid_t pids[2];

    for (unsigned i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            body(i);
    }
    for (unsigned i = 0; i < 2; i++)
        waitpid(pids[i], NULL, 0);
}

static void test_fights(const char *settings) {
    const char *many = getenv("TEST_FIGHTS");
    struct s3pve_client *client;

    s3pve_client_close(live_fake(settings, "20"));
    begin_shared(many ? (unsigned)atoi(many) : 5);
    client = open_client(locks);
    ok(guest_create(client, SIZE, 128), "a volume on a server with %s", settings);
    ok(!guest_create(client, SIZE, 128), "... and no second one of that name");
    s3pve_client_close(client);
    run_two(fighter);
    is_str(shared->failure, "", "two nodes fight for it");
    is_int(shared->n_decided, shared->n_fights, "... and one of them wins, every time");
    is_int(shared->flushed, shared->n_fights, "... and nothing flushed is lost");
    printf("# %u : %u\n", shared->n_won[0], shared->n_won[1]);
    is_int(rmdir(locks), 0, "... and no lock is left");
    mkdir(locks, 0700);
}

/* -------------------------------------------------------------------- swaps */

/* One sector more, by whoever is first; no two write the same bytes. */
static int grow(struct store *store, unsigned me, struct s3pve_error *err) {
    _cleanup_(root_clear) struct root root = {0};
    char etag[ETAG_ROOM];

    if (root_read(&store_ops, store, &root, etag, err) < 0)
        return -1;
    root.size += 512;
    root.owner.nonce = me + 1;
    return root_swap(&store_ops, store, &root, etag, err);
}

static void grower(unsigned me) {
    struct s3pve_client *client = open_client(locks);
    struct store store = {.client = client, .folder = GUEST_FOLDER};

    pthread_barrier_wait(&shared->barrier);
    while (shared->n_won[me] < N_SWAPS && !shared->failure[0]) {
        struct s3pve_error err = S3PVE_ERROR_INIT;

        if (grow(&store, me, &err) == 0)
            shared->n_won[me]++;
        else if (err.code != S3PVE_E_CONFLICT)
            fail_with("a swap", err.message);
    }
    s3pve_client_close(client);
    _exit(0);
}

static void test_swaps(const char *settings) {
    struct store store = {.folder = GUEST_FOLDER};
    struct root root = {0};
    char etag[ETAG_ROOM];

    s3pve_client_close(live_fake(settings, "20"));
    begin_shared(0);
    store.client = open_client(locks);
    is_int(store_create(&store, SIZE, 128, NULL), 0, "a volume on a server with %s", settings);
    live_fake_rule("op=GetObject key=volume.json do=delay delay=0.01 times=0"); /* old news */
    run_two(grower);
    is_str(shared->failure, "", "two nodes swap its root, as often as they can");
    is_int(shared->n_won[0] + shared->n_won[1], 2 * N_SWAPS, "... both do");
    is_int(store_root(&store, &root, etag, NULL), 0, "... it is still one");
    is_int((long long)root.rev, 1 + 2 * N_SWAPS, "... and no swap undid another: its rev");
    is_int((long long)(root.size - SIZE) / 512, 2 * N_SWAPS, "... and size");
    root_clear(&root);
    s3pve_client_close(store.client);
}

/* ----------------------------------------------------------------- no locks */

static void test_no_locks(void) {
    struct s3pve_client *client;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct store store = {.folder = GUEST_FOLDER};

    s3pve_client_close(live_fake("conditions=off", "20"));
    store.client = client = open_client("");
    is_int(store_create(&store, SIZE, 128, &err), -1, "without locks no volume is made there");
    is_int(err.code, S3PVE_E_UNSUPPORTED, "... as this cannot be done");
    ok(strstr(err.message, "lock-dir"), "... but could be: %s", err.message);
    s3pve_client_close(client);
    err = S3PVE_ERROR_INIT;
    store.client = client = open_client("/nonexistent/lock");
    is_int(store_create(&store, SIZE, 128, &err), -1, "nor when their folder is missing");
    ok(strstr(err.message, "/nonexistent/lock"), "... which is named: %s", err.message);
    s3pve_client_close(client);
}

static void test_quorum(void) {
    struct s3pve_client *client;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct guest guest;
    uint32_t block[BLOCK / 4] = {1};
    char away[200];

    snprintf(away, sizeof(away), "%s.away", locks);
    s3pve_client_close(live_fake("conditions=off", "20"));
    client = open_client(locks);
    guest_create(client, SIZE, 128);
    guest_volumes(&guest, client, dir, "n3", MIB(8), SCALE);
    ok(guest_open(&guest, true, &err), "a volume %s", err.message);
    rename(locks, away);
    is_int(guest_write(&guest, block, 0, BLOCK), 0, "without quorum it goes on writing");
    is_int(guest_flush(&guest), 0, "... and flushing");
    is_int(runtime_hand_back(guest.runtime, &WAIT(3000), &err), -1, "it is not handed back");
    ok(strstr(err.message, locks), "... which is told: %s", err.message);
    rename(away, locks);
    err = S3PVE_ERROR_INIT;
    is_int(runtime_hand_back(guest.runtime, &WAIT(30000), &err), 0, "then it is %s", err.message);
    guest_close(&guest);
    s3pve_client_close(client);
}

/* ----------------------------------------------------------- a dead node's lock */

static bool has_lock(void) {
    return rmdir(locks) < 0 || mkdir(locks, 0700) < 0;
}

static void opener(void) {
    struct s3pve_client *client = open_client(locks);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct guest guest;

    if (guest_volumes(&guest, client, dir, "n0", MIB(8), SCALE))
        guest_open(&guest, true, &err);
    pause();
}

static void test_dead(void) {
    struct s3pve_client *client;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct guest guest;
    pid_t pid, cfs;

    s3pve_client_close(live_fake("conditions=off", "20"));
    client = open_client(locks);
    guest_create(client, SIZE, 128);
    live_fake_rule("op=PutObject key=volume.json do=hang");
    pid = fork();
    if (pid == 0)
        opener();
    for (int i = 0; i < 1000 && !has_lock(); i++)
        usleep(10000);
    ok(has_lock(), "a node is in the middle of a claim");
    usleep(200000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ok(has_lock(), "... and dies, and its lock stays");
    cfs = cfs_start(locks, 2000);
    ok(guest_volumes(&guest, client, dir, "n1", MIB(8), SCALE), "another node");
    ok(guest_open(&guest, true, &err),
       "... gets the volume when the lock has run out %s",
       err.message);
    guest_close(&guest);
    cfs_stop(cfs);
    s3pve_client_close(client);
}

/* -------------------------------------------------------------------- forks */

static int put_segment(struct store *store, uint64_t seq, uint32_t epoch, uint32_t nonce) {
    char name[SEGMENT_NAME];

    segment_name(name, &(struct segment_id){seq, epoch, nonce});
    return store_put(store, name, "x", 1, NULL);
}

static void test_fork(
    struct guest *guest, struct store *store, const char *what, int64_t by, uint32_t nonce
) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char key[LIMIT_KEY + 64], etag[ETAG_ROOM], name[SEGMENT_NAME];
    struct root root = {0};
    struct segment_id id;

    if (store_root(store, &root, etag, &err) < 0)
        bail_out("%s", err.message);
    id = (struct segment_id
    ){1000,
      (uint32_t)(root.epochs[root.n_epochs - 1].epoch + by),
      nonce ? nonce : root.owner.nonce};
    root_clear(&root);
    put_segment(store, id.seq, id.epoch, id.nonce);
    segment_name(name, &id);
    ok(!guest_open(guest, true, &err), "%s: not opened", what);
    is_int(err.code, S3PVE_E_CORRUPT, "... as something is wrong: %s", err.message);
    ok(strstr(err.message, name), "... with what was found");
    snprintf(key, sizeof(key), "%s/%s", store->data, name);
    is_int(s3pve_object_delete(store->client, key, NULL, NULL), 0, "... that is deleted");
    err = S3PVE_ERROR_INIT;
    ok(guest_open(guest, true, &err), "... and it opens %s", err.message);
    guest->runtime = runtime_close(guest->runtime);
}

static void test_forks(void) {
    struct s3pve_client *client;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct store store = {.folder = GUEST_FOLDER};
    struct guest guest;
    uint32_t block[BLOCK / 4] = {7};

    s3pve_client_close(live_fake("conditions=off", "20"));
    store.client = client = open_client(locks);
    guest_create(client, SIZE, 128);
    guest_volumes(&guest, client, dir, "n2", MIB(8), SCALE);
    ok(guest_open(&guest, true, &err), "a volume %s", err.message);
    guest_write(&guest, block, 0, BLOCK);
    is_int(guest_flush(&guest), 0, "... with something in it");
    guest.runtime = runtime_close(guest.runtime);
    test_fork(&guest, &store, "a later epoch than the root's", 1, 0);
    test_fork(&guest, &store, "another nonce in its epoch", 0, 0x12345678);
    ok(guest_open(&guest, true, &err), "at last");
    block[0] = 0;
    ok(guest_read(&guest, block, 0, BLOCK) == 0 && block[0] == 7, "... it is as it was");
    guest_close(&guest);
    s3pve_client_close(client);
}

int main(void) {
    char command[256];

    snprintf(dir, sizeof(dir), "%s/arbiter.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    snprintf(locks, sizeof(locks), "%s/lock", dir);
    mkdir(locks, 0700);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    test_no_locks();
    test_quorum();
    test_dead();
    test_forks();
    for (size_t i = 0; i < sizeof(liars) / sizeof(liars[0]); i++) {
        test_swaps(liars[i]);
        test_fights(liars[i]);
    }
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    is_int(system(command), 0, "cleaned up");
    return done_testing();
}
