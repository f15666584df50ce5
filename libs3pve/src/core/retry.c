/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Three tables, asked in this order: why there is no answer, what the error document says, what the
 * status says.  A row knows whether the store may have acted; for a request that must be sent only
 * once that turns another try into a failure to be resolved by reading.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "core/retry.h"

enum trait {
    REFUSED = 0, /* the store did not do it */
    ACTED = 1,   /* it may have */
    CLOCK = 2,   /* with a large skew, the clock is to blame */
    KEY = 3,     /* where no key was asked for, it is the bucket that is missing */
};

struct rule {
    enum verdict verdict;
    enum s3pve_code code;
    enum trait trait;
};

/* Nothing or half an answer.  ACTED counts only once the request was on the wire. */
static const struct rule failures[] = {
    [HTTP_RESOLVE] = {VERDICT_RETRY, S3PVE_E_IO, REFUSED},
    [HTTP_CONNECT] = {VERDICT_RETRY, S3PVE_E_IO, REFUSED},
    [HTTP_TLS] = {VERDICT_RETRY, S3PVE_E_IO, REFUSED},
    [HTTP_UNTRUSTED] = {VERDICT_FAIL, S3PVE_E_IO, REFUSED},
    [HTTP_PLAIN] = {VERDICT_FAIL, S3PVE_E_IO, REFUSED},
    [HTTP_TIMEOUT] = {VERDICT_RETRY, S3PVE_E_TIMEOUT, ACTED},
    [HTTP_STALE] = {VERDICT_NOW, S3PVE_E_IO, ACTED},
    [HTTP_SILENT] = {VERDICT_NOW, S3PVE_E_TIMEOUT, ACTED},
    [HTTP_BROKEN] = {VERDICT_RETRY, S3PVE_E_IO, ACTED},
    [HTTP_STOPPED] = {VERDICT_FAIL, S3PVE_E_CANCELLED, ACTED},
    [HTTP_LOCAL] = {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED},
};

/* The <Code> of an error document.  A code that is not here says no more than its status. */
static const struct {
    const char *s3_code;
    struct rule rule;
} codes[] = {
    /* too fast: refused before anything was done */
    {"SlowDown", {VERDICT_THROTTLED, S3PVE_E_THROTTLED, REFUSED}},
    {"SlowDownRead", {VERDICT_THROTTLED, S3PVE_E_THROTTLED, REFUSED}},
    {"SlowDownWrite", {VERDICT_THROTTLED, S3PVE_E_THROTTLED, REFUSED}},
    {"ServiceUnavailable", {VERDICT_THROTTLED, S3PVE_E_THROTTLED, ACTED}},
    {"TooManyRequests", {VERDICT_THROTTLED, S3PVE_E_THROTTLED, REFUSED}},
    {"RequestLimitExceeded", {VERDICT_THROTTLED, S3PVE_E_THROTTLED, REFUSED}},
    {"RequestRateLimitExceeded", {VERDICT_THROTTLED, S3PVE_E_THROTTLED, REFUSED}}, /* Wasabi */
    {"RequestThrottled", {VERDICT_THROTTLED, S3PVE_E_THROTTLED, REFUSED}},
    {"BandwidthLimitExceeded", {VERDICT_THROTTLED, S3PVE_E_THROTTLED, REFUSED}},

    /* the server's own trouble */
    {"InternalError", {VERDICT_RETRY, S3PVE_E_IO, ACTED}},
    {"InternalErrors", {VERDICT_RETRY, S3PVE_E_IO, ACTED}},
    {"RequestTimeout", {VERDICT_RETRY, S3PVE_E_TIMEOUT, REFUSED}}, /* our body came too slowly */
    {"OperationAborted", {VERDICT_RETRY, S3PVE_E_CONFLICT, REFUSED}},
    {"PriorRequestNotComplete", {VERDICT_RETRY, S3PVE_E_IO, REFUSED}},
    {"XMinioServerNotInitialized", {VERDICT_RETRY, S3PVE_E_IO, REFUSED}},

    /* what we can put right ourselves, once */
    {"RequestTimeTooSkewed", {VERDICT_CLOCK, S3PVE_E_DENIED, REFUSED}},
    {"ExpiredToken", {VERDICT_REFRESH, S3PVE_E_DENIED, REFUSED}},
    {"TokenRefreshRequired", {VERDICT_REFRESH, S3PVE_E_DENIED, REFUSED}},
    {"PermanentRedirect", {VERDICT_REGION, S3PVE_E_INVALID, REFUSED}},
    {"TemporaryRedirect", {VERDICT_REGION, S3PVE_E_INVALID, REFUSED}},
    {"AuthorizationHeaderMalformed", {VERDICT_REGION, S3PVE_E_INVALID, REFUSED}},
    {"IllegalLocationConstraintException", {VERDICT_REGION, S3PVE_E_INVALID, REFUSED}},
    {"BadDigest", {VERDICT_DIGEST, S3PVE_E_CORRUPT, REFUSED}},
    {"XAmzContentSHA256Mismatch", {VERDICT_DIGEST, S3PVE_E_CORRUPT, REFUSED}},
    {"XAmzContentChecksumMismatch", {VERDICT_DIGEST, S3PVE_E_CORRUPT, REFUSED}}, /* MinIO */
    {"IncompleteBody", {VERDICT_DIGEST, S3PVE_E_CORRUPT, REFUSED}},

    /* answers */
    {"PreconditionFailed", {VERDICT_FAIL, S3PVE_E_CONFLICT, REFUSED}},
    {"ConditionalRequestConflict", {VERDICT_FAIL, S3PVE_E_CONFLICT, REFUSED}},
    {"BucketAlreadyExists", {VERDICT_FAIL, S3PVE_E_CONFLICT, REFUSED}},
    {"BucketAlreadyOwnedByYou", {VERDICT_FAIL, S3PVE_E_CONFLICT, REFUSED}},
    {"BucketNotEmpty", {VERDICT_FAIL, S3PVE_E_CONFLICT, REFUSED}},
    {"NoSuchBucket", {VERDICT_FAIL, S3PVE_E_NO_BUCKET, REFUSED}},
    {"NoSuchKey", {VERDICT_FAIL, S3PVE_E_NOT_FOUND, KEY}},
    {"NoSuchUpload", {VERDICT_FAIL, S3PVE_E_NOT_FOUND, REFUSED}},
    {"NoSuchVersion", {VERDICT_FAIL, S3PVE_E_NOT_FOUND, REFUSED}},
    {"NoSuchTagSet", {VERDICT_FAIL, S3PVE_E_NOT_FOUND, REFUSED}},
    {"NoSuchLifecycleConfiguration", {VERDICT_FAIL, S3PVE_E_NOT_FOUND, REFUSED}},

    /* who we are and what we may */
    {"AccessDenied", {VERDICT_FAIL, S3PVE_E_DENIED, CLOCK}}, /* Garage says so of an old date */
    {"SignatureDoesNotMatch", {VERDICT_FAIL, S3PVE_E_DENIED, CLOCK}},
    {"AuthFailure", {VERDICT_FAIL, S3PVE_E_DENIED, CLOCK}},
    {"RequestExpired", {VERDICT_FAIL, S3PVE_E_DENIED, CLOCK}},
    {"InvalidAccessKeyId", {VERDICT_FAIL, S3PVE_E_DENIED, REFUSED}},
    {"InvalidToken", {VERDICT_FAIL, S3PVE_E_DENIED, REFUSED}},
    {"InvalidObjectState", {VERDICT_FAIL, S3PVE_E_DENIED, REFUSED}}, /* archived */
    {"AllAccessDisabled", {VERDICT_FAIL, S3PVE_E_DENIED, REFUSED}},
    {"AccountProblem", {VERDICT_FAIL, S3PVE_E_DENIED, REFUSED}},

    /* full: the status may be 403, 400 or 507 */
    {"QuotaExceeded", {VERDICT_FAIL, S3PVE_E_NO_SPACE, REFUSED}},
    {"XMinioStorageFull", {VERDICT_FAIL, S3PVE_E_NO_SPACE, REFUSED}},
    {"XMinioAdminBucketQuotaExceeded", {VERDICT_FAIL, S3PVE_E_NO_SPACE, REFUSED}},

    /* not with this server, or not like this */
    {"NotImplemented", {VERDICT_FAIL, S3PVE_E_UNSUPPORTED, REFUSED}},
    {"MethodNotAllowed", {VERDICT_FAIL, S3PVE_E_UNSUPPORTED, REFUSED}},
    {"InvalidArgument", {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED}},
    {"InvalidRequest", {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED}},
    {"MalformedXML", {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED}},
    {"KeyTooLongError", {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED}},
    {"EntityTooSmall", {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED}},
    {"EntityTooLarge", {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED}},
    {"InvalidPart", {VERDICT_FAIL, S3PVE_E_CORRUPT, REFUSED}},
    {"InvalidPartOrder", {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED}},
    {"InvalidBucketName", {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED}},
    {"InvalidRange", {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED}},
};

/* The first range that holds the status. */
static const struct {
    int first, last;
    struct rule rule;
} statuses[] = {
    {301, 301, {VERDICT_REGION, S3PVE_E_INVALID, REFUSED}},
    {304, 304, {VERDICT_FAIL, S3PVE_E_CONFLICT, REFUSED}},
    {307, 308, {VERDICT_REGION, S3PVE_E_INVALID, REFUSED}},
    {300, 399, {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED}}, /* no S3 server: a portal, a login page */
    {401, 401, {VERDICT_FAIL, S3PVE_E_DENIED, CLOCK}},
    {402, 402, {VERDICT_FAIL, S3PVE_E_DENIED, REFUSED}},
    {403, 403, {VERDICT_FAIL, S3PVE_E_DENIED, CLOCK}},
    {404, 404, {VERDICT_FAIL, S3PVE_E_NOT_FOUND, KEY}},
    {405, 405, {VERDICT_FAIL, S3PVE_E_UNSUPPORTED, REFUSED}},
    {407, 407, {VERDICT_FAIL, S3PVE_E_DENIED, REFUSED}}, /* the proxy's */
    {408, 408, {VERDICT_RETRY, S3PVE_E_TIMEOUT, REFUSED}},
    {409, 409, {VERDICT_FAIL, S3PVE_E_CONFLICT, REFUSED}},
    {412, 412, {VERDICT_FAIL, S3PVE_E_CONFLICT, REFUSED}},
    {425, 425, {VERDICT_RETRY, S3PVE_E_IO, REFUSED}},
    {429, 429, {VERDICT_THROTTLED, S3PVE_E_THROTTLED, REFUSED}},
    {499, 499, {VERDICT_RETRY, S3PVE_E_IO, ACTED}},
    {400, 400, {VERDICT_REGION, S3PVE_E_INVALID, REFUSED}}, /* all that AWS says to a HEAD */
    {400, 499, {VERDICT_FAIL, S3PVE_E_INVALID, REFUSED}},
    {501, 501, {VERDICT_FAIL, S3PVE_E_UNSUPPORTED, REFUSED}},
    {503, 503, {VERDICT_THROTTLED, S3PVE_E_IO, ACTED}}, /* overloaded or down: nobody says which */
    {505, 505, {VERDICT_FAIL, S3PVE_E_UNSUPPORTED, REFUSED}},
    {507, 507, {VERDICT_FAIL, S3PVE_E_NO_SPACE, REFUSED}},
    {509, 509, {VERDICT_THROTTLED, S3PVE_E_THROTTLED, REFUSED}},
    {500, 599, {VERDICT_RETRY, S3PVE_E_IO, ACTED}}, /* 520 to 530 are Cloudflare's */
};

static bool is_set(const char *text) {
    return text && *text;
}

static bool find_code(const char *s3_code, struct rule *ret_rule) {
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (strcmp(codes[i].s3_code, s3_code) == 0) {
            *ret_rule = codes[i].rule;
            return true;
        }
    }
    if (strncmp(s3_code, "Throttl", strlen("Throttl")) == 0) { /* Throttling, ThrottledException */
        *ret_rule = (struct rule){VERDICT_THROTTLED, S3PVE_E_THROTTLED, REFUSED};
        return true;
    }
    return false;
}

static struct rule by_status(int status) {
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (status >= statuses[i].first && status <= statuses[i].last)
            return statuses[i].rule;
    }
    return (struct rule){VERDICT_RETRY, S3PVE_E_IO, ACTED}; /* not HTTP as we know it */
}

/* Has it answered?  Some statuses say all there is to say, even when their body broke off. */
static bool is_answered(const struct outcome *o) {
    if (o->failure == HTTP_FINE)
        return true;
    if (o->failure == HTTP_STOPPED || o->failure == HTTP_LOCAL)
        return false;

    switch (o->status) {
    case 301:
    case 307:
    case 401:
    case 403:
    case 404:
    case 405:
    case 407: /* the proxy's word on a tunnel, which then fails */
    case 411:
    case 412:
    case 413:
    case 416: return true;
    default: return false;
    }
}

static struct rule judge_failure(const struct outcome *o) {
    struct rule rule = failures[o->failure];

    if (o->failure == HTTP_STALE && !o->reused)
        rule = failures[HTTP_BROKEN];
    if (!o->sent_any)
        rule.trait = REFUSED;
    return rule;
}

static struct rule judge_success(const struct outcome *o) {
    if (o->wrong_root)
        return (struct rule){VERDICT_RETRY, S3PVE_E_CORRUPT, ACTED};
    if (is_set(o->s3_code)) /* one we know nothing of: do not insist */
        return (struct rule){VERDICT_FAIL, S3PVE_E_IO, ACTED};
    return (struct rule){VERDICT_OK, S3PVE_OK, REFUSED};
}

static struct rule judge_answer(const struct outcome *o) {
    struct rule rule;

    if (is_set(o->s3_code) && find_code(o->s3_code, &rule))
        return rule;
    return o->status >= 200 && o->status <= 299 ? judge_success(o) : by_status(o->status);
}

static bool is_read(const char *method) {
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

struct judgement retry_judge(const struct outcome *o) {
    const struct rule rule = is_answered(o) ? judge_answer(o) : judge_failure(o);
    struct judgement judgement = {.verdict = rule.verdict, .code = rule.code};

    if (rule.trait == CLOCK && llabs(o->skew_s) > SKEW_SUSPECT_S)
        judgement.verdict = VERDICT_CLOCK;
    if (rule.trait == KEY && o->bucket_level)
        judgement.code = S3PVE_E_NO_BUCKET;
    judgement.ambiguous = rule.trait == ACTED && !is_read(o->method);
    if (judgement.ambiguous && o->once)
        judgement.verdict = VERDICT_FAIL;
    return judgement;
}

unsigned retry_backoff_ms(
    unsigned base_ms, unsigned attempt, unsigned retry_after_ms, uint32_t chance
) {
    uint64_t most = BACKOFF_CAP_MS;
    unsigned wait_ms;

    if (attempt < 31 && (uint64_t)base_ms << attempt < most)
        most = (uint64_t)base_ms << attempt;
    wait_ms = (unsigned)((chance * (most + 1)) >> 32);
    if (retry_after_ms > RETRY_AFTER_CAP_MS)
        retry_after_ms = RETRY_AFTER_CAP_MS;
    return wait_ms > retry_after_ms ? wait_ms : retry_after_ms;
}
