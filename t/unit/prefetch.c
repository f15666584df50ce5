/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Who reads one backup's notes finds those of all. */
#include "mount3.h"

#define N_NOTES 200

static const char *path_of(int i, const char *suffix) {
    static char path[120];

    snprintf(path, sizeof(path), "dump/vzdump-qemu-%d-2026_01_02-03_04_05.vma.%s", 100 + i, suffix);
    return path;
}

static void put_all(const char *suffix, const char *text) {
    for (int i = 0; i < N_NOTES; i++)
        mem3_put(path_of(i, suffix), text);
    s3pve_files_expire(fs);
    mount_list("dump");
}

/* Wait until nothing has been asked for a while; how much was asked since @before. */
static int settled(uint64_t before) {
    uint64_t now = mem3_n_requests(), last;

    do {
        last = now;
        usleep(100000);
        now = mem3_n_requests();
    } while (now != last);
    return (int)(now - before);
}

static void all_at_once(void) {
    uint64_t n;
    int64_t began_ms;

    put_all("notes", "first");
    put_all("zst", "data");
    n = mem3_n_requests();
    mem3.delay_ms = 20;
    began_ms = clock_monotonic_ms();
    is_str(mount_read(path_of(7, "notes")), "first", "one backup's notes are read");
    is_int(settled(n), 1 + N_NOTES, "it is looked at, and all are fetched, once each");
    ok(clock_monotonic_ms() - began_ms < N_NOTES * 20 / 3, "... side by side");
    mem3.delay_ms = 0;
    n = mem3_n_requests();
    for (int i = 0; i < N_NOTES; i++) {
        if (strcmp(mount_read(path_of(i, "notes")), "first") != 0)
            is_int(i, -1, "notes are wrong");
    }
    is_int(settled(n), 0, "then they are read without asking");
}

static void what_has_changed(void) {
    uint64_t n;

    for (int i = 0; i < 10; i++)
        mem3_put(path_of(i, "notes"), "second");
    s3pve_files_expire(fs);
    mount_list("dump");
    n = mem3_n_requests();
    is_str(mount_read(path_of(50, "notes")), "first", "one that has not changed is read");
    is_int(settled(n), 0, "... and brings nothing with it");
    is_str(mount_read(path_of(3, "notes")), "second", "one that has");
    is_int(settled(n), 1 + 10, "... brings those that have, too");
}

static void what_is_left_out(void) {
    uint64_t n;
    char large[SMALL_OBJECT + 2];

    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    mem3_put(path_of(0, "notes"), "third");
    mem3_put(path_of(1, "notes"), "");
    mem3_put(path_of(2, "notes"), large);
    mem3_put("dump/other.notes", "other");
    s3pve_files_expire(fs);
    mount_list("dump");
    n = mem3_n_requests();
    is_str(mount_read(path_of(0, "notes")), "third", "notes are read");
    is_int(settled(n), 1 + 1, "empty and large ones, and those of nothing, are left alone");
    n = mem3_n_requests();
    is_str(mount_read(path_of(9, "zst")), "data", "a backup itself");
    is_int(settled(n), 1 + 1, "... brings nothing with it");
}

static void no_answer(void) {
    uint64_t n;

    put_all("notes", "fourth");
    mem3.down_ms = 50;
    mem3.down = true;
    is_str(mount_read(path_of(7, "notes")), "(EIO)", "a store that does not answer");
    usleep(200000);
    mem3.down = false;
    n = mem3_n_requests();
    is_int(settled(n), 0, "... is asked no further");
    is_str(mount_read(path_of(7, "notes")), "fourth", "what is read later is fetched then");
}

int main(void) {
    mount3_begin();
    all_at_once();
    what_has_changed();
    what_is_left_out();
    no_answer();
    return mount3_end();
}
