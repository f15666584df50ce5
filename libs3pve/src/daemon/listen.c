/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/fail.h"

static void closep(const int *fd) {
    if (*fd >= 0)
        close(*fd);
}

int listen_open(const char *dir, const char *name, int backlog, struct s3pve_error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_(closep) int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The folder's name may be too long for a socket's; through /proc any name will do. */
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir_fd, name);
    if (dir_fd >= 0)
        unlinkat(dir_fd, name, 0);
    /* Nobody can connect before listen(), so the mode is never wrong. */
    if (dir_fd >= 0 && fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        fchmodat(dir_fd, name, 0600, 0) == 0 && listen(fd, backlog) == 0)
        return fd;
    fail_errno(err, "%s/%s", dir, name);
    closep(&fd);
    return -1;
}

void listen_unlink(const char *dir, const char *name) {
    _cleanup_(closep) int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd >= 0)
        unlinkat(dir_fd, name, 0);
}
