/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/http_wire.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "core/http_failure.h"

#define BUFFER_BYTES KIB(512) /* the defaults, 16 and 64 KiB, cost a system call each */

/* What the callbacks for data are given or asked for comes in large pieces; this counts each. */
static int on_progress(
    void *ctx, curl_off_t n_down_all, curl_off_t n_down, curl_off_t n_up_all, curl_off_t n_up
) {
    struct http_wire *wire = ctx;

    http_watch_count(&wire->watch, wire->transfer, n_down + n_up);
    return 0;
}

static size_t on_read(char *to, size_t size, size_t n, void *ctx) {
    struct http_wire *wire = ctx;
    const struct transfer *t = wire->transfer;
    const uint64_t left_in_body = t->body_len - t->sent;
    size_t room = size * n, done = 0;

    room = room < left_in_body ? room : left_in_body;
    room = throttle_take(&wire->common->up, room, clock_monotonic_ms());
    if (!room && left_in_body) {
        throttle_wait(&wire->common->up, &wire->place);
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
    struct http_wire *wire = ctx;

    if (offset != 0 || origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    if (wire->transfer->once && wire->transfer->sent)
        return CURL_SEEKFUNC_FAIL; /* libcurl would repeat it by itself */

    wire->at_iov = wire->at_byte = 0;
    wire->transfer->sent = 0;
    return CURL_SEEKFUNC_OK;
}

static size_t on_write(char *data, size_t size, size_t n, void *ctx) {
    struct http_wire *wire = ctx;
    struct transfer *t = wire->transfer;
    size_t len = size * n;

    if (throttle_wait_ms(&wire->common->down, clock_monotonic_ms())) {
        throttle_wait(&wire->common->down, &wire->place);
        return CURL_WRITEFUNC_PAUSE; /* the same bytes come again */
    }
    throttle_spend(&wire->common->down, len, clock_monotonic_ms());
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
    struct http_wire *wire = ctx;
    struct transfer *t = wire->transfer;
    char line[LIMIT_HEADER_LINE];
    size_t len = size * n;

    if (len >= 5 && memcmp(data, "HTTP/", 5) == 0) {
        long status = 0;

        curl_easy_getinfo(wire->easy, CURLINFO_RESPONSE_CODE, &status);
        t->status = (int)status;
        http_watch_note(t);
        http_ack_now(&wire->common->ack);
        return len;
    }
    if (len >= sizeof(line)) /* nothing we need is that long */
        return len;

    memcpy(line, data, len);
    line[len] = '\0';
    return header_split(t, line, len) ? 0 : len;
}

static void setup_link(struct http_wire *wire) {
    struct http_common *common = wire->common;
    CURL *e = wire->easy;

    curl_easy_reset(e);
    curl_easy_setopt(e, CURLOPT_SHARE, common->share);
    curl_easy_setopt(e, CURLOPT_PRIVATE, wire);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, wire->curl_error);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, common->proxy ? common->proxy : "");
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
    http_ack_apply(&common->ack, e);
    http_trust_apply(&common->trust, e);
}

static int add_header(struct http_wire *wire, const char *line) {
    struct curl_slist *longer = curl_slist_append(wire->headers, line);

    if (longer)
        wire->headers = longer;
    return longer ? 0 : -1;
}

static int setup_exchange(struct http_wire *wire, struct transfer *t) {
    CURL *e = wire->easy;

    if (add_header(wire, "Expect:") < 0)
        return -1;
    for (size_t i = 0; t->headers[i]; i++)
        if (add_header(wire, t->headers[i]) < 0)
            return -1;

    curl_easy_setopt(e, CURLOPT_URL, t->url);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, wire->headers);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, wire);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, wire);
    curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(e, CURLOPT_XFERINFODATA, wire);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, (long)t->fresh);

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

struct http_wire *http_wire_new(struct http_common *common) {
    struct http_wire *wire = calloc(1, sizeof(*wire));

    if (!wire)
        return NULL;
    wire->common = common;
    wire->place.owner = wire;
    wire->easy = curl_easy_init();
    if (!wire->easy) {
        free(wire);
        return NULL;
    }
    return wire;
}

void http_wire_free(struct http_wire *wire) {
    curl_easy_cleanup(wire->easy);
    free(wire);
}

int http_wire_begin(struct http_wire *wire, struct transfer *t) {
    wire->transfer = t;
    wire->at_iov = wire->at_byte = 0;
    wire->curl_error[0] = '\0';
    t->impl = wire;
    http_watch_begin(&wire->watch, clock_monotonic_ms());
    setup_link(wire);
    return setup_exchange(wire, t);
}

void http_wire_conclude(struct http_wire *wire, CURLcode code) {
    struct transfer *t = wire->transfer;
    long n_connects = 0;
    curl_off_t first_us = 0;

    curl_easy_getinfo(wire->easy, CURLINFO_NUM_CONNECTS, &n_connects);
    curl_easy_getinfo(wire->easy, CURLINFO_STARTTRANSFER_TIME_T, &first_us);
    t->reused = n_connects == 0;
    t->first_byte_ms = (unsigned)(first_us / 1000);
    http_failure_note(t, wire->easy, code, wire->curl_error);
}

bool http_wire_is_dead(struct http_wire *wire, int64_t now, int64_t away_ms) {
    struct transfer *t = wire->transfer;

    if (wire->place.throttle)
        http_watch_note(t); /* it would move, but for us */
    if (wire->place.throttle || away_ms > 2 * WATCH_MS)
        http_watch_excuse(&wire->watch, now, away_ms);
    http_watch_look(&wire->watch, t, wire->easy, &wire->common->ack, now);
    return http_watch_is_dead(&wire->watch, t, wire->easy, now);
}

void http_wire_end(struct http_wire *wire) {
    throttle_leave(&wire->place);
    http_free_headers(wire->headers);
    wire->headers = NULL;
    wire->transfer->impl = NULL;
    wire->transfer = NULL;
}
