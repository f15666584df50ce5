/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Compare and swap under a lock, step by step, with what can go wrong at each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "tap.h"
#include "volume/arbiter.h"

static struct {
    char steps[32]; /* a letter each: Take Get Renew Put Delete dRop */
    char fails;     /* this one does; upper case: at its first time, lower case: its second */
    enum s3pve_code why;
    bool lost, lands; /* a write that fails may have been done, and was */
    char text[64];    /* "" none there */
    unsigned version;
    const char *shows; /* what a server that says yes shows afterwards; NULL: what was written */
} world;

static int step(char letter, struct s3pve_error *err) {
    size_t len = strlen(world.steps), before = 0;

    for (size_t i = 0; i < len; i++)
        before += world.steps[i] == letter;
    world.steps[len] = letter;
    if ((world.fails == letter && before == 0) ||
        (world.fails == letter + 'a' - 'A' && before == 1))
        return error_set(err, world.why, "%c fails", letter);
    return 0;
}

static int take(void *ctx, struct s3pve_error *err) {
    return step('T', err);
}

static int renew(void *ctx, struct s3pve_error *err) {
    return step('R', err);
}

static void drop(void *ctx) {
    step('D', NULL);
}

static int get(void *ctx, struct buf *text, char etag[ETAG_ROOM], struct s3pve_error *err) {
    if (step('G', err) < 0)
        return -1;
    if (!world.text[0])
        return error_set(err, S3PVE_E_NOT_FOUND, "none");
    snprintf(etag, ETAG_ROOM, "v%u", world.version);
    return buf_str(text, world.text);
}

static int write_it(char letter, const char *text, bool *ret_lost, struct s3pve_error *err) {
    int rc = step(letter, err);

    if (rc < 0)
        *ret_lost = world.lost;
    if (rc == 0 || world.lands) {
        snprintf(world.text, sizeof(world.text), "%s", world.shows ? world.shows : text);
        world.version++;
    }
    return rc;
}

static int put(
    void *ctx, const char *text, const char *etag, bool *ret_lost, struct s3pve_error *err
) {
    return write_it('P', text, ret_lost, err);
}

static int remove_it(void *ctx, const char *etag, bool *ret_lost, struct s3pve_error *err) {
    return write_it('X', "", ret_lost, err);
}

static const struct arbiter_ops ops = {take, renew, drop, get, put, remove_it};

static const struct {
    const char *what, *text, *etag;
    char fails;
    enum s3pve_code why;
    bool lost, lands;
    const char *shows;
    int rc;
    enum s3pve_code code;
    const char *steps;
} cases[] = {
    {"a swap", "old", "v1", .steps = "TGRPGD"},
    {"a first one", "", "", .steps = "TGRPGD"},
    {"another version is a conflict",
     "old",
     "v0",
     .rc = -1,
     .code = S3PVE_E_CONFLICT,
     .steps = "TGD"},
    {"so is one that is gone", "", "v1", .rc = -1, .code = S3PVE_E_CONFLICT, .steps = "TGD"},
    {"or one that should not be", "old", "", .rc = -1, .code = S3PVE_E_CONFLICT, .steps = "TGD"},
    {"no lock, no write",
     "old",
     "v1",
     .fails = 'T',
     .why = S3PVE_E_TIMEOUT,
     .rc = -1,
     .code = S3PVE_E_TIMEOUT,
     .steps = "T"},
    {"what cannot be read is not written",
     "old",
     "v1",
     .fails = 'G',
     .why = S3PVE_E_IO,
     .rc = -1,
     .code = S3PVE_E_IO,
     .steps = "TGD"},
    {"a lock that may be another's is left alone, and nothing written",
     "old",
     "v1",
     .fails = 'R',
     .why = S3PVE_E_IO,
     .rc = -1,
     .code = S3PVE_E_IO,
     .steps = "TGR"},
    {"a write that was refused",
     "old",
     "v1",
     .fails = 'P',
     .why = S3PVE_E_DENIED,
     .rc = -1,
     .code = S3PVE_E_DENIED,
     .steps = "TGRPD"},
    {"a lost answer leaves the lock to run out, ...",
     "old",
     "v1",
     .fails = 'P',
     .why = S3PVE_E_TIMEOUT,
     .lost = true,
     .rc = -1,
     .code = S3PVE_E_TIMEOUT,
     .steps = "TGRP"},
    {"... though it was done",
     "old",
     "v1",
     .fails = 'P',
     .why = S3PVE_E_TIMEOUT,
     .lost = true,
     .lands = true,
     .rc = -1,
     .code = S3PVE_E_TIMEOUT,
     .steps = "TGRP"},
    {"what is done but cannot be read",
     "old",
     "v1",
     .fails = 'g',
     .why = S3PVE_E_TIMEOUT,
     .rc = -1,
     .code = S3PVE_E_TIMEOUT,
     .steps = "TGRPGD"},
    {"what is done and not to be seen",
     "old",
     "v1",
     .shows = "other",
     .rc = -1,
     .code = S3PVE_E_IO,
     .steps = "TGRPGD"},
};

static void test_put(void) {
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct s3pve_error err = S3PVE_ERROR_INIT;
        char new_etag[ETAG_ROOM] = "";

        memset(&world, 0, sizeof(world));
        world.fails = cases[i].fails;
        world.why = cases[i].why;
        world.lost = cases[i].lost;
        world.lands = cases[i].lands;
        world.shows = cases[i].shows;
        world.version = 1;
        strcpy(world.text, cases[i].text);
        is_int(
            arbiter_put(&ops, NULL, "new", cases[i].etag, new_etag, &err),
            cases[i].rc,
            "%s %s",
            cases[i].what,
            err.message
        );
        is_int(err.code, cases[i].code, "... is told as that");
        is_str(world.steps, cases[i].steps, "... after these steps");
        if (cases[i].rc == 0)
            ok(strcmp(new_etag, "v2") == 0 && strcmp(world.text, "new") == 0, "... and is there");
    }
}

static void begin_remove(const char *text) {
    memset(&world, 0, sizeof(world));
    world.version = 1;
    strcpy(world.text, text);
}

static void test_remove(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    begin_remove("old");
    is_int(arbiter_remove(&ops, NULL, "v1", &err), 0, "a deletion");
    is_str(world.steps, "TGRXD", "... under the lock");
    begin_remove("old");
    is_int(arbiter_remove(&ops, NULL, "v0", &err), -1, "not of another version");
    is_int(err.code, S3PVE_E_CONFLICT, "... which is a conflict");
    is_str(world.text, "old", "... and stays");
    begin_remove("old");
    world.fails = 'X';
    world.why = S3PVE_E_TIMEOUT;
    world.lost = true;
    is_int(arbiter_remove(&ops, NULL, "v1", &err), -1, "one whose answer is lost");
    is_str(world.steps, "TGRX", "... leaves the lock to run out");
}

int main(void) {
    test_put();
    test_remove();
    return done_testing();
}
