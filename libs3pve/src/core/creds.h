/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* creds.h - where keys come from, and when they must be fetched again */
#ifndef CORE_CREDS_H
#define CORE_CREDS_H

#include "core/config.h"

struct creds {
    char *access_key, *secret_key, *token; /* owned, "" when none; wiped by creds_clear() */
    int64_t expires_s;                     /* epoch; 0: never */
    bool anonymous;                        /* send no signature at all */
};

/*
 * Find credentials as @config says.  CREDS_AUTO: the options, and the file for what they leave
 * open; anonymous is never guessed.  CREDS_FILE: the file first.  May block for a file, or for
 * IMDSv2 (1 s a request, one attempt, no proxy).  Return: 0, or -1 (INVALID, NOT_FOUND, DENIED, IO,
 * NOMEM).
 */
int creds_load(const struct config *config, struct creds *ret_creds, struct s3pve_error *err);
void creds_clear(struct creds *creds);

/* The address of EC2's metadata service, and its answer; @base_url: another one, for tests. */
#define CREDS_IMDS_URL "http://169.254.169.254"
int creds_load_imds(const char *base_url, struct creds *ret_creds, struct s3pve_error *err);

#endif
