/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * request.h - one signed request to the store, through all its attempts
 *
 *     init -> request_query/_header/... -> request_send() -> read rq.reply -> clear
 *
 * The engine behind it is the only road out of the library: it queues, signs, sends, judges the
 * answer and tries again.  Nothing else signs, sleeps or retries.
 *
 *     QUEUED --a place is free--> SENT --judged--> DONE
 *        ^                          |
 *        +-- WAITING (backoff) <----+
 *
 * Whoever waits drives: without a thread of its own (s3pve_client_start_thread) the engine moves
 * inside request_wait().  With it, waiting threads sleep and the engine's thread does the work.
 */
#ifndef CORE_REQUEST_H
#define CORE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "s3pve.h"

enum request_state { REQUEST_NEW, REQUEST_QUEUED, REQUEST_WAITING, REQUEST_SENT, REQUEST_DONE };

/* What came back.  Filled for the attempt that counted. */
struct reply {
    int status;
    struct s3pve_info info; /* from the headers: ETag, Last-Modified, type, class, x-amz-meta- */
    uint64_t content_length;
    bool has_content_length;
    bool has_content_range;
    bool chunked;                                 /* the body's end is marked */
    uint64_t range_start, range_end, range_total; /* end inclusive; total 0: "*" */
    char request_id[80];
    char region[64]; /* x-amz-bucket-region */
    char server[64];
    char location[512];       /* redirects */
    char checksum_crc32c[16]; /* base64, "" when none */
    int64_t date_s;           /* Date, 0 when absent */
    unsigned retry_after_ms;
    char *body; /* owned, zero-terminated; for `into` and `sink` only of errors */
    size_t body_len;
};

struct request_pair {
    char *name;
    char *value;
};

#define REQUEST_PAIRS 32 /* a copy with all metadata and encryption has 26 */

struct request {
    /* --- filled in by the caller, between request_init() and request_send() */
    const char *operation; /* literal: "PutObject" */
    const char *method;    /* literal: "PUT" */
    char *key;             /* owned, relative to the prefix; NULL: the bucket */
    bool raw_key;          /* key is already absolute (recorded with its prefix) */
    struct request_pair query[REQUEST_PAIRS], headers[REQUEST_PAIRS]; /* owned */
    unsigned n_query, n_headers;
    const struct iovec *body; /* borrowed until done; may be sent several times */
    size_t n_body;
    uint64_t body_len;
    bool md5;          /* Content-MD5 whatever else protects the body: DeleteObjects needs it */
    bool checksum;     /* the body deserves a transport checksum (Content-MD5 or CRC32C) */
    bool once;         /* a lost answer must not be resent: fail with .ambiguous */
    bool slow_answer;  /* Complete, Copy: silence for minutes is normal */
    bool urgent;       /* somebody waits: ahead of bulk, see engine_queue.c */
    bool quiet;        /* its failure is an answer that was asked for: no warning */
    unsigned delay_ms; /* before the first attempt */
    size_t reply_max;  /* bytes of body to keep; 0: LIMIT_REPLY */
    const char *root;  /* expected root element; "" any; NULL: no XML body expected.
                          200 with <Error> is judged as that error */
    struct {           /* a GET of part of an object; a broken transfer resumes */
        bool set;
        uint64_t offset, len;
    } range;
    void *into; /* borrowed: where a 200/206 body goes, at most range.len bytes */
    int (*sink)(void *ctx, const void *data, size_t len); /* or a function; nonzero stops it */
    void *sink_ctx;
    struct s3pve_call call; /* time and cancellation; submit fills in the client's timeout */
    void *owner;            /* the caller's own */

    /* --- results, valid once request_wait() or request_send() returned it */
    struct reply reply;
    struct s3pve_error error; /* .code S3PVE_OK on success */
    uint64_t received;        /* bytes given to `into` or `sink` */
    bool ambiguous;           /* failed, and the store may have acted on it */
    bool out_of_time;         /* failed for the deadline, whatever the last attempt failed for */
    unsigned attempts;

    /* --- the engine's */
    enum request_state state;
    struct request *next, *prev;
    struct exchange *exchange; /* the attempt on the wire, see exchange.h */
    int64_t not_before_ms, started_ms, queued_ms;
    int64_t deadline_ms;      /* the end, whatever moves */
    int64_t moved_ms;         /* when a byte last moved, or the store answered ... */
    int64_t patience_ms;      /* ... and how long nothing may from then on; see engine_time.c */
    uint64_t paid;            /* bytes received that the deadline has been put off for */
    int64_t refused_until_ms; /* no attempt after it: the store keeps refusing */
    char pinned_etag[S3PVE_ETAG_MAX]; /* while resuming a range */
    char payload_hash[65];            /* hex, or UNSIGNED-PAYLOAD: once for all attempts ... */
    char content_md5[28], crc32c[12]; /* ... and so are these, base64; "" none */
    int cancelled;                    /* atomic: request_cancel() */
    bool corrected_clock, corrected_region, refreshed_creds, retried_digest;
    bool fresh;         /* over a new connection: a kept one left it without an answer */
    bool out_of_memory; /* a builder failed; reported by send */
};

void request_init(
    struct request *rq,
    const char *operation,
    const char *method,
    const char *key,
    const struct s3pve_call *call
);
/* Builders copy; out of memory is remembered and reported by request_send(). */
void request_query(struct request *rq, const char *name, const char *value);
void request_header(struct request *rq, const char *name, const char *fmt, ...) _printf_(3, 4);
/* A body in one piece; @iov is the caller's, and must live until the request is done. */
void request_body(struct request *rq, struct iovec *iov, const void *data, size_t len);

/* Blocks until done.  Return: 0, or -1 with @err set. */
int request_send(struct s3pve_client *client, struct request *rq, struct s3pve_error *err);

/* Start without waiting.  Never fails: errors come with the result. */
void request_submit(struct s3pve_client *client, struct request *rq);

/*
 * Wait until one of @rqs is done and return its index, or -1 when @timeout_ms passed first.
 * NULL entries are skipped; with none left it returns -1 at once.
 * With 0 it moves what can be moved and does not wait.
 */
int request_wait(
    struct s3pve_client *client, struct request *const *rqs, size_t n_rqs, int timeout_ms
);

/* Give up on a submitted request and wait until the engine has let go of it (milliseconds). */
void request_cancel(struct s3pve_client *client, struct request *rq);

/* Frees what it owns.  Only before submit, or once done or cancelled. */
void request_clear(struct request *rq);

#endif
