/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/fail.h"

int fail(struct s3pve_error *err, enum s3pve_code code, const char *fmt, ...) {
    va_list ap;

    if (!err)
        return -1;

    *err = (struct s3pve_error){.code = code, .errnum = EINVAL};
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, ap);
    va_end(ap);
    return -1;
}

int fail_errno(struct s3pve_error *err, const char *fmt, ...) {
    int saved = errno;
    size_t len;
    va_list ap;

    if (!err)
        return -1;

    *err = (struct s3pve_error){.code = S3PVE_E_IO, .errnum = saved};
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, ap);
    va_end(ap);
    len = strlen(err->message);
    snprintf(err->message + len, sizeof(err->message) - len, ": %s", strerror(saved));
    return -1;
}
