/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What a heartbeat asks the store for, and how full it then is. */
#include "mount3.h"

static uint64_t requests_of_refresh(void) {
    uint64_t n = mem3_n_requests();

    s3pve_files_refresh(fs, NULL);
    usleep(100000); /* counting has a thread of its own */
    return mem3_n_requests() - n;
}

static bool is_online(void) {
    struct s3pve_files_stats stats;

    s3pve_files_stats(fs, &stats);
    return stats.online;
}

static void at_rest(void) {
    is_int(mount_write("snippets/a", "text"), 0, "the store has just done something");
    is_int((long long)requests_of_refresh(), 0, "a heartbeat asks it for nothing more");
}

/* Somebody wants to know. */
static void when_expired(void) {
    struct s3pve_files_stats stats;

    mem3_put("snippets/b", "another node's");
    s3pve_files_stats(fs, &stats);
    is_int((long long)stats.used_bytes, 4, "what others put there is not counted yet");
    s3pve_files_expire(fs);
    is_int((long long)requests_of_refresh(), 2, "after that it checks and counts in any case");
    s3pve_files_stats(fs, &stats);
    is_int((long long)stats.used_bytes, 18, "... all that is there");
    is_int((long long)stats.used_objects, 2, "... both");
    is_int((long long)requests_of_refresh(), 0, "... once");
}

static void when_dead(void) {
    mem3.down = true;
    is_int((long long)requests_of_refresh(), 0, "nobody answers any more");
    ok(is_online(), "... which a heartbeat need not notice at once");
    s3pve_files_expire(fs);
    requests_of_refresh();
    ok(!is_online(), "... but one after that does");
    mem3.down = false;
    requests_of_refresh();
    ok(is_online(), "offline, each looks");
}

int main(void) {
    mount3_begin();
    usleep(100000);
    at_rest();
    when_expired();
    when_dead();
    return mount3_end();
}
