/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* probe_private.h - what probe*.c share */
#ifndef CORE_PROBE_PRIVATE_H
#define CORE_PROBE_PRIVATE_H

#include "base/limits.h"
#include "core/client.h"
#include "core/request.h"

#define PROBE_BODY_LEN 32

enum {
    PROBE_CONDITION,
    PROBE_MD5,
    PROBE_CRC32C,
    PROBE_MISSING, /* nothing is there */
    PROBE_RACE,    /* PROBE_RACES of them */
    PROBE_KEYS = PROBE_RACE + PROBE_RACES,
};

struct probe {
    struct s3pve_client *client;
    struct s3pve_call call;
    struct s3pve_caps caps;
    char keys[PROBE_KEYS][64];
    char etag[S3PVE_ETAG_MAX], old_etag[S3PVE_ETAG_MAX];
    char upload_id[LIMIT_UPLOAD_ID + 1]; /* "" none open */
    bool may_exist[PROBE_KEYS];
    unsigned n_bodies;
    char body[PROBE_BODY_LEN + 1]; /* of the last PUT: never twice the same */
};

/* Send it; the answer's code, OK included, goes to *ret_code.  Return: 0, or -1 when the failure
 * says nothing of the server's abilities. */
int probe_ask(
    struct probe *probe, struct request *rq, enum s3pve_code *ret_code, struct s3pve_error *err
);

/* What it means when the server was asked for something it had to refuse with @refusal ... */
enum s3pve_support probe_refused(enum s3pve_code code, enum s3pve_code refusal);
/* ... and for something it should do. */
enum s3pve_support probe_accepted(enum s3pve_code code);

/* The text of the first element of that name in the answer; "" when there is none. */
void probe_text(const struct request *rq, const char *name, char *to, size_t room);

/* Bytes that no PUT had before. */
void probe_new_body(struct probe *probe);

/* UploadPartCopy and conditional Complete.  Return: 0, or -1. */
int probe_multipart(struct probe *probe, struct s3pve_error *err);

/* Conditions that were kept so far, once more with many writers at once.  Return: 0, or -1. */
int probe_race(struct probe *probe, struct s3pve_error *err);

#endif
