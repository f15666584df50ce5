/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/fail.h"
#include "daemon/log.h"

#define STALE_MAX 16   /* dead mounts on top of each other */
#define HIDDEN_DEPTH 8 /* of empty folders that a mount may hide */

static void fclosep(FILE **file) {
    if (*file)
        fclose(*file);
}

static void closedirp(DIR **dir) {
    if (*dir)
        closedir(*dir);
}

static bool is_octal(char c) {
    return c >= '0' && c <= '7';
}

/* The mount table writes blanks and the like as \040, in place. */
static void unescape(char *text) {
    char *out = text;
    for (const char *in = text; *in; out++) {
        if (in[0] == '\\' && is_octal(in[1]) && is_octal(in[2]) && is_octal(in[3])) {
            *out = (char)((in[1] - '0') << 6 | (in[2] - '0') << 3 | (in[3] - '0'));
            in += 4;
        } else {
            *out = *in++;
        }
    }
    *out = '\0';
}

/* One line of mountinfo(5): id parent major:minor root mountpoint options [tags] - type source ..
 */
static bool parse_mount(const char *line, const char *path, struct mount_entry *entry) {
    char device[32], where[PATH_MAX + 1], *minor = NULL;
    const char *rest = strstr(line, " - ");
    if (!rest || sscanf(line, "%*s %*s %31s %*s %4096s", device, where) != 2)
        return false;
    if (sscanf(rest, " - %63s %255s", entry->type, entry->source) != 2)
        return false;
    entry->major = (unsigned)strtoul(device, &minor, 10);
    entry->minor = *minor == ':' ? (unsigned)strtoul(minor + 1, NULL, 10) : 0;
    unescape(where);
    unescape(entry->source);
    return strcmp(where, path) == 0;
}

int mountpoint_find(const char *path, struct mount_entry *ret_entry) {
    _cleanup_(fclosep) FILE *table = fopen("/proc/self/mountinfo", "re");
    if (!table)
        return -1;

    _free_ char *line = NULL;
    size_t room = 0;
    int found = 0;
    while (getline(&line, &room, table) >= 0) {
        struct mount_entry entry = {0};
        if (!parse_mount(line, path, &entry))
            continue;
        *ret_entry = entry; /* the last one is on top */
        found = 1;
    }
    return found;
}

int mkdir_all(const char *path, unsigned mode) {
    char part[PATH_MAX];
    if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (char *slash = part; slash;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return -1;
        if (slash)
            *slash = '/';
    }
    return 0;
}

/* Resolves all but the last component: that one may be a dead mount, which answers nothing. */
static int resolve(const char *path, char **ret_path, struct s3pve_error *err) {
    _free_ char *dir = strdup(path);
    if (!dir)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    char *slash = strrchr(dir, '/');
    const char *base = slash + 1;
    *slash = '\0';
    const char *parent = dir[0] ? dir : "/";
    if (dir[0] && mkdir_all(parent, 0755) < 0)
        return fail_errno(err, "mountpoint %s", path);

    _free_ char *real = realpath(parent, NULL);
    if (!real)
        return fail_errno(err, "mountpoint %s", path);
    if (asprintf(ret_path, "%s/%s", strcmp(real, "/") == 0 ? "" : real, base) < 0)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    return 0;
}

static int drop_stale(const char *path, const char *source, struct s3pve_error *err) {
    struct mount_entry entry;
    for (int i = 0; i < STALE_MAX; i++) {
        int found = mountpoint_find(path, &entry);
        if (found < 0)
            return fail_errno(err, "mount table");
        if (found == 0)
            return 0;
        if (strcmp(entry.source, source) != 0 || strcmp(entry.type, MOUNT_TYPE) != 0)
            return fail(
                err,
                S3PVE_E_INVALID,
                "mountpoint %s: %s (%s) is mounted there already",
                path,
                entry.source,
                entry.type
            );
        log_say(S3PVE_LOG_WARNING, "mount", "removing the stale mount at %s", path);
        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
            return fail_errno(err, "mountpoint %s: remove the stale mount", path);
    }
    return fail(err, S3PVE_E_INVALID, "mountpoint %s: too many stale mounts", path);
}

/* Finds something that is not an empty folder; *ret_name is malloc()ed.  Takes @fd. */
// NOLINTNEXTLINE(misc-no-recursion): at most HIDDEN_DEPTH deep
static int find_hidden(int fd, int depth, char **ret_name) {
    _cleanup_(closedirp) DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return -1;
    }
    for (struct dirent *d; !*ret_name && (d = readdir(dir));) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        int sub = depth > 0 ? openat(dirfd(dir), d->d_name, flags) : -1;
        if (sub < 0)
            *ret_name = strdup(d->d_name);
        else if (find_hidden(sub, depth - 1, ret_name) < 0)
            return -1;
    }
    return 0;
}

static int check_empty(const char *path, struct s3pve_error *err) {
    _free_ char *name = NULL;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || find_hidden(fd, HIDDEN_DEPTH, &name) < 0)
        return fail_errno(err, "mountpoint %s", path);
    if (name)
        return fail(
            err,
            S3PVE_E_INVALID,
            "mountpoint %s is not empty ('%s'); move the files away, the mount would hide them",
            path,
            name
        );
    return 0;
}

/* The folders of a mountpoint are for everybody, unlike all else that the daemon makes. */
static void restore_umask(const mode_t *mask) {
    umask(*mask);
}

int mountpoint_prepare(
    const char *path, const char *source, char **ret_path, struct s3pve_error *err
) {
    _cleanup_(restore_umask) mode_t mask = umask(0022);
    _free_ char *real = NULL;
    if (resolve(path, &real, err) < 0 || drop_stale(real, source, err) < 0)
        return -1;
    if (mkdir(real, 0755) < 0 && errno != EEXIST)
        return fail_errno(err, "mountpoint %s", real);
    if (check_empty(real, err) < 0)
        return -1;
    *ret_path = steal_ptr(&real);
    return 0;
}
