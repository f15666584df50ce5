/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/state.h"
#include "cli/target.h"

void target_clear(struct target *target) {
    if (target->fd >= 0)
        close(target->fd);
    free(target->path);
    free(target->part);
}

int target_path(const char *key, const char *path, char **ret_path, struct s3pve_error *err) {
    const char *slash = strrchr(key, '/'), *name = slash ? slash + 1 : key;
    struct stat stat_buf;
    bool folder = !path || (stat(path, &stat_buf) == 0 && S_ISDIR(stat_buf.st_mode));
    _cleanup_(buf_clear) struct buf full = {0};

    if (folder && (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0))
        return fail(err, S3PVE_E_INVALID, "'%s' names no file: say into which FILE", key);
    if (path && folder && buf_printf(&full, "%s/%s", path, name) < 0)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    if ((!path || !folder) && buf_str(&full, path ? path : name) < 0)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    *ret_path = buf_steal(&full);
    return *ret_path ? 0 : fail(err, S3PVE_E_NOMEM, "out of memory");
}

bool target_in_place(const char *path) {
    struct stat stat_buf;

    return stat(path, &stat_buf) == 0 && !S_ISREG(stat_buf.st_mode);
}

/* Only what has bytes is cut: ext4 writes a file out at close that was once cut to nothing. */
static int empty(const struct target *target, struct s3pve_error *err) {
    struct stat stat;

    if (fstat(target->fd, &stat) < 0 || (stat.st_size > 0 && ftruncate(target->fd, 0) < 0))
        return fail_errno(err, "%s", target->part);
    return 0;
}

int target_open(struct target *target, bool keep, struct s3pve_error *err) {
    if (target_in_place(target->path)) {
        target->fd = open(target->path, O_WRONLY | O_CLOEXEC);
        return target->fd < 0 ? fail_errno(err, "%s", target->path) : 0;
    }
    if (asprintf(&target->part, "%s.part", target->path) < 0)
        return target->part = NULL, fail(err, S3PVE_E_NOMEM, "out of memory");

    target->fd = open(target->part, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (target->fd < 0)
        return fail_errno(err, "%s", target->part);
    if (!state_lock(target->fd, target->part)) {
        free(steal_ptr(&target->part)); /* somebody else's: not ours to remove */
        return fail(err, S3PVE_E_CONFLICT, "another process writes %s.part", target->path);
    }
    return keep ? 0 : empty(target, err);
}

int target_publish(const struct target *target, struct s3pve_error *err) {
    if (target->part && rename(target->part, target->path) < 0)
        return fail_errno(err, "%s", target->path);
    return 0;
}

void target_drop(const struct target *target) {
    if (target->part)
        unlink(target->part);
}
