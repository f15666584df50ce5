/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/out.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/state.h"
#include "cli/target.h"

/* Fetch from @offset on; @size 0: unknown.  A reader that went away is no error of ours. */
static int fetch(
    struct cli *cli,
    const char *key,
    int fd,
    uint64_t offset,
    uint64_t size,
    struct s3pve_error *err
) {
    uint64_t count = 0;
    struct progress progress = {
        .label = key,
        .total = size > offset ? size - offset : 0,
        .count = progress_counter,
        .ctx = &count,
    };
    int r;

    progress_start(&progress, cli);
    r = s3pve_object_get_fd(
        cli->client, key, fd, offset, 0, progress.on ? &count : NULL, &cli->call, err
    );
    progress_stop(&progress, r == 0);
    if (r < 0 && err->errnum == EPIPE)
        signals_broken_pipe();
    return r;
}

/* The size is worth a request only where somebody looks at it. */
static int fetch_all(struct cli *cli, const char *key, int fd, struct s3pve_error *err) {
    struct s3pve_info info = {0};

    if (progress_wanted(cli) && s3pve_object_head(cli->client, key, &info, &cli->call, err) < 0)
        return -1;
    return fetch(cli, key, fd, 0, info.size, err);
}

static int get_once(
    struct cli *cli, const char *key, struct target *target, struct s3pve_error *err
) {
    int r;

    if (target_open(target, false, err) < 0)
        return -1;
    r = fetch_all(cli, key, target->fd, err);
    if (r == 0)
        r = target_publish(target, err);
    if (r < 0)
        target_drop(target);
    return r;
}

/* ---------------------------------------------------------------- --resume */

static json_t *identity_of(const struct cli *cli, const char *key, const char *path) {
    _free_ char *full = realpath(".", NULL);
    const char *folder = path[0] == '/' || !full ? "/" : full;

    return state_identity(
        cli->config, key, json_pack("{s:s, s:s}", "folder", folder, "file", path)
    );
}

/*
 * The version the .part is of.  Also the boot it was written in: after a crash of the machine a
 * file may be longer than what was written to it.
 */
static void version_text(char *text, size_t room, const struct s3pve_info *info) {
    char boot[40] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

    if (file && !fgets(boot, sizeof(boot), file))
        boot[0] = '\0';
    if (file)
        fclose(file);
    boot[strcspn(boot, "\n")] = '\0';
    snprintf(text, room, "%" PRIu64 " %s %s", info->size, boot, info->etag);
}

/* Where to go on: the end of the .part, or the start when it is of another version. */
static int resume_offset(
    const struct target *target,
    const struct s3pve_info *info,
    struct state *state,
    uint64_t *ret_offset,
    struct s3pve_error *err
) {
    char version[sizeof(state->value)];
    struct stat stat;

    version_text(version, sizeof(version), info);
    if (fstat(target->fd, &stat) < 0)
        return fail_errno(err, "%s", target->part);
    if (strcmp(version, state->value) != 0 || (uint64_t)stat.st_size > info->size) {
        stat.st_size = 0;
        if (ftruncate(target->fd, 0) < 0)
            return fail_errno(err, "%s", target->part);
        if (state_save(state, version, err) < 0)
            return -1;
    }
    if (lseek(target->fd, stat.st_size, SEEK_SET) < 0)
        return fail_errno(err, "%s", target->part);
    *ret_offset = (uint64_t)stat.st_size;
    return 0;
}

/* The bytes before the offset are of the version seen first: is it still the one there? */
static int check_version(
    struct cli *cli, const char *key, const struct s3pve_info *first, struct s3pve_error *err
) {
    struct s3pve_info now;

    if (s3pve_object_head(cli->client, key, &now, &cli->call, err) < 0)
        return -1;
    if (strcmp(now.etag, first->etag) != 0 || now.size != first->size)
        return fail(err, S3PVE_E_CONFLICT, "the object was replaced while it was read");
    return 0;
}

static int fetch_rest(
    struct cli *cli,
    const char *key,
    struct target *target,
    struct state *state,
    struct s3pve_error *err
) {
    struct s3pve_info info;
    uint64_t offset = 0;

    if (s3pve_object_head(cli->client, key, &info, &cli->call, err) < 0)
        return -1;
    if (resume_offset(target, &info, state, &offset, err) < 0)
        return -1;
    if (offset < info.size && fetch(cli, key, target->fd, offset, info.size, err) < 0)
        return -1;
    if (offset && check_version(cli, key, &info, err) < 0)
        return -1;
    return target_publish(target, err);
}

static int get_resumable(
    struct cli *cli, const char *key, struct target *target, struct s3pve_error *err
) {
    struct state state;
    int r;

    if (target_in_place(target->path))
        return fail(err, S3PVE_E_INVALID, "--resume needs a file to write to");
    if (state_open(&state, "get", identity_of(cli, key, target->path), err) < 0)
        return -1;

    r = target_open(target, true, err);
    if (r == 0)
        r = fetch_rest(cli, key, target, &state, err);
    if (r == 0)
        state_remove(&state);
    else
        state_close(&state);
    return r;
}

int cmd_get(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    _cleanup_(target_clear) struct target target = {.fd = -1};
    const char *key = args[0], *path = n > 1 ? args[1] : NULL;
    int r;

    if (path && strcmp(path, "-") == 0)
        return cli->options.resume ? fail(err, S3PVE_E_INVALID, "--resume needs a file to write to")
                                   : fetch_all(cli, key, STDOUT_FILENO, err);

    if (target_path(key, path, &target.path, err) < 0)
        return -1;
    r = cli->options.resume ? get_resumable(cli, key, &target, err)
                            : get_once(cli, key, &target, err);
    if (r == 0 && cli->options.json)
        out_json(
            stdout, json_pack("{s:o, s:o}", "key", out_text(key), "file", out_text(target.path))
        );
    return r;
}
