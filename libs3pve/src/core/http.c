/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * http.c - libcurl's multi interface behind struct transport
 *
 * One multi handle, so one set of kept-alive connections; easy handles are reused, so their buffers
 * stay allocated.  Redirects, environment proxies and `Expect:` are off: a redirect must not carry
 * credentials elsewhere, and some servers never answer 100.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "core/config.h"
#include "core/error.h"
#include "core/http_wire.h"

struct http {
    struct http_common common;
    CURLM *multi;
    struct http_wire *idle, *active;
    int64_t looked_ms; /* at what is active */
};

static void curl_init_once(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int64_t http_now_ms(void *ctx) {
    return clock_monotonic_ms();
}

static int64_t http_wall_s(void *ctx) {
    return clock_wall_s();
}

static uint32_t http_random(void *ctx) {
    uint32_t value = 0;

    if (getrandom(&value, sizeof(value), 0) != sizeof(value))
        value = (uint32_t)clock_monotonic_ms() * 2654435761u;
    return value;
}

static void retire(struct http *http, struct http_wire *wire) {
    struct http_wire **at = &http->active;

    curl_multi_remove_handle(http->multi, wire->easy);
    http_wire_end(wire);
    while (*at != wire)
        at = &(*at)->next;
    *at = wire->next;
    wire->next = http->idle;
    http->idle = wire;
}

static struct http_wire *take_idle(struct http *http) {
    struct http_wire *wire = http->idle;

    if (!wire)
        return http_wire_new(&http->common);
    http->idle = wire->next;
    return wire;
}

static int http_start(void *ctx, struct transfer *t) {
    struct http *http = ctx;
    struct http_wire *wire = take_idle(http);

    if (!wire)
        return -1;

    wire->next = http->active;
    http->active = wire;
    if (http_wire_begin(wire, t) < 0 ||
        curl_multi_add_handle(http->multi, wire->easy) != CURLM_OK) {
        retire(http, wire);
        return -1;
    }
    return 0;
}

static struct transfer *finished(struct http *http) {
    CURLMsg *msg;
    int n_left;

    while ((msg = curl_multi_info_read(http->multi, &n_left))) {
        struct http_wire *wire = NULL;
        struct transfer *t;

        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&wire);
        http_wire_conclude(wire, msg->data.result);
        t = wire->transfer;
        retire(http, wire);
        return t;
    }
    return NULL;
}

static void release(struct http *http, struct throttle *throttle) {
    struct throttle_place *place = throttle_next(throttle, clock_monotonic_ms());
    struct http_wire *wire = place ? place->owner : NULL;

    if (wire)
        curl_easy_pause(wire->easy, CURLPAUSE_CONT);
}

/* One whose peer is dead, or NULL.  While nobody looked, nobody could hear from it. */
static struct transfer *look(struct http *http) {
    int64_t now = clock_monotonic_ms(), away = now - http->looked_ms;

    http->looked_ms = now;
    for (struct http_wire *wire = http->active; wire; wire = wire->next) {
        struct transfer *t = wire->transfer;

        if (!http_wire_is_dead(wire, now, away))
            continue;
        retire(http, wire);
        return t;
    }
    return NULL;
}

static struct transfer *move(struct http *http) {
    struct transfer *t;
    int n_running;

    release(http, &http->common.up);
    release(http, &http->common.down);
    curl_multi_perform(http->multi, &n_running);
    t = finished(http);
    return t ? t : look(http);
}

static int next_look_ms(struct http *http, int timeout_ms) {
    int64_t now = clock_monotonic_ms();

    if (http->active && timeout_ms > WATCH_MS)
        timeout_ms = WATCH_MS;
    timeout_ms = throttle_next_ms(&http->common.up, now, timeout_ms);
    return throttle_next_ms(&http->common.down, now, timeout_ms);
}

static struct transfer *http_poll(void *ctx, int timeout_ms) {
    struct http *http = ctx;
    struct transfer *t = finished(http);
    int n_ready;

    if (!t)
        t = move(http);
    if (t || timeout_ms == 0)
        return t;

    curl_multi_poll(http->multi, NULL, 0, next_look_ms(http, timeout_ms), &n_ready);
    return move(http);
}

static void http_cancel(void *ctx, struct transfer *t) {
    if (t->impl)
        retire(ctx, t->impl);
}

static void http_wake(void *ctx) {
    struct http *http = ctx;

    curl_multi_wakeup(http->multi);
}

static void http_limit(void *ctx, uint64_t upload, uint64_t download) {
    struct http *http = ctx;

    throttle_set(&http->common.up, upload, clock_monotonic_ms());
    throttle_set(&http->common.down, download, clock_monotonic_ms());
}

static void http_free(void *ctx, bool forked) {
    struct http *http = ctx;

    if (!http)
        return;
    /* In a forked child the sockets are the parent's: closing TLS would say goodbye on its behalf.
     * The little that curl holds is left to the child's end. */
    if (!forked) {
        while (http->active)
            retire(http, http->active);
        while (http->idle) {
            struct http_wire *wire = http->idle;

            http->idle = wire->next;
            http_wire_free(wire);
        }
        curl_multi_cleanup(http->multi);
        curl_share_cleanup(http->common.share);
    }
    http_trust_clear(&http->common.trust);
    if (http->common.proxy)
        explicit_bzero(http->common.proxy, strlen(http->common.proxy)); /* it may hold a password */
    free(http->common.proxy);
    free(http);
}

int http_transport(
    const struct config *config, struct transport *ret_transport, struct s3pve_error *err
) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct http *http = calloc(1, sizeof(*http));

    pthread_once(&once, curl_init_once);
    if (!http)
        return error_set(err, S3PVE_E_NOMEM, "http");

    http->multi = curl_multi_init();
    http->common.share = curl_share_init();
    http->common.proxy = config->proxy && *config->proxy ? strdup(config->proxy) : NULL;
    if (!http->multi || !http->common.share || http_trust_set(&http->common.trust, config) < 0 ||
        (config->proxy && *config->proxy && !http->common.proxy)) {
        http_free(http, false);
        return error_set(err, S3PVE_E_NOMEM, "http");
    }

    curl_share_setopt(http->common.share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, 2L * config->connections);
    http_limit(http, config->upload_limit, config->download_limit);
    *ret_transport = (struct transport){
        .start = http_start,
        .poll = http_poll,
        .cancel = http_cancel,
        .wake = http_wake,
        .now_ms = http_now_ms,
        .wall_s = http_wall_s,
        .random = http_random,
        .limit = http_limit,
        .free = http_free,
        .ctx = http,
    };
    return 0;
}
