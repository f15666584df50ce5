/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * sigv4.h - AWS Signature Version 4 as S3 does it: a pure function of request, keys and time
 *
 * S3's flavour: the path is encoded once and never normalised.  Specification: AWS "Signature
 * Version 4 signing process" and the S3 API reference, "Authenticating Requests".
 */
#ifndef CORE_SIGV4_H
#define CORE_SIGV4_H

#include <stddef.h>
#include <stdint.h>

#include <stdbool.h>
#include <sys/uio.h>

#include "base/buf.h"

#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"
#define SIGV4_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct sigv4_pair {
    const char *name;
    const char *value;
};

struct sigv4_request {
    const char *method;
    const char *path;               /* encoded, as on the wire, e.g. "/bucket/a%20b" */
    const struct sigv4_pair *query; /* raw, any order */
    size_t n_query;
    const struct sigv4_pair *headers; /* all that are signed, any case and order; with host */
    size_t n_headers;
    const char *payload_hash; /* hex SHA-256, or SIGV4_UNSIGNED, which NULL means too */
};

struct sigv4_scope {
    const char *region;
    const char *service; /* "s3" */
    int64_t time_s;      /* epoch */
};

/* The derived key, kept for a day and region: four HMACs saved a request. */
struct sigv4_key {
    char date[9], region[64], service[16];
    unsigned char key[32];
};

/* Percent-encode as SigV4 wants: unreserved stay, hex in upper case; '/' stays if @keep_slash. */
int sigv4_encode(struct buf *out, const char *text, size_t len, bool keep_slash);

/* "YYYYMMDDTHHMMSSZ" */
void sigv4_timestamp(int64_t time_s, char ret_stamp[17]);

/* Return: 0, or -1 (no memory, or a secret, region or service that is too long). */
int sigv4_derive(struct sigv4_key *key, const char *secret, const struct sigv4_scope *scope);
/* Was it derived for this day, region and service?  It cannot tell whose secret it was. */
bool sigv4_key_fits(const struct sigv4_key *key, const struct sigv4_scope *scope);
void sigv4_key_wipe(struct sigv4_key *key);

/* The two intermediate texts, for tests and --debug. */
int sigv4_canonical(const struct sigv4_request *rq, struct buf *out);
int sigv4_string_to_sign(const struct sigv4_scope *scope, const char *canonical, struct buf *out);

/* The value of the Authorization header.  Fails when @key is not derived for @scope. */
int sigv4_authorization(
    const struct sigv4_request *rq,
    const struct sigv4_scope *scope,
    const char *access_key,
    const struct sigv4_key *key,
    struct buf *out
);

/* The query string of a presigned URL, without '?'.  rq->query: further parameters; rq->headers:
 * usually just host.  @token may be NULL; @lifetime_s is 1 to 604800. */
int sigv4_presign(
    const struct sigv4_request *rq,
    const struct sigv4_scope *scope,
    const char *access_key,
    const char *token,
    const struct sigv4_key *key,
    unsigned lifetime_s,
    struct buf *out
);

/* Hex digest of scattered data.  Return: 0, or -1 with an empty @ret_hex (no memory). */
int sigv4_hash(const struct iovec *iov, size_t n_iov, char ret_hex[65]);

#endif
