/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* http_wire.h - one exchange on one of libcurl's easy handles, which are used again */
#ifndef CORE_HTTP_WIRE_H
#define CORE_HTTP_WIRE_H

#include <curl/curl.h>

#include "core/http.h"
#include "core/http_ack.h"
#include "core/http_trust.h"
#include "core/http_watch.h"
#include "core/throttle.h"

/* What the exchanges of a client have in common. */
struct http_common {
    CURLSH *share; /* TLS sessions outlive their easy handle */
    struct throttle up, down;
    struct http_trust trust;
    struct http_ack ack;
    char *proxy; /* owned, or NULL */
};

struct http_wire {
    struct http_common *common; /* borrowed */
    struct transfer *transfer;  /* borrowed; NULL: idle */
    CURL *easy;
    struct curl_slist *headers;
    size_t at_iov, at_byte;      /* how far the body has been read */
    struct throttle_place place; /* where a limit holds it up */
    struct http_watch watch;
    char curl_error[CURL_ERROR_SIZE];
    struct http_wire *next; /* the transport's */
};

/* Return: an idle one, or NULL without memory. */
struct http_wire *http_wire_new(struct http_common *common);
void http_wire_free(struct http_wire *wire);

/* Set up for @t.  Return: 0, or -1 without memory; http_wire_end() either way. */
int http_wire_begin(struct http_wire *wire, struct transfer *t);

/* libcurl is done with it: state in the transfer what became of it. */
void http_wire_conclude(struct http_wire *wire, CURLcode code);

/* The same where nothing is to be hoped for any more.  Return: is that so?  @away_ms: nobody asked.
 */
bool http_wire_is_dead(struct http_wire *wire, int64_t now, int64_t away_ms);

/* Let go of the transfer; idle again. */
void http_wire_end(struct http_wire *wire);

#endif
