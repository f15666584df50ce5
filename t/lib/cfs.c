/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "cfs.h"
#include "tap.h"

#define LOCKS 64

/* Age counts from when a lock was first seen, or seen renewed, as every node's own clock has it. */
struct seen {
    char path[512];
    ino_t inode;
    time_t renewed;
    int64_t since_ms;
};

static struct seen seen[LOCKS];

static struct seen *find(const char *path) {
    struct seen *unused = NULL;

    for (int i = 0; i < LOCKS; i++) {
        if (strcmp(seen[i].path, path) == 0)
            return &seen[i];
        if (!unused && (!seen[i].path[0] || access(seen[i].path, F_OK) < 0))
            unused = &seen[i];
    }
    if (!unused)
        abort();
    *unused = (struct seen){0};
    snprintf(unused->path, sizeof(unused->path), "%s", path);
    return unused;
}

static void look_at(const char *path, unsigned life_ms) {
    struct seen *lock = find(path);
    struct stat st;

    if (stat(path, &st) < 0)
        return;
    if (lock->inode != st.st_ino || (st.st_mtime && st.st_mtime != lock->renewed)) {
        lock->inode = st.st_ino;
        lock->renewed = st.st_mtime;
        lock->since_ms = clock_boottime_ms();
    }
    if (!st.st_mtime && clock_boottime_ms() - lock->since_ms > life_ms)
        rmdir(path);
}

static void look_after(const char *dir, unsigned life_ms) {
    DIR *entries = opendir(dir);
    struct dirent *entry;
    char path[512];

    while (entries && (entry = readdir(entries))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%.200s/%.200s", dir, entry->d_name);
        look_at(path, life_ms);
    }
    if (entries)
        closedir(entries);
}

pid_t cfs_start(const char *dir, unsigned life_ms) {
    pid_t pid = fork();

    if (pid < 0)
        bail_out("fork");
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        look_after(dir, life_ms);
        usleep(20000);
    }
}

void cfs_stop(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
