/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * http_watch.h - what moves in one exchange, and when the peer is dead
 *
 * libcurl counts what the kernel took, which may be a minute on its way over a slow line; so what
 * the peer acknowledges counts as well.
 */
#ifndef CORE_HTTP_WATCH_H
#define CORE_HTTP_WATCH_H

#include <curl/curl.h>

#include "core/http.h"
#include "core/http_ack.h"

#define WATCH_MS 500 /* how often we ask the kernel what became of what it took */

struct http_watch {
    int64_t began_ms, looked_ms;
    curl_off_t n_curl;     /* bytes, both ways, as libcurl counts */
    int n_unacked;         /* bytes that the kernel has taken and the peer has not */
    uint64_t n_sample;     /* steps of a byte, either way ... */
    int64_t sample_ms;     /* ... since then */
    int64_t slow_since_ms; /* when it was last fast enough */
};

void http_watch_begin(struct http_watch *watch, int64_t now);

/* Something moved in @t: the head of an answer, or bytes up to libcurl's count. */
void http_watch_note(struct transfer *t);
void http_watch_count(struct http_watch *watch, struct transfer *t, curl_off_t n);

/* Once in WATCH_MS: what does the kernel know that libcurl does not? */
void http_watch_look(
    struct http_watch *watch,
    struct transfer *t,
    CURL *easy,
    const struct http_ack *ack,
    int64_t now
);

/* The last @ms were our own doing: nobody looked, or a limit held it up. */
void http_watch_excuse(struct http_watch *watch, int64_t now, int64_t ms);

/* Is nothing to be hoped for any more?  Then @t is told: TIMEOUT, or SILENT, and why. */
bool http_watch_is_dead(
    const struct http_watch *watch, struct transfer *t, CURL *easy, int64_t now
);

#endif
