/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Several threads use the same volumes on two nodes in every way there is, while the store comes
 * and goes: whatever was answered to one of them is there when he comes again, on whichever node.
 *
 * Each thread has blocks of its own in each volume, and counts up what it writes there.  A volume
 * has one of two names.  TEST_ROUNDS: how often each thread does something, 150 by default.
 */
#include "mem3.h"
#include "mem3_list.h"
#include "mem3_request.h"

#include "images.h"
#include "images/table.h"
#include "tap.h"

#define N_VOLUMES 3u
#define N_THREADS 4u
#define N_NODES 2u
#define SIZE MIB(4)

static char dir[200];
static struct s3pve_volumes *nodes[N_NODES];
static unsigned rounds;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char trouble[600];
static unsigned n_held, n_handed_back, n_renamed, n_refused;
static atomic_bool over;

struct worker {
    unsigned no, seed;
    uint32_t written[N_VOLUMES]; /* the last that was answered */
    pthread_t thread;
};

static void say(const char *what, const char *name, const struct s3pve_error *err) {
    LOCK_SCOPE(&lock);

    if (!trouble[0])
        snprintf(trouble, sizeof(trouble), "%s: %s (%s)", name, what, err ? err->message : "");
}

static void count(unsigned *n) {
    LOCK_SCOPE(&lock);

    ++*n;
}

static void name_of(unsigned volume, unsigned which, char name[64]) {
    snprintf(
        name,
        64,
        which ? "%u/base-%u-disk-0.raw" : "%u/vm-%u-disk-0.raw",
        100 + volume,
        100 + volume
    );
}

/* What may be said to somebody who is not alone, and has little time. */
static bool is_refusal(const struct s3pve_error *err) {
    return err->code == S3PVE_E_CONFLICT || err->code == S3PVE_E_TIMEOUT ||
           err->code == S3PVE_E_CANCELLED || err->code == S3PVE_E_NOT_FOUND;
}

static void outcome(int rc, unsigned *n, const char *name, const struct s3pve_error *err) {
    if (rc == 0)
        count(n);
    else if (is_refusal(err))
        count(&n_refused);
    else
        say("is refused in a way that cannot be", name, err);
}

/* ---------------------------------------------------------------------- what they do */

static void use(struct worker *worker, unsigned no, struct s3pve_volume *volume, const char *name) {
    uint64_t offset = (uint64_t)worker->no * 64 * 1024;
    uint32_t got[2] = {0}, new[2] = {no, worker->written[no] + 1};
    int errnum = volume_read(volume, got, offset, sizeof(got));

    if (errnum)
        say("cannot be read", name, NULL);
    else if (got[1] != worker->written[no] || (got[1] && got[0] != no))
        say("has not what was answered", name, NULL);
    errnum = volume_write(volume, new, offset, sizeof(new));
    if (errnum)
        say("cannot be written", name, NULL);
    else
        worker->written[no]++;
    if (rand_r(&worker->seed) % 4 == 0 && volume_flush(volume) != 0)
        say("cannot be flushed", name, NULL);
}

static void hold(struct worker *worker, struct s3pve_volumes *node, unsigned no, const char *name) {
    struct s3pve_call call = {.timeout_ms = 200 + (unsigned)rand_r(&worker->seed) % 1500};
    struct s3pve_volume *volume = NULL;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int rc = s3pve_volume_hold(node, name, &call, &volume, &err);

    outcome(rc, &n_held, name, &err);
    if (rc < 0)
        return;
    for (unsigned n = rand_r(&worker->seed) % 4; n; n--)
        use(worker, no, volume, name);
    s3pve_volume_release(volume);
}

static void do_something(struct worker *worker) {
    unsigned no = (unsigned)rand_r(&worker->seed) % N_VOLUMES;
    unsigned which = (unsigned)rand_r(&worker->seed) % 2;
    struct s3pve_volumes *node = nodes[(unsigned)rand_r(&worker->seed) % N_NODES];
    struct s3pve_call call = {.timeout_ms = 100 + (unsigned)rand_r(&worker->seed) % 2000};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char name[64], other[64];

    name_of(no, which, name);
    name_of(no, !which, other);
    switch (rand_r(&worker->seed) % 8) {
    case 0: outcome(s3pve_volumes_activate(node, name, &call, &err), &n_held, name, &err); break;
    case 1:
    case 2:
        outcome(s3pve_volumes_deactivate(node, name, &call, &err), &n_handed_back, name, &err);
        break;
    case 3:
        outcome(s3pve_volumes_rename(node, name, other, &call, &err), &n_renamed, name, &err);
        break;
    default: hold(worker, node, no, name);
    }
}

static void *work(void *arg) {
    struct worker *worker = arg;

    for (unsigned i = 0; i < rounds && !trouble[0]; i++)
        do_something(worker);
    return NULL;
}

static void *disturb(void *arg) {
    unsigned seed = 77;

    while (!over) {
        mem3_sleep(200 + (unsigned)rand_r(&seed) % 500, NULL);
        mem3.down = true;
        mem3_sleep((unsigned)rand_r(&seed) % 200, NULL);
        mem3.down = false;
    }
    return NULL;
}

/* ----------------------------------------------------------------------- and what is left */

static bool is_there(const struct worker *workers, unsigned no, const char *name) {
    struct s3pve_volume *volume = NULL;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    unsigned n_good = 0;

    if (s3pve_volume_hold(nodes[0], name, NULL, &volume, &err) < 0) {
        printf("# %s\n", err.message);
        return false;
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        uint32_t got[2] = {0};

        volume_read(volume, got, (uint64_t)i * 64 * 1024, sizeof(got));
        n_good += got[1] == workers[i].written[no];
    }
    s3pve_volume_release(volume);
    return n_good == N_THREADS;
}

static void look(const struct worker *workers) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char name[64];

    for (unsigned no = 0; no < N_VOLUMES; no++) {
        unsigned n_names = 0;

        for (unsigned which = 0; which < 2; which++) {
            name_of(no, which, name);
            if (s3pve_volumes_deactivate(nodes[0], name, NULL, &err) < 0 ||
                s3pve_volumes_deactivate(nodes[1], name, NULL, &err) < 0)
                printf("# %s\n", err.message);
            n_names += is_there(workers, no, name);
        }
        is_int(n_names, 1, "volume %u has one name, and all that was answered", no);
    }
    for (unsigned i = 0; i < N_NODES; i++)
        nodes[i] = s3pve_volumes_close(nodes[i]);
}

int main(void) {
    struct worker workers[N_THREADS] = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char command[300], name[64];
    pthread_t disturber;

    rounds = getenv("TEST_ROUNDS") ? (unsigned)atoi(getenv("TEST_ROUNDS")) : 150;
    snprintf(dir, sizeof(dir), "%s/images-stress.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    mem3_client()->caps.put_if_match = S3PVE_YES;
    mem3_client()->config.timeout_ms = 60000;
    mem3.down_ms = 20;
    for (unsigned i = 0; i < N_VOLUMES; i++) {
        name_of(i, 0, name);
        s3pve_volume_create(mem3_client(), name, SIZE, NULL, &err);
    }
    for (unsigned i = 0; i < N_NODES; i++)
        nodes[i] = node_open(
            mem3_client(),
            &(struct node_options
            ){.dir = dir, .name = i ? "n1" : "n0", .scale = 10, .linger_ms = 100}
        );
    pthread_create(&disturber, NULL, disturb, NULL);
    for (unsigned i = 0; i < N_THREADS; i++) {
        workers[i].no = workers[i].seed = i + 1;
        workers[i].no = i;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (unsigned i = 0; i < N_THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    over = true;
    pthread_join(disturber, NULL);
    is_str(trouble, "", "nothing went wrong");
    ok(n_held > 20 && n_handed_back > 20 && n_renamed > 2,
       "%u times held, %u handed back, %u renamed, %u refused",
       n_held,
       n_handed_back,
       n_renamed,
       n_refused);
    look(workers);
    mem3_clear();
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
