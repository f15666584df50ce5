/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A daemon that writes is killed, again and again, and a node lost with its journal: what is left
 * is the disk after some write, with all before it and none after (D4); every answered one is in it
 * when the journal is there (D2), every flushed one when only the bucket is (D3).
 *
 * Each block that is written carries a number, counted up in the order of writing.  TEST_CRASHES:
 * how often the daemon is killed, 6 by default.
 */
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

#define SIZE MIB(32)
#define N_BLOCKS ((uint32_t)(SIZE / BLOCK))
#define N_WRITES (8u << 20)
#define N_SLOTS 16
#define PAUSE_US 5000    /* after every other write: 30 MB/s, for the store's memory is bounded */
#define LONGEST 40u      /* blocks of a write */
#define NEVER UINT32_MAX /* a write that was lost */

/* What the dead leave behind. */
struct shared {
    bool is_open;              /* the volume is, and was looked at */
    char failure[400];         /* "", or what is wrong with it */
    uint32_t n_writes;         /* numbers given so far */
    uint32_t answered;         /* the last that was */
    uint32_t flushed;          /* and is covered by a flush that was */
    uint32_t n_flushes;        /* of this life */
    uint32_t blocks[N_WRITES]; /* which each number went to */
};

struct slot {
    struct runtime_request r; /* first */
    uint8_t *data;
    uint32_t last; /* number; of a FLUSH: what was answered before it */
    bool busy;
};

static struct shared *shared;
static struct s3pve_config *config;
static char dir[128];
static struct guest guest;
static unsigned seed;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct slot slots[N_SLOTS];

static uint32_t chance(uint32_t n) {
    return (uint32_t)rand_r(&seed) % n;
}

/* ------------------------------------------------------------------ looking */

static void fill(uint8_t *block, uint32_t no, uint32_t number) {
    uint32_t *words = (uint32_t *)block;

    words[0] = no;
    for (uint32_t i = 1; i < BLOCK / 4; i++)
        words[i] = number;
}

/* The number a block has, UINT32_MAX: it is no block of ours. */
static uint32_t number_of(const uint8_t *block, uint32_t no) {
    const uint32_t *words = (const uint32_t *)block;

    for (uint32_t i = 2; i < BLOCK / 4; i++)
        if (words[i] != words[1])
            return UINT32_MAX;
    return words[0] == (words[1] ? no : 0) ? words[1] : UINT32_MAX;
}

static bool read_numbers(uint32_t *numbers) {
    uint8_t *data = malloc(MIB(1));
    bool good = true;

    for (uint32_t b = 0; b < N_BLOCKS && good; b += 256) {
        good = guest_read(&guest, data, (uint64_t)b * BLOCK, MIB(1)) == 0;
        for (uint32_t i = 0; i < 256; i++)
            numbers[b + i] = number_of(data + (size_t)i * BLOCK, b + i);
    }
    free(data);
    return good;
}

/* All of it must be explained by one last write, which is no earlier than @least. */
static void look(uint32_t least) {
    uint32_t *numbers = calloc(N_BLOCKS, sizeof(*numbers)), last = 0;

    if (!read_numbers(numbers))
        snprintf(shared->failure, sizeof(shared->failure), "it cannot be read");
    for (uint32_t b = 0; b < N_BLOCKS; b++) {
        if (numbers[b] == UINT32_MAX)
            snprintf(shared->failure, sizeof(shared->failure), "block %u is torn or misplaced", b);
        else if (numbers[b] > last)
            last = numbers[b];
    }
    for (uint32_t i = 1; i <= last && !shared->failure[0]; i++)
        if (shared->blocks[i] != NEVER && numbers[shared->blocks[i]] < i)
            snprintf(
                shared->failure,
                sizeof(shared->failure),
                "it has write %u, and of block %u not even %u",
                last,
                shared->blocks[i],
                i
            );
    if (last < least)
        snprintf(
            shared->failure,
            sizeof(shared->failure),
            "it ends with %u, and %u was sure",
            last,
            least
        );
    for (uint32_t i = last + 1; i <= shared->n_writes; i++)
        shared->blocks[i] = NEVER;
    shared->answered = last;
    if (shared->flushed > last)
        shared->flushed = last;
    free(numbers);
}

/* ------------------------------------------------------------------ writing */

static void done(struct runtime_request *r, const struct s3pve_error *err) {
    struct slot *slot = (struct slot *)r;

    LOCK_SCOPE(&lock);
    slot->busy = false;
    if (err)
        snprintf(shared->failure, sizeof(shared->failure), "a request: %.300s", err->message);
    else if (r->request.type == VOLUME_FLUSH)
        shared->flushed = slot->last > shared->flushed ? slot->last : shared->flushed;
    else if (slot->last > shared->answered)
        shared->answered = slot->last;
    shared->n_flushes += r->request.type == VOLUME_FLUSH;
    pthread_cond_signal(&changed);
}

static struct slot *free_slot(void) {
    LOCK_SCOPE(&lock);

    for (;;) {
        for (int i = 0; i < N_SLOTS; i++)
            if (!slots[i].busy) {
                slots[i].busy = true;
                return &slots[i];
            }
        pthread_cond_wait(&changed, &lock);
    }
}

static void ask_flush(struct slot *slot) {
    slot->r = (struct runtime_request){.request = {.type = VOLUME_FLUSH}, .done = done};
    pthread_mutex_lock(&lock);
    slot->last = shared->answered;
    pthread_mutex_unlock(&lock);
    runtime_submit(guest.runtime, &slot->r);
}

static void ask_write(struct slot *slot) {
    uint32_t n = chance(4) ? 1 : 1 + chance(LONGEST), first = chance(N_BLOCKS - n);

    for (uint32_t i = 0; i < n; i++) {
        shared->blocks[shared->n_writes + 1] = first + i;
        fill(slot->data + (size_t)i * BLOCK, first + i, ++shared->n_writes);
    }
    slot->last = shared->n_writes;
    slot->r = (struct runtime_request){
        .request = {.type = VOLUME_WRITE, .offset = (uint64_t)first * BLOCK, .len = n * BLOCK},
        .data = slot->data,
        .done = done,
    };
    runtime_submit(guest.runtime, &slot->r);
}

static void write_until_killed(void) {
    for (int i = 0; i < N_SLOTS; i++)
        slots[i].data = malloc(LONGEST * BLOCK);
    while (!shared->failure[0] && shared->n_writes < N_WRITES - LONGEST) {
        struct slot *slot = free_slot();

        if (chance(200) == 0)
            ask_flush(slot);
        else
            ask_write(slot);
        if (chance(2) == 0)
            usleep(PAUSE_US);
    }
    pause();
}

/* -------------------------------------------------------------------- lives */

static void live_on(const char *node, bool bucket, uint32_t least) {
    struct s3pve_client *client = NULL;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (s3pve_client_open(config, NULL, NULL, &client, &err) < 0 ||
        s3pve_client_start_thread(client, &err) < 0)
        snprintf(shared->failure, sizeof(shared->failure), "%.300s", err.message);
    else if (!guest_volumes(&guest, client, dir, node, MIB(12), 20) || !guest_open(&guest, bucket, &err))
        snprintf(shared->failure, sizeof(shared->failure), "%.300s", err.message);
    else
        look(least);
    shared->is_open = true;
    if (!shared->failure[0])
        write_until_killed();
    pause();
}

/* A daemon's life of @ms after it has opened the volume. */
static bool life(const char *node, bool bucket, uint32_t least, unsigned ms) {
    int64_t until_ms = clock_monotonic_ms() + 60000;
    pid_t pid;

    shared->is_open = false;
    shared->failure[0] = '\0';
    shared->n_flushes = 0;
    seed++;
    pid = fork();
    if (pid == 0) {
        live_on(node, bucket, least);
        _exit(1);
    }
    while (!shared->is_open && clock_monotonic_ms() < until_ms)
        usleep(1000);
    if (!shared->is_open)
        snprintf(shared->failure, sizeof(shared->failure), "it does not open");
    usleep(ms * 1000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    if (shared->failure[0])
        printf("# %s\n", shared->failure);
    return !shared->failure[0];
}

static void new_volume(void) {
    struct s3pve_client *client = NULL;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    config = live_bucket("pve");
    if (s3pve_client_open(config, NULL, NULL, &client, &err) < 0)
        bail_out("%s", err.message);
    ok(guest_create(client, SIZE, 128), "a volume");
    s3pve_client_close(client);
    memset(shared, 0, sizeof(*shared) - sizeof(shared->blocks));
}

static void crashes(bool bucket) {
    const char *many = getenv("TEST_CRASHES");
    unsigned n = many ? (unsigned)atoi(many) : 6, n_good = 0, n_flushes = 0;

    new_volume();
    for (unsigned i = 0; i < n; i++) {
        n_good += life("n1", bucket, shared->answered, 50 + chance(900));
        n_flushes += shared->n_flushes;
    }
    is_int(
        n_good, n, "killed %u times, no answered write is lost (%s)", n, bucket ? "bucket" : "node"
    );
    ok(n_flushes >= n, "... of %u writes and %u flushes", shared->n_writes, n_flushes);
}

static void lost_node(bool bucket) {
    uint32_t least = bucket ? shared->flushed : 0, answered = shared->answered;
    char command[300];

    snprintf(command, sizeof(command), "rm -rf '%s/n1'", dir);
    ok(system(command) == 0, "the node is lost, with its journal");
    ok(life("n2", bucket, least, 500), "another one has the disk as it was after some write");
    printf("# of %u answered, %u flushed: %u\n", answered, least, shared->n_writes);
    ok(life("n2", bucket, shared->answered, 100), "... and goes on with it");
    s3pve_config_free(config);
}

int main(void) {
    char command[256];

    snprintf(dir, sizeof(dir), "%s/crash.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        bail_out("no shared memory");
    crashes(true);
    lost_node(true);
    crashes(false);
    lost_node(false);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
