/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A real server that stands still, and one that is gone, under a guest that writes and reads: it
 * waits and is never told of an error (D6), and afterwards everything is there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "guest.h"
#include "live.h"
#include "tap.h"

#define SIZE MIB(96)

static char dir[128];
static struct model model;
static struct guest guest;
static atomic_bool stop;
static atomic_int failed;
static atomic_uint n_done;

/* A server of this test's own: it is not to stand still under others. */
static void rgw(const char *verb, const char *more) {
    char command[300];

    snprintf(command, sizeof(command), "t/lib/rgw %s '%s/rgw' %s >/dev/null", verb, dir, more);
    if (system(command) != 0)
        bail_out("%s", command);
}

static struct s3pve_client *open_client(void) {
    struct s3pve_config *config = s3pve_config_new();
    struct s3pve_client *client = NULL;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char path[200];

    snprintf(path, sizeof(path), "%s/rgw/s3pve.conf", dir);
    if (s3pve_config_read_file(config, path, &err) < 0 ||
        s3pve_config_set(config, "bucket", "outage", &err) < 0 ||
        s3pve_client_open(config, NULL, NULL, &client, &err) < 0 ||
        s3pve_client_start_thread(client, &err) < 0 || s3pve_bucket_create(client, NULL, &err) < 0)
        bail_out("%s", err.message);
    s3pve_config_free(config);
    return client;
}

static void *work(void *arg) {
    while (!stop && !failed) {
        failed = model_change(&model, &guest);
        if (!failed && n_done % 50 == 49)
            failed = guest_flush(&guest);
        n_done++;
    }
    return NULL;
}

/* So many more requests, or it takes too long. */
static bool goes_on(unsigned n) {
    unsigned until = n_done + n;
    int64_t until_ms = clock_monotonic_ms() + 60000;

    while (n_done < until && clock_monotonic_ms() < until_ms)
        usleep(10000);
    return n_done >= until;
}

static void outage(const char *from, const char *to, unsigned seconds, const char *what) {
    unsigned before = n_done;
    int64_t back_ms;

    rgw(from, "");
    sleep(seconds);
    printf("# %u requests meanwhile\n", n_done - before);
    is_int(failed, 0, "%s for %u s: nothing has failed", what, seconds);
    rgw(to, "");
    back_ms = clock_monotonic_ms();
    ok(goes_on(200), "... and it goes on when it is back");
    printf("# after %lld ms\n", (long long)(clock_monotonic_ms() - back_ms));
}

static void test_outages(bool bucket) {
    struct s3pve_client *client = open_client();
    struct s3pve_error err = S3PVE_ERROR_INIT;
    pthread_t thread;

    stop = false;
    model_init(&model, SIZE);
    ok(guest_create(client, SIZE, 256), "a volume");
    ok(guest_volumes(&guest, client, dir, "n1", MIB(64), 1), "... on a node");
    ok(guest_open(&guest, bucket, &err), "... is open %s", err.message);
    pthread_create(&thread, NULL, work, NULL);
    ok(goes_on(300), "a guest works on it");
    outage("pause", "resume", 20, "a server that stands still");
    outage("kill", "revive", 8, "one that is gone");
    stop = true;
    pthread_join(thread, NULL);
    is_int(failed, 0, "no request has failed");
    is_int(
        runtime_drain(guest.runtime, &WAIT(60000), &err),
        0,
        "all of it in the bucket %s",
        err.message
    );
    ok(model_is(&model, &guest), "... and as it was written");
    guest_close(&guest);
    ok(guest_volumes(&guest, client, dir, "n1", MIB(64), 1) && guest_open(&guest, bucket, &err),
       "opened again %s",
       err.message);
    ok(model_is(&model, &guest), "... it is the same");
    guest_close(&guest);
    model_clear(&model);
    s3pve_client_close(client);
}

int main(void) {
    char command[256];

    if (system("command -v radosgw ceph-mon ceph-osd >/dev/null") != 0)
        skip_all("needs radosgw, ceph-mon and ceph-osd");
    snprintf(dir, sizeof(dir), "%s/outage.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    rgw("start", "--size 2");
    test_outages(false);
    rgw("stop", "");
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
