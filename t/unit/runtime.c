/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Open volumes on a store that can be taken away: who waits, who fails, and who owns what. */
#include "mem3.h"
#include "mem3_request.h"

#include <signal.h>
#include <sys/resource.h>

#include "guest.h"
#include "tap.h"

#define SIZE MIB(4)
#define ROOT_KEY GUEST_FOLDER "/volume.json"

static char dir[200];
static uint8_t bytes[MIB(1)], got[MIB(1)];

static void fill(unsigned seed) {
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(pattern_byte(i) + seed);
}

static void new_volume(void) {
    mem3_clear();
    guest_create(mem3_client(), SIZE, 64);
}

/* A node whose lease ends 60 times sooner than in life. */
static bool begin(struct guest *guest, const char *node, bool bucket) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (guest_volumes(guest, mem3_client(), dir, node, MIB(2), 60) &&
        guest_open(guest, bucket, &err))
        return true;
    printf("# %s\n", err.message);
    return false;
}

/* A request in a thread of its own. */
struct waiting {
    struct guest *guest;
    enum volume_request_type type;
    uint64_t offset, len;
    pthread_t thread;
    atomic_bool done;
    int errnum;
};

static void *wait_thread(void *arg) {
    struct waiting *w = arg;
    void *data = w->type == VOLUME_READ ? got : w->type == VOLUME_WRITE ? bytes : NULL;

    w->errnum = guest_ask(w->guest, w->type, data, w->offset, w->len);
    w->done = true;
    return NULL;
}

static void ask(
    struct waiting *w,
    struct guest *guest,
    enum volume_request_type type,
    uint64_t offset,
    uint64_t len
) {
    *w = (struct waiting){.guest = guest, .type = type, .offset = offset, .len = len};
    pthread_create(&w->thread, NULL, wait_thread, w);
}

/* It is under way, and has not just been thought of. */
static void see(struct guest *guest) {
    struct runtime_stats stats = {0};

    for (unsigned i = 0; i < 1000 && !stats.n_requests; i++) {
        mem3_sleep(10, NULL);
        runtime_stats(guest->runtime, &stats);
    }
}

static int end(struct waiting *w) {
    pthread_join(w->thread, NULL);
    return w->errnum;
}

static void test_edges(void) {
    struct guest guest;
    bool same;

    new_volume();
    fill(1);
    ok(begin(&guest, "n1", false), "a volume is open");
    is_int(guest_write(&guest, bytes, 0, 16384), 0, "four blocks");
    is_int(guest_write(&guest, bytes + 512, 5000, 3), 0, "three bytes into the second");
    is_int(guest_write(&guest, bytes + 100, 4000, 5000), 0, "and some over three of them");
    is_int(guest_zero(&guest, 8500, 4000), 0, "zeroes over an edge");
    memcpy(got, bytes, 16384);
    memcpy(got + 5000, bytes + 512, 3);
    memcpy(got + 4000, bytes + 100, 5000);
    memset(got + 8500, 0, 4000);
    memcpy(bytes, got, 16384);
    is_int(guest_read(&guest, got, 0, 16384), 0, "read");
    same = memcmp(got, bytes, 16384) == 0;
    ok(same, "... it is what it should be");
    is_int(guest_read(&guest, got, 4001, 4500), 0, "a piece of it");
    ok(memcmp(got, bytes + 4001, 4500) == 0, "... too");
    is_int(runtime_drain(guest.runtime, &WAIT(5000), NULL), 0, "in the bucket");
    is_int(guest_write(&guest, bytes + 9, 13000, 9), 0, "into a block that is there");
    is_int(guest_read(&guest, got, 12288, 4096), 0, "read");
    ok(memcmp(got, bytes + 12288, 712) == 0 && memcmp(got + 712, bytes + 9, 9) == 0 &&
           memcmp(got + 721, bytes + 13009, 4096 - 721) == 0,
       "... what is around it is as it was");
    guest_close(&guest);
}

/* D6 */
static void test_outage(void) {
    struct waiting read, write, flush;
    struct guest guest;
    uint64_t n_written = 0;

    new_volume();
    fill(2);
    ok(begin(&guest, "n1", true), "a volume is open");
    is_int(guest_write(&guest, bytes, 0, MIB(1)), 0, "a write");
    is_int(runtime_drain(guest.runtime, &WAIT(5000), NULL), 0, "... is in the bucket");
    guest_close(&guest);
    ok(begin(&guest, "n1", true), "opened again, with a cold cache");
    mem3.down_ms = 20;
    mem3.down = true;
    ask(&read, &guest, VOLUME_READ, 0, MIB(1));
    is_int(guest_write(&guest, bytes, MIB(1), 4096), 0, "without a store writes go on");
    is_int(guest_read(&guest, got, MIB(1), 4096), 0, "... and can be read");
    ask(&flush, &guest, VOLUME_FLUSH, 0, 0);
    for (ask(&write, &guest, VOLUME_WRITE, MIB(2), MIB(1)); n_written < 8; n_written++) {
        mem3_sleep(50, NULL);
        if (!write.done)
            continue;
        end(&write);
        ask(&write, &guest, VOLUME_WRITE, MIB(2), MIB(1));
    }
    ok(!read.done, "a read of what is not here waits");
    ok(!flush.done, "so does a flush");
    ok(!write.done, "and a write that the journal has no room for");
    mem3.down = false;
    is_int(end(&read), 0, "when the store is back the read is answered");
    ok(memcmp(got, bytes, MIB(1)) == 0, "... with the right bytes");
    is_int(end(&flush), 0, "... and the flush");
    is_int(end(&write), 0, "... and the write");
    is_int(runtime_drain(guest.runtime, &WAIT(5000), NULL), 0, "... and then all of it is there");
    mem3.down = true;
    is_int(guest_write(&guest, bytes, 0, 4096), 0, "one more while it is away again");
    is_int(runtime_drain(guest.runtime, &WAIT(300), NULL), -1, "what is not there in time is said");
    ask(&flush, &guest, VOLUME_FLUSH, 0, 0);
    see(&guest);
    guest.runtime = runtime_close(guest.runtime);
    is_int(end(&flush), ECANCELED, "closed, who still waits is told");
    mem3.down = false;
    guest_close(&guest);
}

/* What another node would do when it has waited for long enough. */
static void take_over(void) {
    struct root root = {0};
    const char *text = mem3_text(ROOT_KEY);
    char *taken = NULL;

    if (root_decode(&root, text, strlen(text), NULL) < 0)
        bail_out("root");
    root.owner.epoch++;
    root.owner.nonce++;
    strcpy(root.owner.node, "n2");
    root.rev += 2;
    root_add_epoch(&root, 1000);
    root_encode(&root, &taken, NULL);
    mem3_put(ROOT_KEY, taken);
    free(taken);
    root_clear(&root);
}

static void etag_of(char etag[S3PVE_ETAG_MAX]) {
    struct s3pve_info info = {0};

    s3pve_object_head(mem3_client(), ROOT_KEY, &info, NULL, NULL);
    strcpy(etag, info.etag);
}

/* Nobody hears of the node for longer than its lease. */
static void be_away(struct waiting *flush, struct guest *guest) {
    mem3.down_ms = 20;
    mem3.down = true;
    is_int(guest_write(guest, bytes, 0, 8192), 0, "it writes while the store is away");
    ask(flush, guest, VOLUME_FLUSH, 0, 0);
    mem3_sleep(1000, NULL);
    ok(!flush->done, "... and its flush waits");
}

/* D5 */
static void test_lost(void) {
    struct waiting flush;
    struct guest guest;
    char before[S3PVE_ETAG_MAX], after[S3PVE_ETAG_MAX];

    new_volume();
    ok(begin(&guest, "n1", true), "a node has a volume");
    be_away(&flush, &guest);
    mem3.down = false;
    etag_of(before);
    is_int(end(&flush), 0, "nobody took it: the flush is answered");
    etag_of(after);
    ok(strcmp(before, after) != 0, "... after the root was swapped, so that nobody will");
    be_away(&flush, &guest);
    take_over();
    mem3.down = false;
    is_int(end(&flush), EBUSY, "somebody took it: the flush fails");
    is_int(guest_write(&guest, bytes, 0, 8192), EBUSY, "... and so does everything else");
    guest_close(&guest);
}

/* The node's disk refuses a write: nothing is answered that is not there, and what was, is. */
static void test_disk(void) {
    struct rlimit all, little;
    struct runtime_stats stats;
    struct guest guest;

    new_volume();
    fill(5);
    ok(begin(&guest, "n1", false), "a volume is open");
    is_int(guest_write(&guest, bytes, 0, 65536), 0, "a write");
    getrlimit(RLIMIT_FSIZE, &all);
    little = (struct rlimit){4096, all.rlim_max};
    setrlimit(RLIMIT_FSIZE, &little);
    is_int(guest_write(&guest, bytes, 65536, 4096), EIO, "one that the disk refuses fails");
    is_int(guest_flush(&guest), EIO, "... and a flush after it");
    is_int(guest_read(&guest, got, 0, 4096), EIO, "... and everything else");
    runtime_stats(guest.runtime, &stats);
    ok(strstr(stats.failure.message, "journal"), "... with its reason: %s", stats.failure.message);
    setrlimit(RLIMIT_FSIZE, &all);
    guest_close(&guest);
    ok(begin(&guest, "n1", false), "opened again on a disk that is well");
    is_int(guest_read(&guest, got, 0, 65536), 0, "... it can be read");
    ok(memcmp(got, bytes, 65536) == 0, "... and has what was answered");
    guest_close(&guest);
}

/* A listing that has more than was asked for tells nothing of what the checkpoint has. */
static void test_listing(void) {
    struct guest guest;

    new_volume();
    fill(6);
    begin(&guest, "n1", true);
    is_int(guest_write(&guest, bytes, 0, MIB(1)), 0, "a write");
    is_int(runtime_drain(guest.runtime, &WAIT(5000), NULL), 0, "... and a checkpoint");
    guest_close(&guest);
    mem3.no_list_start = true;
    ok(begin(&guest, "n1", true), "opened with a server that lists too much");
    mem3.no_list_start = false;
    ok(guest_read(&guest, got, 0, MIB(1)) == 0 && memcmp(got, bytes, MIB(1)) == 0, "... it reads");
    guest_close(&guest);
}

static void test_hand_back(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct runtime_stats stats;
    struct guest one, two;
    int64_t began_ms;

    new_volume();
    fill(4);
    ok(begin(&one, "n1", true), "a node has a volume");
    is_int(guest_write(&one, bytes, 0, MIB(1)), 0, "it writes");
    mem3.down = true;
    is_int(guest_write(&one, bytes, 0, 8192), 0, "... once more while the store is away");
    is_int(
        runtime_hand_back(one.runtime, &WAIT(200), &err),
        -1,
        "without a store it cannot give it back"
    );
    is_int(err.code, S3PVE_E_TIMEOUT, "... %s", err.message);
    runtime_stats(one.runtime, &stats);
    ok(stats.waiting.code, "... which has its reason: %s", stats.waiting.message);
    is_int(guest_write(&one, bytes, 0, 4096), 0, "... and has it still");
    mem3.down = false;
    is_int(runtime_hand_back(one.runtime, &WAIT(5000), &err), 0, "with one it can %s", err.message);
    one.runtime = runtime_close(one.runtime);
    began_ms = clock_monotonic_ms();
    ok(begin(&two, "n2", true), "another node opens it");
    ok(clock_monotonic_ms() - began_ms < 400, "... at once");
    is_int(guest_read(&two, got, 0, MIB(1)), 0, "... and reads");
    ok(memcmp(got, bytes, MIB(1)) == 0, "... what was written");
    guest_close(&one);
    guest_close(&two);
}

#define MANY 8

struct many {
    struct runtime_request r; /* first */
    atomic_bool done;
};

static void note_done(struct runtime_request *r, const struct s3pve_error *err) {
    ((struct many *)r)->done = true;
}

/* One record has one header, of a block. */
static void test_together(void) {
    struct many many[MANY];
    struct runtime_stats stats;
    struct guest guest;

    new_volume();
    ok(begin(&guest, "n1", false), "a volume is open");
    for (unsigned i = 0; i < MANY; i++) {
        many[i].done = false;
        many[i].r = (struct runtime_request){
            .request = {.type = VOLUME_WRITE, .offset = i * 2 * BLOCK, .len = BLOCK},
            .data = bytes,
            .done = note_done,
            .more = i < MANY - 1,
        };
        runtime_submit(guest.runtime, &many[i].r);
    }
    for (unsigned i = 0; i < MANY; i++)
        while (!many[i].done)
            mem3_sleep(1, NULL);
    mem3_sleep(50, NULL);
    runtime_stats(guest.runtime, &stats);
    is_int((long long)stats.dirty, (MANY + 1) * BLOCK, "what comes together is one record");
    guest_close(&guest);
}

static void test_grow(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct guest guest;

    uint64_t n;

    new_volume();
    ok(begin(&guest, "n1", false), "a volume is open");
    n = mem3_n_requests();
    mem3_sleep(400, NULL);
    ok(mem3_n_requests() - n <= 4, "that nobody uses it costs no request but the lease's");
    is_int(guest_write(&guest, bytes, SIZE, 4096), EINVAL, "nothing can be written behind its end");
    is_int(runtime_grow(guest.runtime, SIZE - 512, &WAIT(5000), &err), -1, "it does not shrink");
    is_int(
        runtime_grow(guest.runtime, SIZE + 1536, &WAIT(5000), &err), 0, "it grows %s", err.message
    );
    is_int((long long)runtime_size(guest.runtime), SIZE + 1536, "... to the byte");
    is_int(guest_write(&guest, bytes, SIZE, 1536), 0, "... and can be written there");
    is_int(guest_write(&guest, bytes, SIZE, 2048), EINVAL, "... and not beyond");
    guest_close(&guest);
    ok(begin(&guest, "n1", false), "opened again");
    is_int((long long)runtime_size(guest.runtime), SIZE + 1536, "... it is as large");
    is_int(guest_read(&guest, got, SIZE, 1536), 0, "... to its end");
    ok(memcmp(got, bytes, 1536) == 0, "... which is as it was written");
    guest_close(&guest);
}

int main(void) {
    char command[300];

    snprintf(dir, sizeof(dir), "%s/runtime.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    signal(SIGXFSZ, SIG_IGN);
    test_edges();
    test_outage();
    test_lost();
    test_disk();
    test_listing();
    test_hand_back();
    test_grow();
    test_together();
    mem3_clear();
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
