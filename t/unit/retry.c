/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * One table of what servers and networks do and what is to become of it; then the cases that
 * depend on more than one fact.
 */
#include <string.h>

#include "base/limits.h"
#include "core/retry.h"
#include "tap.h"

#define MINUTES(n) ((n)*60)

static const char *const verdict_names[] = {
    [VERDICT_OK] = "ok",
    [VERDICT_FAIL] = "fail",
    [VERDICT_RETRY] = "retry",
    [VERDICT_THROTTLED] = "throttled",
    [VERDICT_NOW] = "now",
    [VERDICT_CLOCK] = "clock",
    [VERDICT_REGION] = "region",
    [VERDICT_REFRESH] = "refresh",
    [VERDICT_DIGEST] = "digest",
};

static struct judgement judge(struct outcome o) {
    o.method = o.method ? o.method : "PUT";
    o.s3_code = o.s3_code ? o.s3_code : "";
    o.sent_any = true;
    return retry_judge(&o);
}

static void expect(struct outcome o, enum verdict verdict, enum s3pve_code code, const char *what) {
    const struct judgement got = judge(o);

    is_str(verdict_names[got.verdict], verdict_names[verdict], "%s: verdict", what);
    is_str(s3pve_code_name(got.code), s3pve_code_name(code), "%s: code", what);
}

/* ---- every status and code by itself, for a plain write of an object */

enum maybe { NO, MAYBE };

static const struct {
    int status;
    const char *s3_code;
    enum verdict verdict;
    enum s3pve_code code;
    enum maybe acted;
} answers[] = {
    {200, "", VERDICT_OK, S3PVE_OK, NO},
    {204, "", VERDICT_OK, S3PVE_OK, NO},
    {206, "", VERDICT_OK, S3PVE_OK, NO},

    /* throttle */
    {503, "SlowDown", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {503, "SlowDownRead", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {503, "SlowDownWrite", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {503, "ServiceUnavailable", VERDICT_THROTTLED, S3PVE_E_THROTTLED, MAYBE},
    {429, "TooManyRequests", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {429, "", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {429, "Whatever", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {400, "Throttling", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {400, "ThrottlingException", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {400, "ThrottledException", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {400, "RequestLimitExceeded", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {400, "RequestRateLimitExceeded", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {400, "RequestThrottled", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {400, "BandwidthLimitExceeded", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {509, "", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {503, "", VERDICT_THROTTLED, S3PVE_E_IO, MAYBE},

    /* server transient */
    {500, "InternalError", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {500, "InternalErrors", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {500, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {502, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {503, "XMinioServerNotInitialized", VERDICT_RETRY, S3PVE_E_IO, NO},
    {504, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {520, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {521, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {522, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {523, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {524, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {408, "", VERDICT_RETRY, S3PVE_E_TIMEOUT, NO},
    {499, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {400, "RequestTimeout", VERDICT_RETRY, S3PVE_E_TIMEOUT, NO},
    {503, "RequestTimeout", VERDICT_RETRY, S3PVE_E_TIMEOUT, NO},
    {409, "OperationAborted", VERDICT_RETRY, S3PVE_E_CONFLICT, NO},
    {400, "PriorRequestNotComplete", VERDICT_RETRY, S3PVE_E_IO, NO},
    {425, "", VERDICT_RETRY, S3PVE_E_IO, NO},
    {0, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {100, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {600, "", VERDICT_RETRY, S3PVE_E_IO, MAYBE},

    /* client transient */
    {403, "RequestTimeTooSkewed", VERDICT_CLOCK, S3PVE_E_DENIED, NO},
    {400, "ExpiredToken", VERDICT_REFRESH, S3PVE_E_DENIED, NO},
    {400, "TokenRefreshRequired", VERDICT_REFRESH, S3PVE_E_DENIED, NO},
    {301, "PermanentRedirect", VERDICT_REGION, S3PVE_E_INVALID, NO},
    {301, "", VERDICT_REGION, S3PVE_E_INVALID, NO},
    {307, "TemporaryRedirect", VERDICT_REGION, S3PVE_E_INVALID, NO},
    {307, "", VERDICT_REGION, S3PVE_E_INVALID, NO},
    {308, "", VERDICT_REGION, S3PVE_E_INVALID, NO},
    {400, "AuthorizationHeaderMalformed", VERDICT_REGION, S3PVE_E_INVALID, NO},
    {400, "IllegalLocationConstraintException", VERDICT_REGION, S3PVE_E_INVALID, NO},
    {400, "BadDigest", VERDICT_DIGEST, S3PVE_E_CORRUPT, NO},
    {400, "XAmzContentSHA256Mismatch", VERDICT_DIGEST, S3PVE_E_CORRUPT, NO},
    {400, "XAmzContentChecksumMismatch", VERDICT_DIGEST, S3PVE_E_CORRUPT, NO},
    {400, "IncompleteBody", VERDICT_DIGEST, S3PVE_E_CORRUPT, NO},

    /* conditional */
    {412, "PreconditionFailed", VERDICT_FAIL, S3PVE_E_CONFLICT, NO},
    {412, "", VERDICT_FAIL, S3PVE_E_CONFLICT, NO},
    {409, "ConditionalRequestConflict", VERDICT_FAIL, S3PVE_E_CONFLICT, NO},
    {409, "", VERDICT_FAIL, S3PVE_E_CONFLICT, NO},
    {304, "", VERDICT_FAIL, S3PVE_E_CONFLICT, NO},
    {409, "BucketAlreadyExists", VERDICT_FAIL, S3PVE_E_CONFLICT, NO},
    {409, "BucketAlreadyOwnedByYou", VERDICT_FAIL, S3PVE_E_CONFLICT, NO},
    {409, "BucketNotEmpty", VERDICT_FAIL, S3PVE_E_CONFLICT, NO},

    /* permanent */
    {400, "InvalidArgument", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {400, "MalformedXML", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {400, "InvalidRequest", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {400, "KeyTooLongError", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {400, "EntityTooSmall", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {400, "EntityTooLarge", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {400, "InvalidPart", VERDICT_FAIL, S3PVE_E_CORRUPT, NO},
    {400, "InvalidPartOrder", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {400, "InvalidBucketName", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {400, "NeverHeardOfIt", VERDICT_REGION, S3PVE_E_INVALID, NO},
    {400, "", VERDICT_REGION, S3PVE_E_INVALID, NO},
    {401, "", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {402, "", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {403, "AccessDenied", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {403, "SignatureDoesNotMatch", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {403, "InvalidAccessKeyId", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {403, "InvalidObjectState", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {403, "AllAccessDisabled", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {403, "AccountProblem", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {403, "AuthFailure", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {403, "RequestExpired", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {400, "InvalidToken", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {403, "", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {407, "", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {404, "NoSuchKey", VERDICT_FAIL, S3PVE_E_NOT_FOUND, NO},
    {404, "NoSuchUpload", VERDICT_FAIL, S3PVE_E_NOT_FOUND, NO},
    {404, "NoSuchVersion", VERDICT_FAIL, S3PVE_E_NOT_FOUND, NO},
    {404, "NoSuchTagSet", VERDICT_FAIL, S3PVE_E_NOT_FOUND, NO},
    {404, "NoSuchLifecycleConfiguration", VERDICT_FAIL, S3PVE_E_NOT_FOUND, NO},
    {404, "", VERDICT_FAIL, S3PVE_E_NOT_FOUND, NO},
    {404, "NoSuchBucket", VERDICT_FAIL, S3PVE_E_NO_BUCKET, NO},
    {405, "MethodNotAllowed", VERDICT_FAIL, S3PVE_E_UNSUPPORTED, NO},
    {405, "", VERDICT_FAIL, S3PVE_E_UNSUPPORTED, NO},
    {411, "", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {413, "", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {416, "InvalidRange", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {416, "", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {302, "", VERDICT_FAIL, S3PVE_E_INVALID, NO},
    {501, "NotImplemented", VERDICT_FAIL, S3PVE_E_UNSUPPORTED, NO},
    {400, "NotImplemented", VERDICT_FAIL, S3PVE_E_UNSUPPORTED, NO},
    {501, "", VERDICT_FAIL, S3PVE_E_UNSUPPORTED, NO},
    {505, "", VERDICT_FAIL, S3PVE_E_UNSUPPORTED, NO},
    {507, "XMinioStorageFull", VERDICT_FAIL, S3PVE_E_NO_SPACE, NO},
    {507, "", VERDICT_FAIL, S3PVE_E_NO_SPACE, NO},
    {403, "QuotaExceeded", VERDICT_FAIL, S3PVE_E_NO_SPACE, NO},
    {400, "XMinioAdminBucketQuotaExceeded", VERDICT_FAIL, S3PVE_E_NO_SPACE, NO},

    /* 200 with an error document */
    {200, "InternalError", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {200, "SlowDown", VERDICT_THROTTLED, S3PVE_E_THROTTLED, NO},
    {200, "InvalidPart", VERDICT_FAIL, S3PVE_E_CORRUPT, NO},
    {200, "NoSuchKey", VERDICT_FAIL, S3PVE_E_NOT_FOUND, NO},
    {200, "AccessDenied", VERDICT_FAIL, S3PVE_E_DENIED, NO},
    {200, "PreconditionFailed", VERDICT_FAIL, S3PVE_E_CONFLICT, NO},
    {200, "NeverHeardOfIt", VERDICT_FAIL, S3PVE_E_IO, MAYBE},
};

static void each_answer(void) {
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        const int status = answers[i].status;
        const char *s3_code = answers[i].s3_code;
        struct outcome o = {.status = status, .s3_code = s3_code};
        const struct judgement got = judge(o);
        const enum verdict once = answers[i].acted ? VERDICT_FAIL : answers[i].verdict;

        is_str(
            verdict_names[got.verdict],
            verdict_names[answers[i].verdict],
            "%d %s: verdict",
            status,
            s3_code
        );
        is_str(
            s3pve_code_name(got.code),
            s3pve_code_name(answers[i].code),
            "%d %s: code",
            status,
            s3_code
        );
        is_int(got.ambiguous, answers[i].acted, "%d %s: ambiguous or not", status, s3_code);

        o.once = true;
        is_str(
            verdict_names[judge(o).verdict],
            verdict_names[once],
            "%d %s: verdict when it must not be sent again",
            status,
            s3_code
        );

        o.method = "GET";
        ok(!judge(o).ambiguous, "%d %s: reading is never ambiguous", status, s3_code);
    }
}

/* ---- no answer, or half of one */

static const struct {
    enum http_failure failure;
    const char *name;
    enum verdict verdict;
    enum s3pve_code code;
    enum maybe acted;
} failures[] = {
    {HTTP_RESOLVE, "no such host", VERDICT_RETRY, S3PVE_E_IO, NO},
    {HTTP_CONNECT, "connection refused", VERDICT_RETRY, S3PVE_E_IO, NO},
    {HTTP_TLS, "handshake broke off", VERDICT_RETRY, S3PVE_E_IO, NO},
    {HTTP_UNTRUSTED, "certificate refused", VERDICT_FAIL, S3PVE_E_IO, NO},
    {HTTP_PLAIN, "no TLS is spoken", VERDICT_FAIL, S3PVE_E_IO, NO},
    {HTTP_TIMEOUT, "timeout", VERDICT_RETRY, S3PVE_E_TIMEOUT, MAYBE},
    {HTTP_BROKEN, "connection lost", VERDICT_RETRY, S3PVE_E_IO, MAYBE},
    {HTTP_STOPPED, "stopped by us", VERDICT_FAIL, S3PVE_E_CANCELLED, MAYBE},
    {HTTP_LOCAL, "our own fault", VERDICT_FAIL, S3PVE_E_INVALID, NO},
};

static void each_failure(void) {
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        const char *name = failures[i].name;
        struct outcome o = {.failure = failures[i].failure, .method = "PUT", .s3_code = ""};
        const struct judgement unsent = retry_judge(&o), got = judge(o);
        const enum verdict once = failures[i].acted ? VERDICT_FAIL : failures[i].verdict;

        expect(o, failures[i].verdict, failures[i].code, name);
        is_int(got.ambiguous, failures[i].acted, "%s: ambiguous or not", name);
        ok(!unsent.ambiguous, "%s: nothing sent, nothing ambiguous", name);
        o.once = true;
        expect(o, once, failures[i].code, name);
        is_int(
            retry_judge(&o).verdict, failures[i].verdict, "%s: unsent, it is sent once still", name
        );
    }
}

static void stale_connections(void) {
    struct outcome o = {.failure = HTTP_STALE, .reused = true, .method = "PUT", .s3_code = ""};

    expect(o, VERDICT_NOW, S3PVE_E_IO, "a stale kept-alive connection");
    o.failure = HTTP_SILENT;
    expect(o, VERDICT_NOW, S3PVE_E_TIMEOUT, "one that was left without an answer");
    o.failure = HTTP_STALE;
    o.reused = false;
    expect(o, VERDICT_RETRY, S3PVE_E_IO, "a new connection without an answer");
    o.reused = o.once = true;
    expect(o, VERDICT_FAIL, S3PVE_E_IO, "a stale connection, to be sent once");
    ok(judge(o).ambiguous, "... may have carried the request");
    is_int(retry_judge(&o).verdict, VERDICT_NOW, "... unless none of it went out");
}

static void broken_bodies(void) {
    struct outcome o = {.failure = HTTP_BROKEN, .status = 403};

    expect(o, VERDICT_FAIL, S3PVE_E_DENIED, "403 whose body broke off, while we still sent");
    o.once = true;
    ok(!judge(o).ambiguous, "... is a refusal");
    o.status = 404;
    expect(o, VERDICT_FAIL, S3PVE_E_NOT_FOUND, "404 whose body broke off");
    o.status = 400;
    o.once = false;
    expect(o, VERDICT_RETRY, S3PVE_E_IO, "400 whose body broke off could be anything");
    o.status = 200;
    expect(o, VERDICT_RETRY, S3PVE_E_IO, "200 whose body broke off");
    o = (struct outcome){.failure = HTTP_STOPPED, .status = 301};
    expect(o, VERDICT_FAIL, S3PVE_E_CANCELLED, "who stopped it does not want another try");
}

/* ---- clocks, buckets, documents */

static void clocks(void) {
    static const char *const suspects[] = {
        "", "AccessDenied", "SignatureDoesNotMatch", "AuthFailure", "RequestExpired"};

    for (size_t i = 0; i < sizeof(suspects) / sizeof(suspects[0]); i++) {
        struct outcome o = {.status = 403, .s3_code = suspects[i], .method = "HEAD"};

        o.skew_s = MINUTES(20);
        expect(o, VERDICT_CLOCK, S3PVE_E_DENIED, "403, and we are 20 minutes slow");
        o.skew_s = -MINUTES(20);
        expect(o, VERDICT_CLOCK, S3PVE_E_DENIED, "403, and we are 20 minutes fast");
        o.skew_s = MINUTES(3);
        expect(o, VERDICT_FAIL, S3PVE_E_DENIED, "403, and 3 minutes are not the reason");
    }
    expect(
        (struct outcome){.status = 403, .s3_code = "InvalidAccessKeyId", .skew_s = MINUTES(20)},
        VERDICT_FAIL,
        S3PVE_E_DENIED,
        "no clock makes a wrong key right"
    );
    expect(
        (struct outcome){.status = 200, .skew_s = MINUTES(20)},
        VERDICT_OK,
        S3PVE_OK,
        "a server that does not mind"
    );
}

static void buckets(void) {
    struct outcome o = {.status = 404, .method = "HEAD", .bucket_level = true};

    expect(o, VERDICT_FAIL, S3PVE_E_NO_BUCKET, "HEAD of the bucket: 404");
    o.s3_code = "NoSuchKey";
    expect(o, VERDICT_FAIL, S3PVE_E_NO_BUCKET, "... whatever its words");
    o.s3_code = "NoSuchTagSet";
    expect(o, VERDICT_FAIL, S3PVE_E_NOT_FOUND, "a bucket without tags is there");
    o.failure = HTTP_BROKEN;
    o.s3_code = "";
    expect(o, VERDICT_FAIL, S3PVE_E_NO_BUCKET, "HEAD of the bucket: 404, then broken off");
}

static void wrong_documents(void) {
    struct outcome o = {.status = 200, .wrong_root = true};

    expect(o, VERDICT_RETRY, S3PVE_E_CORRUPT, "200 with a page that is not S3's");
    ok(judge(o).ambiguous, "... of which a write cannot tell what happened");
    o.once = true;
    expect(o, VERDICT_FAIL, S3PVE_E_CORRUPT, "... and is not sent again blindly");
    o.method = "GET";
    expect(o, VERDICT_RETRY, S3PVE_E_CORRUPT, "... but a listing is, even once");
}

/* ---- backoff */

static void jitter(void) {
    is_int(retry_backoff_ms(50, 0, 0, 0), 0, "the shortest first wait is none");
    is_int(retry_backoff_ms(50, 0, 0, UINT32_MAX), 50, "the longest is the base");
    is_int(retry_backoff_ms(50, 1, 0, UINT32_MAX), 100, "then twice the base");
    is_int(retry_backoff_ms(50, 3, 0, UINT32_MAX), 400, "then 8 times after the fourth failure");
    is_int(retry_backoff_ms(50, 3, 0, UINT32_MAX / 2), 200, "chance picks evenly: half is half");
    is_int(retry_backoff_ms(50, 9, 0, UINT32_MAX), BACKOFF_CAP_MS, "the cap");
    is_int(retry_backoff_ms(1000, 31, 0, UINT32_MAX), BACKOFF_CAP_MS, "... after 31 failures");
    is_int(retry_backoff_ms(1000, UINT32_MAX, 0, UINT32_MAX), BACKOFF_CAP_MS, "... after billions");
    is_int(retry_backoff_ms(0, 5, 0, UINT32_MAX), 0, "no base, no wait");
}

static void retry_after(void) {
    is_int(retry_backoff_ms(50, 0, 3000, 0), 3000, "Retry-After is waited for");
    is_int(retry_backoff_ms(1000, 4, 3000, UINT32_MAX), 16000, "... and more when we want to");
    is_int(retry_backoff_ms(50, 0, 60001, 0), 60000, "... up to a minute");
    is_int(retry_backoff_ms(50, 0, UINT32_MAX, UINT32_MAX), 60000, "... not for ever");
}

int main(void) {
    each_answer();
    each_failure();
    stale_connections();
    broken_bodies();
    clocks();
    buckets();
    wrong_documents();
    jitter();
    retry_after();
    return done_testing();
}
