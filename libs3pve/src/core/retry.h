/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * retry.h - which answers deserve another try, and when: a pure function of facts
 *
 * Taxonomy after the AWS SDKs' retry behaviour and measured servers; see DESIGN.md, "Judgement".
 */
#ifndef CORE_RETRY_H
#define CORE_RETRY_H

#include "core/http.h"
#include "s3pve.h"

enum verdict {
    VERDICT_OK,        /* take the answer */
    VERDICT_FAIL,      /* final: error_code says what it is */
    VERDICT_RETRY,     /* after a backoff from BACKOFF_BASE_MS */
    VERDICT_THROTTLED, /* after a backoff from BACKOFF_THROTTLE_MS, and with fewer at once */
    VERDICT_NOW,       /* at once, not counted: stale keep-alive */
    VERDICT_CLOCK,     /* correct our clock from its Date, then once more */
    VERDICT_REGION,    /* sign for the region it named, then once more */
    VERDICT_REFRESH,   /* fetch new credentials, then once more */
    VERDICT_DIGEST,    /* it says our bytes arrived broken: once more */
};

struct outcome {
    enum http_failure failure;
    bool reused; /* connection */
    int status;
    const char *s3_code; /* from an error document, also one that came with 200; "" none */
    const char *method;
    bool once;         /* see struct request */
    bool bucket_level; /* the request named no key: 404 means the bucket */
    bool sent_any;     /* the request reached the wire */
    bool wrong_root;   /* 200 with a document that is neither the answer nor an error */
    int64_t skew_s;    /* server's Date minus our corrected clock; 0 unknown */
};

struct judgement {
    enum verdict verdict;
    enum s3pve_code code; /* what it is when this was the last try */
    bool ambiguous;       /* a write, and the store may have acted on it; true of any attempt
                             is true of the request */
};

/* An ambiguous outcome of a request marked `once` is VERDICT_FAIL, whatever else it would be. */
struct judgement retry_judge(const struct outcome *outcome);

/*
 * Full jitter: a uniform wait in 0..min(BACKOFF_CAP_MS, base * 2^attempt), and at least
 * @retry_after_ms, of which RETRY_AFTER_CAP_MS is believed.  @attempt is 0 after the first failure.
 */
unsigned retry_backoff_ms(
    unsigned base_ms, unsigned attempt, unsigned retry_after_ms, uint32_t chance
);

#endif
