/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/http_watch.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/limits.h"

#define SAMPLE_MS 1000 /* over which a speed is measured, at least */

void http_watch_begin(struct http_watch *watch, int64_t now) {
    *watch = (struct http_watch
    ){.began_ms = now, .looked_ms = now, .sample_ms = now, .slow_since_ms = now};
}

void http_watch_note(struct transfer *t) {
    t->moved_ms = clock_monotonic_ms();
    if (!t->first_moved_ms)
        t->first_moved_ms = t->moved_ms;
}

static void moved(struct http_watch *watch, struct transfer *t, uint64_t n) {
    int64_t took;

    http_watch_note(t);
    watch->n_sample += n;
    took = t->moved_ms - watch->sample_ms;
    if (took < SAMPLE_MS)
        return;
    if (watch->n_sample >= (uint64_t)took * LOW_SPEED_BYTES / 1000)
        watch->slow_since_ms = t->moved_ms;
    watch->sample_ms = t->moved_ms;
    watch->n_sample = 0;
}

void http_watch_count(struct http_watch *watch, struct transfer *t, curl_off_t n) {
    if (n > watch->n_curl)
        moved(watch, t, (uint64_t)(n - watch->n_curl));
    watch->n_curl = n;
}

void http_watch_look(
    struct http_watch *watch,
    struct transfer *t,
    CURL *easy,
    const struct http_ack *ack,
    int64_t now
) {
    long port = 0;
    int n;

    if (now - t->moved_ms < WATCH_MS || now - watch->looked_ms < WATCH_MS)
        return;
    watch->looked_ms = now;
    curl_easy_getinfo(easy, CURLINFO_LOCAL_PORT, &port);
    n = http_ack_missing(ack, (unsigned)port);
    if (n < watch->n_unacked)
        moved(watch, t, (uint64_t)(watch->n_unacked - n));
    watch->n_unacked = n;
}

static void postpone(int64_t *since_ms, int64_t now, int64_t ms) {
    *since_ms = *since_ms + ms < now ? *since_ms + ms : now;
}

void http_watch_excuse(struct http_watch *watch, int64_t now, int64_t ms) {
    postpone(&watch->began_ms, now, ms);
    postpone(&watch->sample_ms, now, ms);
    postpone(&watch->slow_since_ms, now, ms);
}

static bool is_reused(CURL *easy) {
    long n_connects = 0;

    curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &n_connects);
    return n_connects == 0;
}

bool http_watch_is_dead(
    const struct http_watch *watch, struct transfer *t, CURL *easy, int64_t now
) {
    bool slow = now - watch->slow_since_ms >= t->low_speed_s * 1000LL;
    bool late = t->stale_ms && !t->status && now - watch->began_ms >= t->stale_ms;

    if (!slow && !late)
        return false;
    t->reused = is_reused(easy);
    if (!slow && !t->reused)
        return false;

    t->failure = slow ? HTTP_TIMEOUT : HTTP_SILENT;
    snprintf(
        t->detail,
        sizeof(t->detail),
        "%s for %lld s",
        t->status ? "the answer stopped" : "no answer",
        (long long)(now - (slow ? watch->slow_since_ms : watch->began_ms)) / 1000
    );
    return true;
}
