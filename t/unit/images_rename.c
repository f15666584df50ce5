/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Renaming and deleting end at any request, and whoever comes next goes on: a volume has one name
 * or none. */
#include "mem3.h"
#include "mem3_list.h"
#include "mem3_request.h"

#include "images/rename.h"
#include "images/trash.h"
#include "tap.h"
#include "volume/swap.h"

#define A "100/vm-100-disk-0.raw"
#define B "101/base-101-disk-7.raw"
#define ROOT_A "images/100/vm-100-disk-0/volume.json"
#define ROOT_B "images/101/base-101-disk-7/volume.json"

static struct s3pve_error err;
static struct idle made; /* what the root of A is when nothing has been done */

static struct s3pve_client *client(void) {
    mem3_client()->config.timeout_ms = 5000;
    return mem3_client();
}

/* The volume A with an object, and nothing else. */
static void begin(void) {
    char key[LIMIT_KEY + 64];

    mem3.n_left = 0;
    mem3_clear();
    idle_end(&made);
    if (s3pve_volume_create(client(), A, 4096, NULL, &err) < 0 ||
        idle_begin(&made, client(), A, NULL, &err) < 0 || idle_read(&made, &err) < 0)
        bail_out("%s", err.message);
    snprintf(key, sizeof(key), "%s/log/0001-1-1", made.store.data);
    mem3_put(key, "data");
}

/* Is the volume of that name the one that was made, ready for use, with its data where it was? */
static bool is_whole(const char *name) {
    _cleanup_(idle_end) struct idle idle;

    if (idle_begin(&idle, client(), name, NULL, &err) < 0 || idle_read(&idle, &err) < 0)
        return false;
    return memcmp(idle.root.uuid, made.root.uuid, UUID_LEN) == 0 &&
           strcmp(idle.store.data, made.store.data) == 0 &&
           root_check_writable(&idle.root, &err) == 0;
}

static bool has_data(void) {
    char key[LIMIT_KEY + 64];

    snprintf(key, sizeof(key), "%s/log/0001-1-1", made.store.data);
    return mem3_text(key);
}

static int settle(const char *name) {
    _cleanup_(idle_end) struct idle idle;
    int rc;

    err = S3PVE_ERROR_INIT;
    idle_begin(&idle, client(), name, NULL, &err);
    rc = idle_settle(&idle, &err);
    return rc < 0 ? (int)err.code : 0;
}

/* --------------------------------------------------------------------- rename */

/* Who comes after the death of who renamed A to B, and what it finds. */
static bool open_old(void) {
    int code = settle(A);

    return code == (mem3_text(ROOT_A) ? S3PVE_OK : S3PVE_E_NOT_FOUND);
}
static bool open_new(void) {
    int code = settle(B);

    return code == S3PVE_OK || (code == S3PVE_E_NOT_FOUND && settle(A) != S3PVE_E_IO);
}
static bool rename_again(void) {
    int rc = s3pve_volume_rename(client(), A, B, NULL, &err);

    return (rc == 0 || err.code == S3PVE_E_NOT_FOUND) && is_whole(B);
}
static bool rename_elsewhere(void) {
    int rc = s3pve_volume_rename(client(), A, "7/x.raw", NULL, &err);

    return rc == 0 ? s3pve_volume_rename(client(), "7/x.raw", B, NULL, &err) == 0
                   : err.code == S3PVE_E_NOT_FOUND && is_whole(B);
}
static bool create_old(void) {
    int rc = s3pve_volume_create(client(), A, 8192, NULL, &err);

    return rc == 0
               ? is_whole(B) && !is_whole(A) && s3pve_volume_delete(client(), A, NULL, &err) == 0
               : err.code == S3PVE_E_CONFLICT && is_whole(A);
}
static bool create_new(void) {
    int rc = s3pve_volume_create(client(), B, 8192, NULL, &err);

    return rc == 0
               ? settle(A) == 0 && is_whole(A) && s3pve_volume_delete(client(), B, NULL, &err) == 0
               : err.code == S3PVE_E_CONFLICT && is_whole(B);
}

static void test_rename_dies(const char *who, bool (*next)(void)) {
    unsigned n = 1, n_whole = 0;
    int rc;

    do {
        begin();
        mem3.n_left = n + 1;
        rc = s3pve_volume_rename(client(), A, B, NULL, &err);
        mem3.n_left = 0;
        n_whole += next() && is_whole(A) + is_whole(B) == 1 && has_data();
    } while (rc < 0 && ++n < 40);
    ok(n > 5 && n < 40, "a renaming takes %u requests", n);
    is_int(n_whole, n, "... after the death at any of them, %s finds it whole", who);
}

/* Another volume takes the name while it is half-done. */
static void test_taken(void) {
    begin();
    mem3.n_left = 5; /* settled, free, marked: and dead */
    while (!mem3_text(ROOT_A) || !strstr(mem3_text(ROOT_A), "\"moving_to\":\"images/101/")) {
        unsigned n_left = mem3.n_left + 1;

        begin();
        mem3.n_left = n_left;
        s3pve_volume_rename(client(), A, B, NULL, &err);
        mem3.n_left = mem3.n_left == 1 ? n_left : 0;
        if (n_left > 40)
            bail_out("it is never marked");
    }
    mem3.n_left = 0;
    mem3_put(ROOT_B, mem3_text(ROOT_A)); /* with another uuid and no mark: */
    {
        _cleanup_(idle_end) struct idle other;

        idle_begin(&other, client(), B, NULL, &err);
        idle_read(&other, &err);
        other.root.uuid[0] ^= 1;
        other.root.moving_to[0] = '\0';
        root_swap(&store_ops, &other.store, &other.root, other.etag, &err);
    }
    is_int(settle(A), S3PVE_OK, "a volume whose new name was taken has its old one again");
    ok(is_whole(A), "... and is whole");
    ok(!is_whole(B) && settle(B) == 0, "... as is the other");
}

/* Who was overtaken writes the new root when all is over, and the volume has gone on. */
static void test_overtaken(void) {
    _cleanup_(idle_end) struct idle late;
    char *text;

    begin();
    mem3.n_left = 0;
    s3pve_volume_rename(client(), A, B, NULL, &err);
    idle_begin(&late, client(), B, NULL, &err);
    idle_read(&late, &err);
    strcpy(late.root.moving_from, "images/100/vm-100-disk-0");
    root_encode(&late.root, &text, &err);
    is_int(s3pve_volume_rename(client(), B, "7/x.raw", NULL, &err), 0, "a volume moves on");
    mem3_put(ROOT_B, text);
    is_int(settle(B), S3PVE_E_NOT_FOUND, "a root that came too late is no volume");
    ok(!mem3_text(ROOT_B), "... and goes");
    ok(is_whole("7/x.raw") && has_data(), "... and what it tells of is left alone");
    free(text);
}

static void test_refusals(void) {
    begin();
    s3pve_volume_create(client(), B, 8192, NULL, &err);
    is_int(s3pve_volume_rename(client(), A, B, NULL, &err), -1, "a name that is taken");
    is_int(err.code, S3PVE_E_CONFLICT, "... %s", err.message);
    ok(is_whole(A), "... costs nothing");
    is_int(s3pve_volume_rename(client(), A, A, NULL, &err), -1, "nor does one's own");
    is_int(err.code, S3PVE_E_INVALID, "... %s", err.message);
    is_int(s3pve_volume_rename(client(), A, "x", NULL, &err), -1, "nor does none");
    made.root.owner.state = ROOT_OPEN;
    strcpy(made.root.owner.node, "pve1");
    root_swap(&store_ops, &made.store, &made.root, made.etag, &err);
    is_int(s3pve_volume_rename(client(), A, "7/x.raw", NULL, &err), -1, "one that is open stays");
    is_int(err.code, S3PVE_E_CONFLICT, "... %s", err.message);
    ok(strstr(err.message, "'pve1'"), "... which says who has it");
}

/* --------------------------------------------------------------------- delete */

static unsigned n_notes(void) {
    unsigned n = 0;

    for (size_t i = 0; i < mem3.n_objects; i++)
        n += strncmp(mem3.objects[i].key, ".s3pve/trash/", 13) == 0;
    return n;
}

static void test_delete_dies(void) {
    unsigned n = 1, n_good = 0;
    int rc;

    do {
        begin();
        mem3.n_left = n + 1;
        rc = s3pve_volume_delete(client(), A, NULL, &err);
        mem3.n_left = 0;
        if (settle(A) == S3PVE_OK)
            n_good += is_whole(A) && has_data() && n_notes() == 0;
        else
            n_good += !mem3_text(ROOT_A) && n_notes() == 1 &&
                      s3pve_volume_create(client(), A, 8192, NULL, &err) == 0;
    } while (rc < 0 && ++n < 40);
    ok(n > 3 && n < 40, "a deletion takes %u requests", n);
    is_int(n_good, n, "... after the death at any of them it is there, or its name is free");
}

static void test_empty_dies(void) {
    unsigned n = 1, n_good = 0;
    int rc;

    do {
        begin();
        s3pve_volume_delete(client(), A, NULL, &err);
        s3pve_volume_create(client(), A, 4096, NULL, &err);
        mem3.n_left = n + 1;
        rc = s3pve_volume_empty_trash(client(), NULL, &err);
        mem3.n_left = 0;
        if (rc < 0 && n_notes() == 1) /* else the last of it was done */
            n_good += s3pve_volume_empty_trash(client(), NULL, &err) == 0;
        else
            n_good++;
        n_good -= has_data() || n_notes() || mem3.n_objects != 1;
    } while (rc < 0 && ++n < 40);
    ok(n > 3 && n < 40, "to empty the trash takes %u requests", n);
    is_int(
        n_good, n, "... after the death at any of them the next one ends it, and no more than it"
    );
}

static void test_bad_note(void) {
    begin();
    mem3_put(".s3pve/trash/1.json", "{\"format\":\"trash\",\"data\":\"images/100\"}");
    mem3_put(".s3pve/trash/2.json", "no json");
    mem3_put(".s3pve/trash/3.json", "{\"format\":\"trash\",\"data\":\"dump/d-01234567\"}");
    is_int(s3pve_volume_empty_trash(client(), NULL, &err), 0, "what is no note is passed by");
    ok(is_whole(A) && has_data() && n_notes() == 3, "... and nothing is deleted for it");
}

int main(void) {
    test_rename_dies("who opens the old name", open_old);
    test_rename_dies("who opens the new name", open_new);
    test_rename_dies("who renames it again", rename_again);
    test_rename_dies("who renames it to something else", rename_elsewhere);
    test_rename_dies("who makes one of the old name", create_old);
    test_rename_dies("who makes one of the new name", create_new);
    test_taken();
    test_overtaken();
    test_refusals();
    test_delete_dies();
    test_empty_dies();
    test_bad_note();
    idle_end(&made);
    mem3_clear();
    return done_testing();
}
