/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A file of settings: every pair has a plausible name, every refusal is one line. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"
#include "core/keyfile.h"
#include "fuzz.h"

static int see(void *ctx, const char *name, const char *value, struct s3pve_error *err) {
    must(*name && !strpbrk(name, " \t\r\n="));
    must(!strchr(value, '\n'));
    return strcmp(name, "stop") == 0 ? error_set(err, S3PVE_E_INVALID, "told to stop") : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int fd = memfd_create("keyfile", MFD_CLOEXEC);
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    must(write(fd, data, size) == (ssize_t)size);
    if (keyfile_read(path, false, see, NULL, &err) < 0)
        must(err.code != S3PVE_OK && err.message[0] && !strchr(err.message, '\n'));
    close(fd);
    return 0;
}
