/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A node's volumes on a store that can be taken away: who waits for whom and how long, and what
 * stays usable when something fails. */
#include "mem3.h"
#include "mem3_list.h"
#include "mem3_request.h"

#include "images.h"
#include "images/table.h"
#include "tap.h"

#define SIZE MIB(4)
#define DISK "100/vm-100-disk-0.raw"
#define OTHER "100/vm-100-disk-1.raw"
#define FILE1 "100/vm-100-disk-2.qcow2"
#define ROOT_KEY "images/100/vm-100-disk-0/volume.json"

static char dir[200];
static struct s3pve_error err;

/* A dead node's lease takes so long. */
#define LEASE_MS (LEASE_OBSERVE_MS / 20)

static struct s3pve_volumes *node(const char *name) {
    mem3_client()->caps.put_if_match = S3PVE_YES;
    mem3_client()->config.timeout_ms = 60000;
    return node_open(
        mem3_client(),
        &(struct node_options){.dir = dir, .name = name, .scale = 20, .linger_ms = 60000}
    );
}

static void begin(void) {
    char command[300];

    mem3.down = false;
    mem3.down_ms = 20;
    mem3_clear();
    mem3_client()->config.timeout_ms = 60000;
    snprintf(command, sizeof(command), "rm -rf '%s/'*", dir);
    if (system(command) != 0 || s3pve_volume_create(mem3_client(), DISK, SIZE, NULL, &err) < 0 ||
        s3pve_volume_create(mem3_client(), OTHER, SIZE, NULL, &err) < 0 ||
        s3pve_volume_create(mem3_client(), FILE1, S3PVE_VOLUME_FILE, NULL, &err) < 0)
        bail_out("%s", err.message);
}

static struct s3pve_volume *hold(struct s3pve_volumes *volumes, const char *name) {
    struct s3pve_volume *volume = NULL;

    err = S3PVE_ERROR_INIT;
    s3pve_volume_hold(volumes, name, NULL, &volume, &err);
    return volume;
}

static bool root_has(const char *text) {
    bool found;
    size_t i;

    LOCK_SCOPE(&mem3.lock);
    i = mem3_find(ROOT_KEY, &found);
    return found && strstr(mem3.objects[i].data, text);
}

/* ------------------------------------------------------------------- together */

struct holder {
    struct s3pve_volumes *volumes;
    const char *name;
    const struct s3pve_call *call;
    pthread_t thread;
    struct s3pve_volume *volume;
    struct s3pve_error err;
    int rc;
    atomic_bool done;
};

static void *hold_thread(void *arg) {
    struct holder *h = arg;

    h->rc = s3pve_volume_hold(h->volumes, h->name, h->call, &h->volume, &h->err);
    h->done = true;
    return NULL;
}

static void start(struct holder *h, struct s3pve_volumes *volumes, const char *name) {
    *h = (struct holder){.volumes = volumes, .name = name, .call = h->call};
    pthread_create(&h->thread, NULL, hold_thread, h);
}

static int end(struct holder *h) {
    pthread_join(h->thread, NULL);
    return h->rc;
}

static void test_together(void) {
    struct s3pve_volumes *one;
    struct s3pve_volume_stats stats = {0};
    struct holder holders[4] = {0};
    unsigned n_same = 0;

    begin();
    one = node("n1");
    mem3.delay_ms = 10;
    for (unsigned i = 0; i < 4; i++)
        start(&holders[i], one, DISK);
    for (unsigned i = 0; i < 4; i++)
        end(&holders[i]);
    mem3.delay_ms = 0;
    for (unsigned i = 0; i < 4; i++)
        n_same += holders[i].rc == 0 && holders[i].volume == holders[0].volume;
    is_int(n_same, 4, "four who want it at once have the same one");
    ok(stats_of(one, DISK, &stats), "... which is open");
    is_int(stats.epoch, 1, "... and was opened once");
    is_int(stats.n_held, 4, "... and is held by all");
    for (unsigned i = 0; i < 4; i++)
        s3pve_volume_release(holders[i].volume);
    s3pve_volumes_close(one);
}

/* Somebody whose lease has yet to end has DISK. */
static void give_to_the_dead(void) {
    struct s3pve_volumes *dead = node("dead");

    if (s3pve_volumes_activate(dead, DISK, NULL, &err) < 0)
        bail_out("%s", err.message);
    s3pve_volumes_close(dead);
}

static void test_apart(void) {
    struct s3pve_volumes *one;
    struct s3pve_volume *other;
    struct holder first = {0}, second = {0};
    int64_t began_ms;
    bool waited;

    begin();
    give_to_the_dead();
    one = node("n1");
    start(&first, one, DISK);
    mem3_sleep(50, NULL);
    began_ms = clock_monotonic_ms();
    other = hold(one, OTHER);
    ok(other, "while one waits for a lease, another volume opens");
    waited = first.done;
    ok(!waited && clock_monotonic_ms() - began_ms < LEASE_MS, "... at once");
    start(&second, one, DISK);
    is_int(end(&first), 0, "the first has it in the end %s", first.err.message);
    is_int(end(&second), 0, "... and who waited with him");
    ok(first.volume == second.volume, "... the same");
    s3pve_volume_release(first.volume);
    s3pve_volume_release(second.volume);
    s3pve_volume_release(other);
    s3pve_volumes_close(one);
}

static void test_time(void) {
    struct s3pve_call brief = {.timeout_ms = 300}, cancelled = {0};
    int cancel = 0;
    struct holder holder = {.call = &cancelled};
    struct s3pve_volumes *one;
    int64_t began_ms;

    begin();
    give_to_the_dead();
    one = node("n1");
    began_ms = clock_monotonic_ms();
    is_int(s3pve_volumes_activate(one, DISK, &brief, &err), -1, "who has no time for a lease");
    is_int(err.code, S3PVE_E_TIMEOUT, "... is told: %s", err.message);
    ok(clock_monotonic_ms() - began_ms < LEASE_MS, "... in time");
    is_int(count_files(dir, "n1"), 0, "... and leaves nothing behind");
    cancelled.cancel = &cancel;
    start(&holder, one, DISK);
    mem3_sleep(100, NULL);
    began_ms = clock_monotonic_ms();
    __atomic_store_n(&cancel, 1, __ATOMIC_RELAXED);
    is_int(end(&holder), -1, "who gives up");
    is_int(holder.err.code, S3PVE_E_CANCELLED, "... is told: %s", holder.err.message);
    ok(clock_monotonic_ms() - began_ms < LEASE_MS - 500, "... soon");
    s3pve_volumes_close(one);
}

/* --------------------------------------------------------------------- failing */

static void test_deactivate_fails(void) {
    struct s3pve_call brief = {.timeout_ms = 3000};
    struct s3pve_volumes *one;
    struct s3pve_volume_stats stats;
    struct s3pve_volume *volume;

    begin();
    one = node("n1");
    s3pve_volumes_activate(one, DISK, NULL, &err);
    volume = hold(one, DISK);
    is_int(put_bytes(volume, 0, 100000, 1), 0, "an active volume is written");
    s3pve_volume_release(volume);
    mem3.down = true;
    is_int(s3pve_volumes_deactivate(one, DISK, &brief, &err), -1, "without a store it stays here");
    is_int(err.code, S3PVE_E_TIMEOUT, "... %s", err.message);
    ok(strstr(err.message, "1 MiB"), "... which says how much is missing");
    ok(stats_of(one, DISK, &stats) && stats.active, "... and is active");
    volume = hold(one, DISK);
    ok(volume && has_bytes(volume, 0, 100000, 1), "... can be read");
    is_int(put_bytes(volume, 100000, 1000, 1), 0, "... and written");
    s3pve_volume_release(volume);
    mem3.down = false;
    is_int(s3pve_volumes_deactivate(one, DISK, NULL, &err), 0, "with one it goes %s", err.message);
    ok(root_has("\"state\":\"closed\""), "... and is closed");
    s3pve_volumes_close(one);
}

/* All is drained, and then the root does not change. */
static void test_close_fails(void) {
    struct s3pve_call brief = {.timeout_ms = 500};
    struct s3pve_volumes *one;
    struct s3pve_volume_stats stats;
    struct s3pve_volume *volume;

    begin();
    one = node("n1");
    s3pve_volumes_activate(one, DISK, NULL, &err);
    mem3.fail = "put";
    is_int(s3pve_volumes_deactivate(one, DISK, &brief, &err), -1, "one whose root does not change");
    ok(err.code, "... says why: %s", err.message);
    mem3.fail = NULL;
    ok(stats_of(one, DISK, &stats) && stats.active, "... stays active");
    ok(stats.waiting.code && !stats.failure.code, "... which is no end: %s", stats.waiting.message);
    volume = hold(one, DISK);
    ok(volume, "... is opened again for who wants it %s", err.message);
    is_int(put_bytes(volume, 0, 5000, 2), 0, "... who can write");
    s3pve_volume_release(volume);
    is_int(
        s3pve_volumes_deactivate(one, DISK, NULL, &err), 0, "... and goes later %s", err.message
    );
    ok(root_has("\"state\":\"closed\""), "... closed");
    s3pve_volumes_close(one);
}

/* Another node took it. */
static void steal(void) {
    char *root = strdup(mem3_text(ROOT_KEY)), *at = strstr(root, "\"node\":\"n1\"");

    memcpy(at, "\"node\":\"n9\"", 11);
    at = strstr(root, "\"nonce\":\"");
    at[9] = at[9] == 'a' ? 'b' : 'a';
    mem3_put(ROOT_KEY, root);
    free(root);
}

static void test_fenced(void) {
    struct s3pve_call brief = {.timeout_ms = 500};
    struct s3pve_volumes *one;
    struct s3pve_volume_stats stats;
    struct s3pve_volume *volume;

    begin();
    one = node("n1");
    s3pve_volumes_activate(one, DISK, NULL, &err);
    volume = hold(one, DISK);
    put_bytes(volume, 0, 5000, 3);
    steal();
    is_int(s3pve_volumes_deactivate(one, DISK, &brief, &err), -1, "one that is held is not let go");
    s3pve_volume_release(volume);
    is_int(s3pve_volumes_deactivate(one, DISK, NULL, &err), 0, "one that was stolen is let go");
    ok(!stats_of(one, DISK, &stats), "... and not known any more");
    ok(strstr(mem3.log, "is kept"), "... which is said: %s", mem3.log);
    ok(root_has("\"node\":\"n9\""), "... whoever has it is not disturbed");
    is_int(s3pve_volumes_activate(one, DISK, NULL, &err), 0, "once he is dead it can be had again");
    s3pve_volumes_close(one);
}

/* It notices while it is used. */
static void test_failed(void) {
    struct s3pve_volumes *one;
    struct s3pve_volume_stats stats = {0};
    struct s3pve_volume *volume;

    begin();
    one = node("n1");
    s3pve_volumes_activate(one, DISK, NULL, &err);
    volume = hold(one, DISK);
    put_bytes(volume, 0, 5000, 3);
    runtime_cancel(volume->runtime); /* as good an end as any */
    for (unsigned i = 0; i < 6000 && !stats.failure.code; i++) {
        mem3_sleep(10, NULL);
        stats_of(one, DISK, &stats);
    }
    ok(stats.active && stats.failure.code, "one that has failed says so: %s", stats.failure.message
    );
    ok(put_bytes(volume, 0, 5000, 3) != 0, "... and so its requests");
    ok(!hold(one, DISK), "... nobody else gets it: %s", err.message);
    s3pve_volume_release(volume);
    volume = hold(one, DISK);
    ok(volume && has_bytes(volume, 0, 5000, 3), "when all have let go it is opened anew");
    s3pve_volume_release(volume);
    is_int(s3pve_volumes_deactivate(one, DISK, NULL, &err), 0, "... and goes %s", err.message);
    s3pve_volumes_close(one);
}

/* Only what is closed is renamed: what a dead node has is taken from it first. */
static void test_rename(void) {
    struct s3pve_call brief = {.timeout_ms = 300};
    struct s3pve_volumes *one, *other;
    struct s3pve_volume *volume;

    begin();
    other = node("other");
    s3pve_volumes_activate(other, DISK, NULL, &err);
    one = node("n1");
    is_int(s3pve_volumes_rename(one, DISK, "7/x.raw", NULL, &err), -1, "what a node has stays");
    is_int(err.code, S3PVE_E_CONFLICT, "... %s", err.message);
    volume = hold(other, DISK);
    put_bytes(volume, 0, 5000, 5);
    volume_flush(volume);
    s3pve_volume_release(volume);
    s3pve_volumes_close(other);
    is_int(s3pve_volumes_rename(one, DISK, "7/x.raw", &brief, &err), -1, "if it may be alive, too");
    is_int(err.code, S3PVE_E_TIMEOUT, "... %s", err.message);
    is_int(
        s3pve_volumes_rename(one, DISK, "7/x.raw", NULL, &err),
        0,
        "once it is dead it goes %s",
        err.message
    );
    ok(!root_has("uuid"), "... and has its old name no more");
    volume = hold(one, "7/x.raw");
    ok(volume && has_bytes(volume, 0, 5000, 5), "... and what was flushed");
    s3pve_volume_release(volume);
    s3pve_volumes_close(one);
}

/* ------------------------------------------------------------------ background */

static void test_linger_stuck(void) {
    struct s3pve_volumes *one;
    struct s3pve_volume *volume;
    int64_t began_ms;

    begin();
    mem3_client()->caps.put_if_match = S3PVE_YES;
    one = node_open(
        mem3_client(),
        &(struct node_options){.dir = dir, .name = "n1", .scale = 20, .linger_ms = 50}
    );
    volume = hold(one, DISK);
    put_bytes(volume, 0, 5000, 4);
    mem3.down = true;
    s3pve_volume_release(volume);
    mem3_sleep(300, NULL);
    began_ms = clock_monotonic_ms();
    volume = hold(one, DISK);
    ok(volume, "one that is about to be handed back, in an outage, can be had %s", err.message);
    ok(clock_monotonic_ms() - began_ms < BACKGROUND_MS / 3, "... at once");
    is_int(put_bytes(volume, 5000, 5000, 4), 0, "... and written");
    mem3.down = false;
    s3pve_volume_release(volume);
    for (unsigned i = 0; i < 6000 && !root_has("\"closed\""); i++)
        mem3_sleep(10, NULL);
    ok(root_has("\"closed\""), "it goes when the store is back and nobody has it");
    s3pve_volumes_close(one);
}

static void test_stop(void) {
    struct s3pve_volumes *one;
    struct s3pve_volume *volume, *file;
    struct holder holder = {0};

    begin();
    give_to_the_dead();
    one = node("n1");
    volume = hold(one, OTHER);
    file = hold(one, FILE1);
    start(&holder, one, DISK);
    mem3_sleep(50, NULL);
    s3pve_volumes_stop(one);
    is_int(end(&holder), -1, "at the end a call");
    is_int(holder.err.code, S3PVE_E_CANCELLED, "... is cancelled: %s", holder.err.message);
    is_int(put_bytes(volume, 0, 4096, 1), ECANCELED, "... so is a request");
    is_int(put_bytes(file, FILE_ROOM, 4096, 1), ECANCELED, "... and one that needs room");
    is_int(volume_flush(file), ECANCELED, "... or a flush");
    ok(!hold(one, DISK) && err.code == S3PVE_E_CANCELLED, "... and whatever comes");
    s3pve_volume_release(volume);
    s3pve_volume_release(file);
    s3pve_volumes_close(one);
}

static void *flush_thread(void *arg) {
    return (void *)(intptr_t)volume_flush(arg);
}

static void *grow_thread(void *arg) {
    return (void *)(intptr_t)put_bytes(arg, FILE_ROOM * 3, 4096, 1);
}

static void test_file_outage(void) {
    struct s3pve_volumes *one;
    struct s3pve_volume *file;
    pthread_t flusher, grower;
    void *flushed, *grown;

    begin();
    one = node("n1");
    file = hold(one, FILE1);
    mem3.down = true;
    is_int(put_bytes(file, 0, 4096, 1), 0, "a file is written while the store is away");
    pthread_create(&flusher, NULL, flush_thread, file);
    pthread_create(&grower, NULL, grow_thread, file);
    mem3_sleep(500, NULL);
    is_int(put_bytes(file, 4096, 4096, 1), 0, "... also when others wait");
    is_int((long long)s3pve_volume_size(file), 8192, "... who have not got further");
    mem3.down = false;
    pthread_join(flusher, &flushed);
    pthread_join(grower, &grown);
    ok(!flushed && !grown, "when it is back what waited is done");
    is_int((long long)s3pve_volume_size(file), 3 * FILE_ROOM + 4096, "... and the file as long");
    s3pve_volume_release(file);
    s3pve_volumes_close(one);
}

int main(void) {
    char command[300];

    snprintf(dir, sizeof(dir), "%s/images-node.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    test_together();
    test_apart();
    test_time();
    test_deactivate_fails();
    test_close_fails();
    test_fenced();
    test_failed();
    test_rename();
    test_linger_stuck();
    test_stop();
    test_file_outage();
    mem3_clear();
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
