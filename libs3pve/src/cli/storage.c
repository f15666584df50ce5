/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* storage.c - a Proxmox VE storage on this node: its configuration file and its daemon's socket */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "cli/cli.h"

#define ANSWER_MAX MIB(1) /* bytes of a daemon's answer: a status is about 1 KiB */
#define ANSWER_S 10       /* the daemon answers from memory */

static void close_fdp(const int *fd) {
    if (*fd >= 0)
        close(*fd);
}

static int storage_path(
    const char *id, const char *name, char *path, size_t room, struct s3pve_error *err
) {
    const char *run = getenv("S3PVE_RUN_DIR");
    size_t len = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

    if (!len || id[len] || !isalpha((unsigned char)id[0]))
        return fail(
            err,
            S3PVE_E_INVALID,
            "'%s' is not the name of a storage: a letter, then letters, digits, '-', '_' and '.'",
            id
        );
    if ((size_t)snprintf(path, room, "%s/%s/%s", run ? run : "/run/s3pve", id, name) >= room)
        return fail(err, S3PVE_E_INVALID, "the storage's name is too long");
    return 0;
}

/* Options are texts, numbers or booleans in the file; all are texts to the library. */
static int set_option(
    struct s3pve_config *config, const char *name, const json_t *value, struct s3pve_error *err
) {
    char number[32];

    if (json_is_string(value))
        return s3pve_config_set(config, name, json_string_value(value), err);
    if (json_is_boolean(value))
        return s3pve_config_set(config, name, json_is_true(value) ? "1" : "0", err);
    if (json_is_integer(value)) {
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return s3pve_config_set(config, name, number, err);
    }
    return json_is_null(value) ? 0 : fail(err, S3PVE_E_INVALID, "option '%s' has no value", name);
}

int storage_configure(struct s3pve_config *config, const char *id, struct s3pve_error *err) {
    _cleanup_(json_decrefp) json_t *root = NULL;
    char path[4096];
    json_error_t where;
    const char *name;
    json_t *options, *value;

    if (storage_path(id, "config", path, sizeof(path), err) < 0)
        return -1;
    if (access(path, R_OK) < 0)
        return errno == ENOENT ? fail(
                                     err,
                                     S3PVE_E_INVALID,
                                     "storage '%s' is not active on this node (no %s)",
                                     id,
                                     path
                                 )
                               : fail_errno(err, "%s", path);

    root = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    options = json_object_get(root, "options");
    if (!json_is_object(options))
        return fail(
            err,
            S3PVE_E_INVALID,
            "%s: line %d: %s",
            path,
            where.line,
            root ? "no options" : where.text
        );
    json_object_foreach(options, name, value) {
        if (set_option(config, name, value, err) < 0)
            return -1;
    }
    return 0;
}

static int control_connect(const char *id, struct s3pve_error *err) {
    const struct timeval patience = {ANSWER_S, 0};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (storage_path(id, "control.sock", address.sun_path, sizeof(address.sun_path), err) < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_errno(err, "socket");

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;

    fail_errno(err, "%s", address.sun_path);
    if (err && (errno == ENOENT || errno == ECONNREFUSED))
        err->code = S3PVE_E_NOT_FOUND;
    close(fd);
    return -1;
}

int storage_ask(const char *id, const char *command, char **ret_answer, struct s3pve_error *err) {
    _cleanup_(buf_clear) struct buf question = {0}, answer = {.max = ANSWER_MAX};
    _cleanup_(close_fdp) int fd = control_connect(id, err);
    char piece[4096];
    ssize_t n;

    if (fd < 0)
        return -1;
    if (buf_printf(&question, "{\"cmd\":\"%s\"}\n", command) < 0)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    if (send(fd, question.data, question.len, MSG_NOSIGNAL) != (ssize_t)question.len)
        return fail_errno(err, "the storage's daemon");

    while (!answer.len || answer.data[answer.len - 1] != '\n') {
        n = recv(fd, piece, sizeof(piece), 0);
        if (n < 0)
            return fail_errno(err, "the storage's daemon does not answer");
        if (n == 0)
            return fail(err, S3PVE_E_IO, "the storage's daemon hung up");
        if (buf_add(&answer, piece, (size_t)n) < 0)
            return fail(err, S3PVE_E_CORRUPT, "the storage's daemon answers too much");
    }
    *ret_answer = buf_steal(&answer);
    return 0;
}
