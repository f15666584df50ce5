/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * http.h - one exchange on the wire, and the only door to libcurl
 *
 * A transfer is one attempt: URL and headers out, status, headers and body in.  It knows nothing of
 * S3, of keys or of retries.  struct transport is the seam where a test can be the world: network,
 * clocks and chance all come through it.
 */
#ifndef CORE_HTTP_H
#define CORE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "s3pve.h"

struct config;
struct curl_slist;

/* Why there is no (whole) answer.  retry.c decides what each deserves. */
enum http_failure {
    HTTP_FINE,
    HTTP_RESOLVE,   /* no such host */
    HTTP_CONNECT,   /* refused or unreachable */
    HTTP_TLS,       /* handshake broke off */
    HTTP_UNTRUSTED, /* certificate refused: final */
    HTTP_PLAIN,     /* https was asked for, and no TLS is spoken: final */
    HTTP_TIMEOUT,
    HTTP_STALE,   /* a reused connection was dead before a byte came back */
    HTTP_SILENT,  /* nothing came over a reused one within stale_ms */
    HTTP_BROKEN,  /* connection lost after it worked, or a short body */
    HTTP_STOPPED, /* a callback said so */
    HTTP_LOCAL,   /* out of memory, bad URL: ours */
};

struct transfer {
    /* in, borrowed until it is finished */
    const char *method;
    const char *url;            /* path and query already encoded */
    const char *const *headers; /* "Name: value", NULL-terminated */
    const struct iovec *body;   /* may be walked again after a stale connection */
    size_t n_body;
    uint64_t body_len;
    unsigned low_speed_s; /* seconds under LOW_SPEED_BYTES/s before giving up */
    unsigned stale_ms;    /* so long without an answer over a kept one is SILENT; 0: never */
    bool fresh;           /* over a new connection */
    bool no_body;         /* HEAD */
    bool once;            /* never send the body a second time, not even over a stale connection */
    void *owner;          /* the request */
    /* called while it is polled; nonzero stops the transfer (HTTP_STOPPED) */
    int (*on_header)(struct transfer *, const char *name, const char *value); /* name lower case */
    int (*on_data)(struct transfer *, const void *data, size_t len);

    /* out, valid when transport_poll() returned it */
    int status; /* 0: none came */
    enum http_failure failure;
    bool reused;             /* went over a kept-alive connection */
    char detail[160];        /* the library's words, no secret */
    uint64_t sent, received; /* bytes of bodies */
    unsigned first_byte_ms;

    /* kept up to date while it is polled, by the transport's clock; 0: nothing moved yet */
    int64_t first_moved_ms, moved_ms;

    void *impl; /* the transport's own */
};

/* What a client needs from the world.  start, poll and cancel are called by one thread at a time.
 */
struct transport {
    int (*start)(void *ctx, struct transfer *);
    /* Move bytes for at most @timeout_ms; returns one finished transfer, or NULL. */
    struct transfer *(*poll)(void *ctx, int timeout_ms);
    void (*cancel)(void *ctx, struct transfer *); /* forget it; not returned by poll any more */
    void (*wake)(void *ctx);                      /* from any thread: let poll return now */
    int64_t (*now_ms)(void *ctx);                 /* monotonic */
    int64_t (*wall_s)(void *ctx);                 /* epoch, not corrected for skew */
    uint32_t (*random)(void *ctx);
    void (*limit)(void *ctx, uint64_t upload, uint64_t download); /* bytes a second; 0: none */
    void (*free)(void *ctx, bool forked); /* forked: we are a child, leave sockets alone */
    void *ctx;
};

/* The real one.  @config gives TLS trust, proxy and the number of connections. */
int http_transport(
    const struct config *config, struct transport *ret_transport, struct s3pve_error *err
);

/* Free @list; what it held of keys and tokens is wiped. */
void http_free_headers(struct curl_slist *list);

/*
 * One exchange with the machine's own metadata service: http only, no proxy, no retry, not signed.
 * @headers: "Name: value", NULL-terminated, or NULL.  @ret_body: appended to; set its max.
 * Return: 0 on 200, or -1 (IO, DENIED, NOMEM).
 */
int http_simple(
    const char *method,
    const char *url,
    const char *const *headers,
    unsigned timeout_ms,
    struct buf *ret_body,
    struct s3pve_error *err
);

#endif
