/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

int fail(struct s3pve_error *err, enum s3pve_code code, const char *fmt, ...) {
    if (!err)
        return -1;

    va_list args;
    va_start(args, fmt);
    *err = (struct s3pve_error){.code = code, .errnum = EINVAL};
    vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    utf8_make_printable(err->message); /* it may repeat what a file or a caller said */
    return -1;
}

int fail_errno(struct s3pve_error *err, const char *fmt, ...) {
    int errnum = errno;
    if (!err)
        return -1;

    va_list args;
    va_start(args, fmt);
    *err = (struct s3pve_error){.code = S3PVE_E_IO, .errnum = errnum};
    vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);

    size_t len = strlen(err->message);
    snprintf(err->message + len, sizeof(err->message) - len, ": %s", strerror(errnum));
    return -1;
}
