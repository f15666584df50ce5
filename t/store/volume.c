/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A volume on a real server: what is read is what was written, whatever happens to its daemon. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"
#include "live.h"
#include "tap.h"

#define SIZE MIB(48)

static char dir[128];
static struct model model;

static struct s3pve_client *threaded_client(void) {
    struct s3pve_client *client = live_client("pve");

    if (s3pve_client_start_thread(client, NULL) < 0)
        bail_out("no thread");
    return client;
}

static int change_many(struct guest *guest, unsigned n) {
    int errnum = 0;

    for (unsigned i = 0; i < n && !errnum; i++)
        errnum = model_change(&model, guest);
    return errnum;
}

/* What is told of it may be as old as the answer before. */
static bool is_clean(struct guest *guest) {
    struct runtime_stats stats = {.dirty = 1};

    for (unsigned i = 0; i < 10 && stats.dirty; i++) {
        usleep(10000);
        runtime_stats(guest->runtime, &stats);
    }
    return !stats.dirty;
}

static void random_work(bool bucket) {
    struct s3pve_client *client = threaded_client();
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct readcache_stats cache;
    struct guest guest;

    memset(model.bytes, 0, SIZE);
    ok(guest_create(client, SIZE, 256), "a volume of 48 MiB is made, %s", bucket ? "bucket" : "node"
    );
    ok(guest_volumes(&guest, client, dir, "n1", MIB(32), 1), "a node");
    ok(guest_open(&guest, bucket, &err), "opens it %s", err.message);
    ok(model_is(&model, &guest), "it is all zeroes");
    is_int(change_many(&guest, 600), 0, "writes of all kinds are answered");
    ok(model_is(&model, &guest), "... and what is read is what was written");
    is_int(guest_flush(&guest), 0, "a flush is answered");
    ok(!bucket || is_clean(&guest), "... when the bucket has everything, if that is what it means");
    is_int(change_many(&guest, 300), 0, "more writes");
    is_int(
        runtime_drain(guest.runtime, &WAIT(30000), &err),
        0,
        "all of it into the bucket %s",
        err.message
    );
    ok(model_is(&model, &guest), "... where it is as it was written");
    volumes_cache_stats(guest.volumes, &cache);
    ok(cache.hits && cache.bytes, "... by the cache, which has what was uploaded");
    is_int(change_many(&guest, 300), 0, "writes of which the bucket does not have the last");
    guest_close(&guest);

    ok(guest_volumes(&guest, client, dir, "n1", MIB(32), 1), "closed, and on the same node");
    ok(guest_open(&guest, bucket, &err), "... opened again %s", err.message);
    ok(model_is(&model, &guest), "... everything is there");
    is_int(guest_write(&guest, model.bytes, SIZE - 512, 1024), 22, "nothing goes beyond the end");
    guest_close(&guest);
    s3pve_client_close(client);
}

static void one_owner(void) {
    struct s3pve_client *client = threaded_client();
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct guest first, twin, other;

    guest_create(client, SIZE, 256);
    guest_volumes(&first, client, dir, "n1", MIB(32), 10);
    guest_volumes(&twin, client, dir, "n1", MIB(32), 10);
    guest_volumes(&other, client, dir, "n2", MIB(32), 10);
    ok(guest_open(&first, true, &err), "one opens it %s", err.message);
    ok(!guest_open(&twin, true, &err), "a second daemon of the node does not");
    ok(strstr(err.message, "another process"), "... and says why: %s", err.message);
    ok(!guest_open(&other, true, &err), "nor another node");
    is_int(err.code, S3PVE_E_CONFLICT, "... as a conflict");
    ok(strstr(err.message, "'n1'"), "... and says who has it: %s", err.message);
    is_int(change_many(&first, 50), 0, "the first one is not disturbed");
    is_int(guest_flush(&first), 0, "... and flushes");
    guest_close(&first);
    twin.volumes = volumes_close(twin.volumes);
    guest_close(&other);
    s3pve_client_close(client);
}

int main(void) {
    char command[256];

    snprintf(dir, sizeof(dir), "%s/volume.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    model_init(&model, SIZE);
    random_work(false);
    random_work(true);
    one_owner();
    model_clear(&model);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
