/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What a node remembers of a volume it has open, and how it forgets. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "images/state.h"
#include "tap.h"
#include "volume/journal_file.h"

#define UUID "00112233445566778899aabbccddeeff"

static char dir[200], folder[300];
static struct s3pve_error err;

static const char *path_of(const char *name) {
    static char path[300];

    snprintf(path, sizeof(path), "%s/" UUID "/%s", dir, name);
    return path;
}

static bool is_there(const char *name) {
    return access(path_of(name), F_OK) == 0;
}

static void put(const char *name, const void *data, size_t len) {
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, data, len) != (ssize_t)len || close(fd) < 0)
        bail_out("%s", path_of(name));
}

/* A journal whose newer superblock has that nonce: 0 when it was emptied. */
static void put_journal(uint32_t nonce) {
    uint8_t blocks[3 * BLOCK] = {0};
    struct superblock superblock = {.generation = 6, .ring_len = BLOCK, .nonce = 77, .seed = 1};

    superblock_encode(&superblock, blocks);
    superblock.generation = 7;
    superblock.nonce = nonce;
    superblock_encode(&superblock, blocks + BLOCK);
    put("journal", blocks, sizeof(blocks));
}

static void test_memory(void) {
    struct state state = {"100/vm-100-disk-0.raw", "boot", true}, again = {0};

    is_int(state_read(dir, UUID, &again, &err), -1, "there is nothing at first");
    is_int(err.code, S3PVE_E_NOT_FOUND, "... %s", err.message);
    is_int(state_write(dir, UUID, &state, &err), 0, "something is noted %s", err.message);
    is_int(state_read(dir, UUID, &again, &err), 0, "... and read");
    ok(strcmp(again.name, state.name) == 0 && strcmp(again.incarnation, "boot") == 0 &&
           again.active,
       "... the same");
    state.active = false;
    is_int(state_write(dir, UUID, &state, &err), 0, "... changed");
    ok(state_read(dir, UUID, &again, &err) == 0 && !again.active, "... and read again");
    ok(!is_there("volume.new"), "... and nothing else is left");
    put("volume", "{\"name\":\"../../etc\",\"incarnation\":\"b\"}", 38);
    is_int(state_read(dir, UUID, &again, &err), -1, "what names no volume");
    is_int(err.code, S3PVE_E_CORRUPT, "... is told: %s", err.message);
    put("volume", "{\"na", 4);
    is_int(state_read(dir, UUID, &again, &err), -1, "so is half of it");
    is_int(state_write("/nowhere", UUID, &state, &err), -1, "what cannot be written");
    is_int(err.code, S3PVE_E_NOT_FOUND, "... is told, too: %s", err.message);
}

static int count(void *ctx, const char *uuid) {
    *(unsigned *)ctx += strcmp(uuid, UUID) == 0;
    return 0;
}

static void test_each(void) {
    char other[300];
    unsigned n = 0;

    snprintf(other, sizeof(other), "%s/lost+found", dir);
    mkdir(other, 0700);
    is_int(state_each(dir, count, &n, &err), 0, "all are found");
    is_int(n, 1, "... and what is none is not");
    is_int(state_each("/nowhere", count, &n, &err), -1, "... nor without a folder");
}

static unsigned n_lost(void) {
    char command[300];
    unsigned n = 0;
    FILE *pipe;

    snprintf(command, sizeof(command), "ls '%s'/*/ 2>/dev/null | grep -c '^journal-lost-'", dir);
    pipe = popen(command, "re");
    if (!pipe || fscanf(pipe, "%u", &n) != 1)
        n = 99;
    pclose(pipe);
    return n;
}

static void test_locked(void) {
    struct state state = {"100/vm-100-disk-0.raw", "boot", true};
    struct journal_file *file = NULL, *again = NULL;

    state_write(dir, UUID, &state, &err);
    put_journal(5);
    snprintf(folder, sizeof(folder), "%s/" UUID, dir);
    is_int(journal_file_open(folder, BLOCK, &file, &err), 0, "a volume is open %s", err.message);
    state_remove(dir, UUID);
    ok(is_there("volume") && is_there("journal") && is_there("lock"), "nothing of it is removed");
    ok(!state_set_aside(dir, UUID) && is_there("journal"), "... or set aside");
    is_int(journal_file_open(folder, BLOCK, &again, &err), -1, "... and nobody else opens it");
    journal_file_close(file);
    state_remove(dir, UUID);
    ok(!is_there(""), "closed, it is");
}

static void test_end(void) {
    struct state state = {"100/vm-100-disk-0.raw", "boot", true};
    long long old_s = clock_wall_s() - 3 * 86400;
    char path[300];

    state_write(dir, UUID, &state, &err);
    ok(!state_has_journal(dir, UUID), "without a journal");
    put_journal(5);
    ok(state_has_journal(dir, UUID), "... and with one");
    state_remove(dir, UUID);
    ok(!is_there(""), "when the bucket has everything all of it goes");

    state_write(dir, UUID, &state, &err);
    put_journal(0);
    ok(!state_set_aside(dir, UUID), "a journal that was emptied is not kept");
    ok(!is_there(""), "... and goes, too");

    state_write(dir, UUID, &state, &err);
    put_journal(5);
    ok(state_set_aside(dir, UUID), "one that was not is");
    ok(!is_there("journal") && !is_there("volume") && n_lost() == 1, "... by another name, alone");
    state_purge(dir, UUID, 2);
    is_int(n_lost(), 1, "... for a while");
    snprintf(path, sizeof(path), "touch -d @%lld '%s'/*/journal-lost-*", old_s, dir);
    if (system(path) != 0)
        bail_out("%s", path);
    state_purge(dir, UUID, 4);
    is_int(n_lost(), 1, "... which is not over");
    state_purge(dir, UUID, 2);
    ok(!is_there(""), "... and then is");
    state_purge(dir, UUID, 2); /* of nothing */
}

int main(void) {
    uint8_t uuid[UUID_LEN];
    char text[STATE_UUID], command[300];

    for (unsigned i = 0; i < UUID_LEN; i++)
        uuid[i] = (uint8_t)(i * 0x11);
    state_uuid(uuid, text);
    is_str(text, UUID, "a folder's name");
    snprintf(dir, sizeof(dir), "%s/images-state.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(dir))
        bail_out("%s", dir);
    test_memory();
    test_each();
    test_locked();
    test_end();
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
