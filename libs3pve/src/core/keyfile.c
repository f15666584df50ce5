/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "core/config_private.h"
#include "core/error.h"
#include "core/keyfile.h"

#define PMXCFS_PRIVATE "/etc/pve/priv/" /* shows 0600 root:www-data whatever one asks for */
#define NAME_MAX_LEN 32

static void closep(const int *fd) {
    if (*fd >= 0)
        close(*fd);
}

static int fail_errno(struct s3pve_error *err, const char *path, int errnum) {
    enum s3pve_code code = S3PVE_E_IO;

    if (errnum == ENOENT || errnum == ENOTDIR)
        code = S3PVE_E_NOT_FOUND;
    else if (errnum == EACCES || errnum == EPERM)
        code = S3PVE_E_DENIED;
    return error_set(err, code, "%s: %s", path, strerror(errnum));
}

static int refuse_exposed(const char *path, struct s3pve_error *err) {
    return error_set(
        err,
        S3PVE_E_INVALID,
        "%s: other users may read this file, and it holds a secret; run: chmod 600 %s",
        path,
        path
    );
}

static int check_file(int fd, const char *path, bool *ret_exposed, struct s3pve_error *err) {
    struct stat st;

    if (fstat(fd, &st) < 0)
        return fail_errno(err, path, errno);
    if (!S_ISREG(st.st_mode))
        return error_set(err, S3PVE_E_INVALID, "%s: not a regular file", path);
    if (st.st_size > LIMIT_KEYFILE)
        return error_set(
            err,
            S3PVE_E_INVALID,
            "%s: longer than %d bytes, not a settings file",
            path,
            LIMIT_KEYFILE
        );
    *ret_exposed = (st.st_mode & 077) && strncmp(path, PMXCFS_PRIVATE, strlen(PMXCFS_PRIVATE)) != 0;
    return 0;
}

static int add_chunk(
    struct buf *text, const char *chunk, ssize_t n, const char *path, struct s3pve_error *err
) {
    if (n < 0)
        return fail_errno(err, path, errno);
    if (text->len + (size_t)n > LIMIT_KEYFILE)
        return error_set(err, S3PVE_E_INVALID, "%s: longer than its size", path);
    if (buf_add(text, chunk, (size_t)n) < 0)
        return error_set(err, S3PVE_E_NOMEM, "%s: out of memory", path);
    return 0;
}

static int read_all(
    const char *path, bool *ret_exposed, struct buf *text, struct s3pve_error *err
) {
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    char chunk[4096];
    ssize_t n;
    int rc = 0;

    if (fd < 0)
        return fail_errno(err, path, errno);
    if (check_file(fd, path, ret_exposed, err) < 0)
        return -1;

    while (rc == 0 && (n = read(fd, chunk, sizeof(chunk))) != 0) {
        if (n > 0 || errno != EINTR)
            rc = add_chunk(text, chunk, n, path, err);
    }
    explicit_bzero(chunk, sizeof(chunk));
    return rc;
}

static char *trim(char *text) {
    char *end = text + strlen(text);

    while (end > text && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return text + strspn(text, " \t\r");
}

/* Other tools' names in our spelling. */
static const char *our_name(char *name) {
    static const char *const aliases[][2] = {
        {"aws-access-key-id", "access-key"},
        {"aws-secret-access-key", "secret-key"},
        {"aws-session-token", "session-token"},
        {"access-key-id", "access-key"},
        {"secret-access-key", "secret-key"},
    };

    for (char *p = name; *p; p++)
        *p = (char)(*p == '_' ? '-' : tolower((unsigned char)*p));
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
        if (strcmp(name, aliases[i][0]) == 0)
            return aliases[i][1];
    }
    return name;
}

/* What can be a name.  Anything else is not repeated in a message: it may be a bare secret. */
static bool plausible_name(const char *name) {
    size_t len = strlen(name);

    return len > 0 && len <= NAME_MAX_LEN &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == len;
}

static bool is_secret(const char *name) {
    enum option option = config_option(name);

    return option < N_OPTIONS && config_option_secret(option);
}

struct reading {
    const char *path;
    keyfile_fn fn;
    void *ctx;
    bool skipping; /* inside a section that is not ours */
    bool exposed;  /* others may read the file */
};

static int read_line(
    struct reading *reading, char *line, unsigned number, struct s3pve_error *err
) {
    const char *name;
    char *equals;

    line = trim(line);
    if (!*line || *line == '#' || *line == ';')
        return 0;
    if (*line == '[') {
        reading->skipping = strcmp(line, "[default]") != 0;
        return 0;
    }
    if (reading->skipping)
        return 0;

    equals = strchr(line, '=');
    if (equals)
        *equals = '\0';
    line = trim(line);
    if (!equals || !plausible_name(line))
        return error_set(
            err, S3PVE_E_INVALID, "%s line %u: expected 'name = value'", reading->path, number
        );
    name = our_name(line);
    if (reading->exposed && is_secret(name))
        return refuse_exposed(reading->path, err);
    if (reading->fn(reading->ctx, name, trim(equals + 1), err) < 0)
        return error_wrap(err, "%s line %u", reading->path, number);
    return 0;
}

int keyfile_read(const char *path, bool secret, keyfile_fn fn, void *ctx, struct s3pve_error *err) {
    _cleanup_(buf_wipe) struct buf text = {0};
    struct reading reading = {.path = path, .fn = fn, .ctx = ctx};
    char *next, *line;
    unsigned number = 1;

    if (read_all(path, &reading.exposed, &text, err) < 0)
        return -1;
    if (secret && reading.exposed)
        return refuse_exposed(path, err);
    if (text.len != strlen(buf_text(&text)))
        return error_set(err, S3PVE_E_INVALID, "%s: has a zero byte, not a text file", path);

    for (next = text.data; (line = strsep(&next, "\n")); number++) {
        if (read_line(&reading, line, number, err) < 0)
            return -1;
    }
    return 0;
}
