/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "core/error.h"

static const struct {
    const char *name;
    int errnum;
} codes[] = {
    [S3PVE_OK] = {"OK", 0},
    [S3PVE_E_INVALID] = {"INVALID", EINVAL},
    [S3PVE_E_NOT_FOUND] = {"NOT_FOUND", ENOENT},
    [S3PVE_E_NO_BUCKET] = {"NO_BUCKET", ENODEV},
    [S3PVE_E_CONFLICT] = {"CONFLICT", EBUSY},
    [S3PVE_E_DENIED] = {"DENIED", EACCES},
    [S3PVE_E_THROTTLED] = {"THROTTLED", EAGAIN},
    [S3PVE_E_TIMEOUT] = {"TIMEOUT", ETIMEDOUT},
    [S3PVE_E_CANCELLED] = {"CANCELLED", ECANCELED},
    [S3PVE_E_IO] = {"IO", EIO},
    [S3PVE_E_CORRUPT] = {"CORRUPT", EBADMSG},
    [S3PVE_E_UNSUPPORTED] = {"UNSUPPORTED", EOPNOTSUPP},
    [S3PVE_E_NO_SPACE] = {"NO_SPACE", ENOSPC},
    [S3PVE_E_NOMEM] = {"NOMEM", ENOMEM},
};

_public_ const char *s3pve_code_name(enum s3pve_code code) {
    return code < sizeof(codes) / sizeof(codes[0]) ? codes[code].name : "UNKNOWN";
}

_public_ const char *s3pve_version(void) {
    return S3PVE_VERSION;
}

int error_errno(enum s3pve_code code) {
    return code < sizeof(codes) / sizeof(codes[0]) ? codes[code].errnum : EIO;
}

/* One printable line; what was cut (@len bytes did not fit) says so. */
static void polish(struct s3pve_error *err, int len) {
    static const char dots[] = "...";
    const size_t room = sizeof(err->message);

    if (len < 0 || (size_t)len >= room)
        memcpy(err->message + utf8_cut(err->message, room - sizeof(dots)), dots, sizeof(dots));
    utf8_make_printable(err->message);
}

int error_set(struct s3pve_error *err, enum s3pve_code code, const char *fmt, ...) {
    va_list ap;

    if (!err)
        return -1;

    *err = (struct s3pve_error){.code = code, .errnum = error_errno(code)};
    va_start(ap, fmt);
    polish(err, vsnprintf(err->message, sizeof(err->message), fmt, ap));
    va_end(ap);
    return -1;
}

int error_wrap(struct s3pve_error *err, const char *fmt, ...) {
    char inner[sizeof(err->message)];
    const size_t room = sizeof(err->message);
    va_list ap;
    int n;

    if (!err)
        return -1;

    memcpy(inner, err->message, sizeof(inner));
    va_start(ap, fmt);
    n = vsnprintf(err->message, room, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < room)
        n += snprintf(err->message + n, room - (size_t)n, ": %s", inner);
    polish(err, n);
    return -1;
}
