/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "core/error.h"
#include "images/state.h"
#include "volume/jrecord.h"

#define NAME "volume"
#define LOST "journal-lost-" /* as journal_file.h calls them, too */
#define NAME_NEW "volume.new"
#define TEXT_MAX 4096 /* bytes of the file */

void state_uuid(const uint8_t uuid[UUID_LEN], char text[STATE_UUID]) {
    for (unsigned i = 0; i < UUID_LEN; i++)
        snprintf(text + 2 * i, 3, "%02x", uuid[i]);
}

static int fail(const char *dir, const char *uuid, struct s3pve_error *err) {
    int errnum = errno;
    enum s3pve_code code = errnum == ENOSPC || errnum == EDQUOT ? S3PVE_E_NO_SPACE
                           : errnum == ENOENT                   ? S3PVE_E_NOT_FOUND
                                                                : S3PVE_E_IO;

    return error_set(err, code, "%s/%s: %s", dir, uuid, strerror(errnum));
}

static void close_fdp(const int *fd) {
    if (*fd >= 0)
        close(*fd);
}

static int open_folder(const char *dir, const char *uuid) {
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/%s", dir, uuid) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The folder, which has to be there after a loss of power, too. */
static int make_folder(const char *dir, const char *uuid) {
    _cleanup_(close_fdp) int above = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (above < 0 || (mkdirat(above, uuid, 0700) < 0 && errno != EEXIST) || fsync(above) < 0)
        return -1;
    return openat(above, uuid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int write_text(int folder, const char *text) {
    _cleanup_(close_fdp) int fd =
        openat(folder, NAME_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t len = (ssize_t)strlen(text);

    if (fd < 0)
        return -1;
    errno = ENOSPC; /* of a write that is cut short */
    if (write(fd, text, (size_t)len) != len || fdatasync(fd) < 0)
        return -1;
    return renameat(folder, NAME_NEW, folder, NAME) < 0 || fsync(folder) < 0 ? -1 : 0;
}

int state_write(
    const char *dir, const char *uuid, const struct state *state, struct s3pve_error *err
) {
    json_t *json = json_pack(
        "{s:s, s:s, s:b}",
        "name",
        state->name,
        "incarnation",
        state->incarnation,
        "active",
        (int)state->active
    );
    _free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    _cleanup_(close_fdp) int folder = -1;

    json_decref(json);
    if (!text)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a volume's name");
    folder = make_folder(dir, uuid);
    return folder < 0 || write_text(folder, text) < 0 ? fail(dir, uuid, err) : 0;
}

static bool parse(const char *text, size_t len, struct state *state) {
    json_t *json = json_loadb(text, len, 0, NULL);
    const char *name = json_string_value(json_object_get(json, "name"));
    const char *incarnation = json_string_value(json_object_get(json, "incarnation"));
    bool good = name && incarnation && strlen(incarnation) < sizeof(state->incarnation) &&
                s3pve_volume_check_name(name, NULL) == 0;

    if (good) {
        strcpy(state->name, name);
        strcpy(state->incarnation, incarnation);
        state->active = json_is_true(json_object_get(json, "active"));
    }
    json_decref(json);
    return good;
}

int state_read(
    const char *dir, const char *uuid, struct state *ret_state, struct s3pve_error *err
) {
    _cleanup_(close_fdp) int folder = open_folder(dir, uuid);
    _cleanup_(close_fdp) int fd = folder < 0 ? -1 : openat(folder, NAME, O_RDONLY | O_CLOEXEC);
    char text[TEXT_MAX];
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text));

    if (len < 0)
        return fail(dir, uuid, err);
    if (!parse(text, (size_t)len, ret_state))
        return error_set(err, S3PVE_E_CORRUPT, "%s/%s/" NAME " names no volume", dir, uuid);
    return 0;
}

bool state_has_journal(const char *dir, const char *uuid) {
    _cleanup_(close_fdp) int folder = open_folder(dir, uuid);

    return folder >= 0 && faccessat(folder, "journal", F_OK, 0) == 0;
}

/* Whoever has the volume open, be it by another name, has this locked: see journal_file.h. */
static int lock_folder(int folder) {
    int fd = folder < 0 ? -1 : openat(folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    close(fd);
    return -1;
}

static void remove_files(const char *dir, const char *uuid, int folder) {
    static const char *const names[] = {"journal", "journal.new", "length", NAME_NEW, NAME, "lock"};
    char path[PATH_MAX];

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlinkat(folder, names[i], 0);
    snprintf(path, sizeof(path), "%s/%s", dir, uuid);
    rmdir(path); /* not if something was set aside */
}

void state_remove(const char *dir, const char *uuid) {
    _cleanup_(close_fdp) int folder = open_folder(dir, uuid);
    _cleanup_(close_fdp) int lock = lock_folder(folder);

    if (lock >= 0)
        remove_files(dir, uuid, folder);
}

/* Nothing was ever written to it since it was made or emptied. */
static bool is_empty(int folder) {
    _cleanup_(close_fdp) int fd = openat(folder, "journal", O_RDONLY | O_CLOEXEC);
    uint8_t blocks[2 * BLOCK];
    struct superblock a, b;
    bool has_a, has_b;

    if (fd < 0 || pread(fd, blocks, sizeof(blocks), 0) != (ssize_t)sizeof(blocks))
        return fd < 0 && errno == ENOENT;
    has_a = superblock_decode(&a, blocks);
    has_b = superblock_decode(&b, blocks + BLOCK);
    if (has_a && has_b)
        return a.generation > b.generation ? !a.nonce : !b.nonce;
    return has_a ? !a.nonce : !has_b || !b.nonce;
}

bool state_set_aside(const char *dir, const char *uuid) {
    _cleanup_(close_fdp) int folder = open_folder(dir, uuid);
    _cleanup_(close_fdp) int lock = lock_folder(folder);
    char name[64];
    bool keep;

    if (lock < 0)
        return false;
    keep = !is_empty(folder);
    snprintf(name, sizeof(name), LOST "%" PRId64, clock_wall_s());
    if (keep)
        renameat(folder, "journal", folder, name);
    remove_files(dir, uuid, folder);
    return keep;
}

void state_purge(const char *dir, const char *uuid, unsigned days) {
    int folder = open_folder(dir, uuid);
    DIR *stream = folder >= 0 ? fdopendir(folder) : NULL;
    int64_t before_s = clock_wall_s() - (int64_t)days * 86400;
    struct dirent *entry;
    char path[PATH_MAX];
    struct stat st;

    if (!stream) {
        if (folder >= 0)
            close(folder);
        return;
    }
    while ((entry = readdir(stream)))
        if (strncmp(entry->d_name, LOST, strlen(LOST)) == 0 &&
            fstatat(folder, entry->d_name, &st, 0) == 0 && st.st_mtime < before_s)
            unlinkat(folder, entry->d_name, 0);
    closedir(stream);
    snprintf(path, sizeof(path), "%s/%s", dir, uuid);
    rmdir(path); /* if that was all */
}

static bool is_uuid(const char *name) {
    return strlen(name) == STATE_UUID - 1 && strspn(name, "0123456789abcdef") == STATE_UUID - 1;
}

int state_each(
    const char *dir, int (*each)(void *ctx, const char *uuid), void *ctx, struct s3pve_error *err
) {
    DIR *stream = opendir(dir);
    struct dirent *entry;
    int rc = 0;

    if (!stream)
        return error_set(err, S3PVE_E_IO, "%s: %s", dir, strerror(errno));
    while (rc == 0 && (entry = readdir(stream)))
        if (is_uuid(entry->d_name))
            rc = each(ctx, entry->d_name);
    closedir(stream);
    return rc;
}
