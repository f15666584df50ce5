/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * http_ack.h - what we tell the server's TCP, and what it told ours
 *
 * Some servers (Ceph's gateway, as it comes) send the head of an answer in a packet of its own and
 * keep the body back until that is acknowledged.  The kernel does so 40 ms later, in the hope of
 * something to send along, and then every small read takes 40 ms.  TCP_QUICKACK makes it act now,
 * but has to be asked for again for each answer, and libcurl does not tell which socket one came
 * over: so all sockets are asked, which are few.
 *
 * The other way, what the kernel took from us may be a minute on its way over a slow line.
 */
#ifndef CORE_HTTP_ACK_H
#define CORE_HTTP_ACK_H

#include <curl/curl.h>

#define ACK_SOCKETS_MAX 128 /* watched at a time; one more would be slow, no worse */

struct http_ack {
    curl_socket_t fd[ACK_SOCKETS_MAX];
    unsigned n_fds;
};

/* Have @easy's connections watched; @ack must outlive them. */
void http_ack_apply(struct http_ack *ack, CURL *easy);

/* An answer has begun. */
void http_ack_now(const struct http_ack *ack);

/* Bytes the other end has not acknowledged over the connection from our @port; 0 when unknown. */
int http_ack_missing(const struct http_ack *ack, unsigned port);

#endif
