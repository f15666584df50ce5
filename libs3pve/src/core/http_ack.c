/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/http_ack.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *address) {
    struct http_ack *ack = ctx;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

    if (fd >= 0 && address->socktype == SOCK_STREAM && ack->n_fds < ACK_SOCKETS_MAX)
        ack->fd[ack->n_fds++] = fd;
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int on_close(void *ctx, curl_socket_t fd) {
    struct http_ack *ack = ctx;

    for (unsigned i = 0; i < ack->n_fds; i++) {
        if (ack->fd[i] == fd)
            ack->fd[i--] = ack->fd[--ack->n_fds];
    }
    return close(fd);
}

void http_ack_apply(struct http_ack *ack, CURL *easy) {
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, ack);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, ack);
}

void http_ack_now(const struct http_ack *ack) {
    int on = 1;

    for (unsigned i = 0; i < ack->n_fds; i++)
        setsockopt(ack->fd[i], IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

static unsigned local_port(int fd) {
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);

    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return 0;
    if (address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)&address)->sin_port);
}

int http_ack_missing(const struct http_ack *ack, unsigned port) {
    int n = 0;

    for (unsigned i = 0; port && i < ack->n_fds; i++)
        if (local_port(ack->fd[i]) == port)
            return ioctl(ack->fd[i], SIOCOUTQ, &n) < 0 ? 0 : n;
    return 0;
}
