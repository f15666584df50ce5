/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/fail.h"
#include "cli/state.h"

/* FNV-1a: a short name for the file; what it is of stands in it and is compared. */
static unsigned long long hash(const char *text) {
    unsigned long long h = 0xcbf29ce484222325ull;

    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        h = (h ^ *p) * 0x100000001b3ull;
    return h;
}

json_t *state_identity(const struct s3pve_config *config, const char *key, json_t *more) {
    json_t *identity = json_pack(
        "{s:s, s:s, s:s, s:s}",
        "endpoint",
        s3pve_config_get(config, "endpoint"),
        "bucket",
        s3pve_config_get(config, "bucket"),
        "prefix",
        s3pve_config_get(config, "prefix"),
        "key",
        key
    );

    if (json_object_update_new(identity, more) == 0)
        return identity;
    json_decref(identity);
    return NULL;
}

static int base_folder(struct buf *path) {
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const struct passwd *user;

    if (xdg && xdg[0] == '/')
        return buf_str(path, xdg);
    if (!home || home[0] != '/') {
        user = getpwuid(geteuid());
        home = user ? user->pw_dir : "/";
    }
    return buf_printf(path, "%s/.local/state", home);
}

static int make_folders(char *path, struct s3pve_error *err) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            return fail_errno(err, "%s", path);
        *slash = '/';
    }
    return 0;
}

static int set_path(struct state *state, const char *kind, struct s3pve_error *err) {
    _cleanup_(buf_clear) struct buf path = {.max = sizeof(state->path) - 1};

    if (base_folder(&path) < 0 ||
        buf_printf(&path, "/s3pve/%s-%016llx", kind, hash(state->identity)) < 0)
        return fail(err, S3PVE_E_IO, "the path of the state folder is too long");
    memcpy(state->path, buf_text(&path), path.len + 1);
    return 0;
}

/* Two lines, identity and value; anything else is as good as nothing. */
static void read_value(struct state *state) {
    _cleanup_(buf_clear) struct buf text = {0};
    char piece[8192];
    size_t len = strlen(state->identity);
    char *value, *end;
    ssize_t n = pread(state->fd, piece, sizeof(piece), 0);

    if (n <= 0 || buf_add(&text, piece, (size_t)n) < 0)
        return;
    if (strncmp(text.data, state->identity, len) != 0 || text.data[len] != '\n')
        return;
    value = text.data + len + 1;
    end = strchr(value, '\n');
    if (end && (size_t)(end - value) < sizeof(state->value))
        snprintf(state->value, sizeof(state->value), "%.*s", (int)(end - value), value);
}

/* Whoever held the lock before may have renamed or removed the file. */
bool state_lock(int fd, const char *path) {
    struct stat named, ours;

    return flock(fd, LOCK_EX | LOCK_NB) == 0 && stat(path, &named) == 0 && fstat(fd, &ours) == 0 &&
           named.st_dev == ours.st_dev && named.st_ino == ours.st_ino;
}

static int open_locked(struct state *state, int flags, struct s3pve_error *err) {
    int fd = open(state->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);

    if (fd < 0)
        return fail_errno(err, "%s", state->path);
    if (!state_lock(fd, state->path)) {
        close(fd);
        return fail(err, S3PVE_E_CONFLICT, "another process is at this transfer");
    }
    state->fd = fd;
    return 0;
}

/* @flags: O_CREAT, or 0 to take only what is there. */
static int take(
    struct state *state, const char *kind, json_t *identity, int flags, struct s3pve_error *err
) {
    *state = (struct state){.fd = -1};
    state->identity = json_dumps(identity, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(identity);
    if (!state->identity)
        return fail(err, S3PVE_E_INVALID, "a name here is not UTF-8");
    if (set_path(state, kind, err) < 0 || (flags && make_folders(state->path, err) < 0) ||
        open_locked(state, flags, err) < 0) {
        free(steal_ptr(&state->identity));
        return -1;
    }
    read_value(state);
    return 0;
}

int state_open(struct state *state, const char *kind, json_t *identity, struct s3pve_error *err) {
    return take(state, kind, identity, O_CREAT, err);
}

int state_find(struct state *state, const char *kind, json_t *identity) {
    return take(state, kind, identity, 0, NULL) == 0;
}

int state_save(struct state *state, const char *value, struct s3pve_error *err) {
    _cleanup_(buf_clear) struct buf text = {0};

    if (strlen(value) >= sizeof(state->value) || strchr(value, '\n'))
        return fail(err, S3PVE_E_INVALID, "that cannot be kept for later");
    if (buf_printf(&text, "%s\n%s\n", state->identity, value) < 0)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    if (ftruncate(state->fd, 0) < 0 ||
        pwrite(state->fd, text.data, text.len, 0) != (ssize_t)text.len || fdatasync(state->fd) < 0)
        return fail_errno(err, "%s", state->path);
    memcpy(state->value, value, strlen(value) + 1);
    return 0;
}

void state_remove(struct state *state) {
    if (state->fd >= 0)
        unlink(state->path);
    state_close(state);
}

void state_close(struct state *state) {
    /* A file without a value would only be litter. */
    if (state->fd >= 0 && !state->value[0])
        unlink(state->path);
    if (state->fd >= 0)
        close(state->fd);
    free(state->identity);
    state->identity = NULL;
    state->fd = -1;
}
