/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Who waits for whom: what is known at once is said at once, and who may let go any moment is
 * waited for. */
#include "mem3.h"
#include "mem3_list.h"
#include "mem3_request.h"

#include "images.h"
#include "images/table.h"
#include "tap.h"

#define SIZE MIB(4)
#define DISK "100/vm-100-disk-0.raw"
#define ROOT_KEY "images/100/vm-100-disk-0/volume.json"

static char dir[200];
static struct s3pve_error err;

static struct s3pve_volumes *begin(void) {
    char command[300];
    struct node_options options = {.dir = dir, .name = "n1", .scale = 60, .linger_ms = 60000};

    mem3_clear();
    mem3_client()->caps.put_if_match = S3PVE_YES;
    mem3_client()->config.timeout_ms = 20000;
    snprintf(command, sizeof(command), "rm -rf '%s/'*", dir);
    if (system(command) != 0 || s3pve_volume_create(mem3_client(), DISK, SIZE, NULL, &err) < 0)
        bail_out("%s", err.message);
    return node_open(mem3_client(), &options);
}

static struct s3pve_volume *hold(struct s3pve_volumes *volumes) {
    struct s3pve_volume *volume = NULL;

    if (s3pve_volume_hold(volumes, DISK, NULL, &volume, &err) < 0)
        bail_out("%s", err.message);
    return volume;
}

/* What is known without asking anybody is said without waiting for anybody. */
static void test_rename_refused(void) {
    struct s3pve_volumes *one;
    struct s3pve_volume *volume;
    int64_t began_ms;

    one = begin();
    s3pve_volumes_activate(one, DISK, NULL, &err);
    volume = hold(one);
    began_ms = clock_monotonic_ms();
    is_int(s3pve_volumes_rename(one, DISK, "7/x.raw", NULL, &err), -1, "an active one stays");
    is_int(err.code, S3PVE_E_CONFLICT, "... %s", err.message);
    ok(strstr(err.message, "active on this node"), "... since it is active");
    is_int(s3pve_volumes_rename(one, DISK, DISK, NULL, &err), -1, "its own name is no other");
    is_int(err.code, S3PVE_E_INVALID, "... %s", err.message);
    is_int(s3pve_volumes_rename(one, DISK, "7/..", NULL, &err), -1, "nor is one that none can be");
    is_int(err.code, S3PVE_E_INVALID, "... %s", err.message);
    is_int(s3pve_volumes_rename(one, "7/..", DISK, NULL, &err), -1, "nor can that have one");
    is_int(err.code, S3PVE_E_INVALID, "... %s", err.message);
    is_int(s3pve_volumes_delete(one, "7/..", NULL, &err), -1, "... or be deleted");
    is_int(err.code, S3PVE_E_INVALID, "... %s", err.message);
    ok(clock_monotonic_ms() - began_ms < 5000, "all of which is said at once");
    s3pve_volume_release(volume);
    is_int(s3pve_volumes_deactivate(one, DISK, NULL, &err), 0, "deactivated %s", err.message);
    s3pve_volume_release(hold(one));
    is_int(s3pve_volumes_rename(one, DISK, "7/x.raw", NULL, &err), 0, "it goes %s", err.message);
    s3pve_volumes_close(one);
}

struct leaver {
    struct s3pve_volumes *volumes;
    bool is_deleted; /* else renamed */
    struct s3pve_error err;
    int rc;
    atomic_bool done;
};

static void *leave_thread(void *arg) {
    struct leaver *l = arg;

    if (l->is_deleted)
        l->rc = s3pve_volumes_delete(l->volumes, DISK, NULL, &l->err);
    else
        l->rc = s3pve_volumes_rename(l->volumes, DISK, "7/x.raw", NULL, &l->err);
    l->done = true;
    return NULL;
}

/* Who holds one may let go any moment. */
static void test_leave_held(void) {
    for (unsigned i = 0; i < 2; i++) {
        struct leaver leaver = {.is_deleted = i};
        const char *what = i ? "an active one is deleted" : "one is renamed";
        struct s3pve_volume *volume;
        pthread_t thread;
        bool early;

        leaver.volumes = begin();
        volume = hold(leaver.volumes);
        if (i)
            s3pve_volumes_activate(leaver.volumes, DISK, NULL, &err);
        pthread_create(&thread, NULL, leave_thread, &leaver);
        mem3_sleep(200, NULL);
        early = leaver.done;
        s3pve_volume_release(volume);
        pthread_join(thread, NULL);
        is_int(leaver.rc, 0, "%s %s", what, leaver.err.message);
        ok(!early, "... when nobody holds it any more");
        ok(!mem3_text(ROOT_KEY), "... and its name is free");
        s3pve_volumes_close(leaver.volumes);
    }
}

int main(void) {
    char command[300];

    snprintf(dir, sizeof(dir), "%s/images-table.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    test_rename_refused();
    test_leave_held();
    mem3_clear();
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
