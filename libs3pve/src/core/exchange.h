/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * exchange.h - one attempt of a request: addressed, signed, its answer taken in
 *
 * Between the engine, which decides when and whether, and http.c, which moves bytes.
 */
#ifndef CORE_EXCHANGE_H
#define CORE_EXCHANGE_H

#include "base/buf.h"
#include "core/client.h"
#include "core/http.h"
#include "core/request.h"
#include "core/retry.h"
#include "core/xml.h"

#define EXCHANGE_HEADERS 40 /* request headers of one attempt */

struct exchange {
    struct transfer transfer;
    struct s3pve_client *client; /* borrowed */
    struct request *rq;          /* borrowed */
    struct buf url;
    char *headers[EXCHANGE_HEADERS + 1]; /* owned lines, NULL-terminated */
    unsigned n_headers;
    struct reply reply;
    struct buf body;
    unsigned n_reply_headers;
    unsigned creds_serial; /* of the keys it was signed with */
    char region[64];       /* it was signed for */
    int64_t signed_s;      /* what our corrected clock said ... */
    int64_t corrected_s;   /* ... and by how much it was corrected */
    int64_t skew_s;        /* the server's clock minus ours, uncorrected, when its Date arrived */
    bool moved;            /* a byte, in this attempt */
    bool started_body, enough;
    enum s3pve_code refused; /* why we stopped reading, or S3PVE_OK */
    char why[160];
    struct xml_error error; /* parsed from the body when it is an error document */
    bool has_error, wrong_root;
};

/*
 * Hash the body, once for all attempts: in the submitting thread and without a lock, since a large
 * body takes a while, and so that what is damaged in our memory later does not fit any more.
 */
void exchange_hash(struct s3pve_client *client, struct request *rq);

/* Address and sign.  The client's keys and clock are read under its lock.
 * Return: 0, or -1 with @err set (NOMEM, INVALID). */
int exchange_new(
    struct s3pve_client *client,
    struct request *rq,
    struct exchange **ret_exchange,
    struct s3pve_error *err
);

/* The transfer is over: read the document, if any, and state the facts for retry_judge(). */
void exchange_facts(struct exchange *ex, struct outcome *ret_outcome);

/* Describe the failure for people. */
void exchange_describe(
    const struct exchange *ex, enum s3pve_code code, struct s3pve_error *ret_error
);

void exchange_free(struct exchange *ex);

#endif
