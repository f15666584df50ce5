/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "volume/spare.h"

#define NAME_ROOM 32

static void name_of(unsigned i, char name[NAME_ROOM]) {
    snprintf(name, NAME_ROOM, "../spare-%u", i);
}

bool spare_keep(int folder, const char *name) {
    char spare[NAME_ROOM];

    for (unsigned i = 0; i < JOURNAL_SPARES; i++) {
        name_of(i, spare);
        if (renameat2(folder, name, folder, spare, RENAME_NOREPLACE) == 0)
            return true;
    }
    return false;
}

static bool wipe(int folder, const char *name, uint64_t len, uint64_t head) {
    int fd = openat(folder, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    _free_ void *zeroes = calloc(1, head);
    struct stat st;
    bool done;

    done = fd >= 0 && zeroes && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == len && pwrite(fd, zeroes, head, 0) == (ssize_t)head &&
           fdatasync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

/* Volumes are opened at the same time: it is ours once it is in our folder. */
bool spare_take(int folder, const char *name, uint64_t len, uint64_t head) {
    char spare[NAME_ROOM];
    struct stat st;

    for (unsigned i = 0; i < JOURNAL_SPARES; i++) {
        name_of(i, spare);
        if (fstatat(folder, spare, &st, AT_SYMLINK_NOFOLLOW) < 0 || (uint64_t)st.st_size != len ||
            renameat(folder, spare, folder, name) < 0)
            continue;
        if (wipe(folder, name, len, head))
            return true;
        unlinkat(folder, name, 0);
    }
    return false;
}

void spare_drop_all(int folder) {
    char spare[NAME_ROOM];

    for (unsigned i = 0; i < JOURNAL_SPARES; i++) {
        name_of(i, spare);
        unlinkat(folder, spare, 0);
    }
}
