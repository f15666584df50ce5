/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * http.c - libcurl's multi interface behind struct transport
 *
 * One multi handle, so one set of kept-alive connections; easy handles are reused, so their buffers
 * stay allocated.  Redirects, environment proxies and `Expect:` are off: a redirect must not carry
 * credentials elsewhere, and some servers never answer 100.
 */
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "core/config.h"
#include "core/error.h"
#include "core/http.h"
#include "core/http_ack.h"
#include "core/http_failure.h"
#include "core/http_trust.h"
#include "core/throttle.h"

#define LOOK_MS 1000          /* how often we ask the kernel what became of what it took */
#define BUFFER_BYTES KIB(512) /* the defaults, 16 and 64 KiB, cost a system call each */

struct wire {
    struct http *http;
    struct transfer *transfer; /* NULL: in the pool of idle handles */
    CURL *easy;
    struct curl_slist *headers;
    size_t at_iov, at_byte;      /* how far the body has been read */
    struct throttle_place place; /* where a limit holds it up */
    curl_off_t n_moved;          /* bytes, both ways */
    int n_unacked;               /* bytes that the kernel has taken and the peer has not */
    char curl_error[CURL_ERROR_SIZE];
    struct wire *next;
};

struct http {
    CURLM *multi;
    CURLSH *share; /* TLS sessions outlive their easy handle */
    struct wire *idle, *active;
    struct throttle up, down;
    struct http_trust trust;
    struct http_ack ack;
    char *proxy;
    unsigned connections;
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

static void note_moved(struct transfer *t) {
    t->moved_ms = clock_monotonic_ms();
    if (!t->first_moved_ms)
        t->first_moved_ms = t->moved_ms;
}

/* What the callbacks for data are given or asked for comes in large pieces; this counts each. */
static int on_progress(
    void *ctx, curl_off_t n_down_all, curl_off_t n_down, curl_off_t n_up_all, curl_off_t n_up
) {
    struct wire *wire = ctx;

    if (n_down + n_up != wire->n_moved)
        note_moved(wire->transfer);
    wire->n_moved = n_down + n_up;
    return 0;
}

static size_t on_read(char *to, size_t size, size_t n, void *ctx) {
    struct wire *wire = ctx;
    const struct transfer *t = wire->transfer;
    const uint64_t left_in_body = t->body_len - t->sent;
    size_t room = size * n, done = 0;

    room = room < left_in_body ? room : left_in_body;
    room = throttle_take(&wire->http->up, room, clock_monotonic_ms());
    if (!room && left_in_body) {
        throttle_wait(&wire->http->up, &wire->place);
        return CURL_READFUNC_PAUSE;
    }

    while (done < room && wire->at_iov < t->n_body) {
        const struct iovec *iov = &t->body[wire->at_iov];
        size_t left = iov->iov_len - wire->at_byte;
        size_t part = left < room - done ? left : room - done;

        memcpy(to + done, (const char *)iov->iov_base + wire->at_byte, part);
        done += part;
        wire->at_byte += part;
        if (wire->at_byte == iov->iov_len) {
            wire->at_iov++;
            wire->at_byte = 0;
        }
    }
    wire->transfer->sent += done;
    return done;
}

static int on_seek(void *ctx, curl_off_t offset, int origin) {
    struct wire *wire = ctx;

    if (offset != 0 || origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    if (wire->transfer->once && wire->transfer->sent)
        return CURL_SEEKFUNC_FAIL; /* libcurl would repeat it by itself */

    wire->at_iov = wire->at_byte = 0;
    wire->transfer->sent = 0;
    return CURL_SEEKFUNC_OK;
}

static size_t on_write(char *data, size_t size, size_t n, void *ctx) {
    struct wire *wire = ctx;
    struct transfer *t = wire->transfer;
    size_t len = size * n;

    if (throttle_wait_ms(&wire->http->down, clock_monotonic_ms())) {
        throttle_wait(&wire->http->down, &wire->place);
        return CURL_WRITEFUNC_PAUSE; /* the same bytes come again */
    }
    throttle_spend(&wire->http->down, len, clock_monotonic_ms());
    t->received += len;
    return t->on_data && t->on_data(t, data, len) ? 0 : len;
}

static size_t header_split(struct transfer *t, char *line, size_t len) {
    char *colon = memchr(line, ':', len), *value, *end = line + len;

    if (!colon)
        return 0;
    for (char *c = line; c < colon; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
    *colon = '\0';
    for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++)
        ;
    while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    *end = '\0';
    return t->on_header && t->on_header(t, line, value) ? 1 : 0;
}

static size_t on_header(char *data, size_t size, size_t n, void *ctx) {
    struct wire *wire = ctx;
    struct transfer *t = wire->transfer;
    char line[LIMIT_HEADER_LINE];
    size_t len = size * n;

    if (len >= 5 && memcmp(data, "HTTP/", 5) == 0) {
        long status = 0;

        curl_easy_getinfo(wire->easy, CURLINFO_RESPONSE_CODE, &status);
        t->status = (int)status;
        note_moved(t);
        http_ack_now(&wire->http->ack);
        return len;
    }
    if (len >= sizeof(line)) /* nothing we need is that long */
        return len;

    memcpy(line, data, len);
    line[len] = '\0';
    return header_split(t, line, len) ? 0 : len;
}

static void wire_unlink(struct wire **list, struct wire *wire) {
    while (*list && *list != wire)
        list = &(*list)->next;
    if (*list)
        *list = wire->next;
}

static void wire_retire(struct http *http, struct wire *wire) {
    curl_multi_remove_handle(http->multi, wire->easy);
    throttle_leave(&wire->place);
    wire_unlink(&http->active, wire);
    for (struct curl_slist *line = wire->headers; line; line = line->next)
        explicit_bzero(line->data, strlen(line->data)); /* tokens and signatures */
    http_free_headers(wire->headers);
    wire->headers = NULL;
    wire->transfer->impl = NULL;
    wire->transfer = NULL;
    wire->next = http->idle;
    http->idle = wire;
}

static struct wire *wire_new(struct http *http) {
    struct wire *wire = http->idle;

    if (wire) {
        http->idle = wire->next;
        return wire;
    }

    wire = calloc(1, sizeof(*wire));
    if (!wire)
        return NULL;
    wire->http = http;
    wire->place.owner = wire;
    wire->easy = curl_easy_init();
    if (!wire->easy) {
        free(wire);
        return NULL;
    }
    return wire;
}

static void setup_link(struct http *http, struct wire *wire) {
    CURL *e = wire->easy;

    curl_easy_reset(e);
    curl_easy_setopt(e, CURLOPT_SHARE, http->share);
    curl_easy_setopt(e, CURLOPT_PRIVATE, wire);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, wire->curl_error);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, http->proxy ? http->proxy : "");
    curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* they are not the store's */
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 30L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 10L);
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)IDLE_CONNECTION_S);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER_BYTES);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_DNS_CACHE_TIMEOUT, 30L);
    curl_easy_setopt(e, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
    http_ack_apply(&http->ack, e);
    http_trust_apply(&http->trust, e);
}

static int setup_exchange(struct wire *wire, struct transfer *t) {
    CURL *e = wire->easy;
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");

    for (size_t i = 0; headers && t->headers[i]; i++)
        headers = curl_slist_append(headers, t->headers[i]);
    if (!headers)
        return -1;

    wire->headers = headers;
    curl_easy_setopt(e, CURLOPT_URL, t->url);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, wire);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, wire);
    curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(e, CURLOPT_XFERINFODATA, wire);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)t->timeout_ms);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, (long)LOW_SPEED_BYTES);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)t->low_speed_s);

    if (t->no_body) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else if (t->body_len || strcmp(t->method, "PUT") == 0 || strcmp(t->method, "POST") == 0) {
        curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->body_len);
        curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(e, CURLOPT_READDATA, wire);
        curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(e, CURLOPT_SEEKDATA, wire);
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, t->method);
    } else {
        curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, t->method);
    }
    return 0;
}

static int http_start(void *ctx, struct transfer *t) {
    struct http *http = ctx;
    struct wire *wire = wire_new(http);

    if (!wire)
        return -1;

    wire->transfer = t;
    wire->at_iov = wire->at_byte = 0;
    wire->n_moved = wire->n_unacked = 0;
    wire->curl_error[0] = '\0';
    wire->next = http->active;
    http->active = wire;
    t->impl = wire;
    setup_link(http, wire);
    if (setup_exchange(wire, t) < 0 || curl_multi_add_handle(http->multi, wire->easy) != CURLM_OK) {
        wire_retire(http, wire);
        return -1;
    }
    return 0;
}

static struct transfer *finished(struct http *http) {
    CURLMsg *msg;
    int n_left;

    while ((msg = curl_multi_info_read(http->multi, &n_left))) {
        struct wire *wire = NULL;
        struct transfer *t;
        long n_connects = 0;
        curl_off_t first_us = 0;

        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&wire);
        curl_easy_getinfo(msg->easy_handle, CURLINFO_NUM_CONNECTS, &n_connects);
        curl_easy_getinfo(msg->easy_handle, CURLINFO_STARTTRANSFER_TIME_T, &first_us);
        t = wire->transfer;
        t->reused = n_connects == 0;
        t->first_byte_ms = (unsigned)(first_us / 1000);
        t->failure = http_failure_of(msg->data.result, t->reused, t->status != 0);
        if (t->failure != HTTP_FINE)
            http_note_proxy(msg->easy_handle, t);
        if (t->failure != HTTP_FINE)
            snprintf(
                t->detail,
                sizeof(t->detail),
                "%.150s",
                wire->curl_error[0] ? wire->curl_error : curl_easy_strerror(msg->data.result)
            );
        wire_retire(http, wire);
        return t;
    }
    return NULL;
}

/* The kernel takes megabytes at once, and a slow line takes its time for them. */
static void note_drained(struct wire *wire) {
    long port = 0;
    int n_unacked;

    if (clock_monotonic_ms() - wire->transfer->moved_ms < LOOK_MS)
        return;
    curl_easy_getinfo(wire->easy, CURLINFO_LOCAL_PORT, &port);
    n_unacked = http_ack_missing(&wire->http->ack, (unsigned)port);
    if (n_unacked < wire->n_unacked)
        note_moved(wire->transfer);
    wire->n_unacked = n_unacked;
}

static void release(struct http *http, struct throttle *throttle) {
    struct throttle_place *place = throttle_next(throttle, clock_monotonic_ms());
    struct wire *wire = place ? place->owner : NULL;

    if (wire)
        curl_easy_pause(wire->easy, CURLPAUSE_CONT);
}

static struct transfer *move(struct http *http) {
    int n_running;

    for (struct wire *wire = http->active; wire; wire = wire->next) {
        note_drained(wire);
        if (wire->place.throttle)
            note_moved(wire->transfer); /* it would, but for us */
    }
    release(http, &http->up);
    release(http, &http->down);
    curl_multi_perform(http->multi, &n_running);
    return finished(http);
}

static int next_look_ms(struct http *http, int timeout_ms) {
    int64_t now = clock_monotonic_ms();

    if (http->active && timeout_ms > LOOK_MS)
        timeout_ms = LOOK_MS;
    timeout_ms = throttle_next_ms(&http->up, now, timeout_ms);
    return throttle_next_ms(&http->down, now, timeout_ms);
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
        wire_retire(ctx, t->impl);
}

static void http_wake(void *ctx) {
    struct http *http = ctx;

    curl_multi_wakeup(http->multi);
}

static void http_limit(void *ctx, uint64_t upload, uint64_t download) {
    struct http *http = ctx;

    throttle_set(&http->up, upload, clock_monotonic_ms());
    throttle_set(&http->down, download, clock_monotonic_ms());
}

static void http_free(void *ctx, bool forked) {
    struct http *http = ctx;

    if (!http)
        return;
    /* In a forked child the sockets are the parent's: closing TLS would say goodbye on its behalf.
     * The little that curl holds is left to the child's end. */
    if (!forked) {
        while (http->active)
            wire_retire(http, http->active);
        while (http->idle) {
            struct wire *wire = http->idle;

            http->idle = wire->next;
            curl_easy_cleanup(wire->easy);
            free(wire);
        }
        curl_multi_cleanup(http->multi);
        curl_share_cleanup(http->share);
    }
    http_trust_clear(&http->trust);
    if (http->proxy)
        explicit_bzero(http->proxy, strlen(http->proxy)); /* it may hold a password */
    free(http->proxy);
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
    http->share = curl_share_init();
    http->proxy = config->proxy && *config->proxy ? strdup(config->proxy) : NULL;
    if (!http->multi || !http->share || http_trust_set(&http->trust, config) < 0) {
        curl_multi_cleanup(http->multi);
        curl_share_cleanup(http->share);
        http_trust_clear(&http->trust);
        free(http->proxy);
        free(http);
        return error_set(err, S3PVE_E_NOMEM, "http");
    }

    curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
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
