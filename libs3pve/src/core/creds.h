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
 * Find credentials as @config says.  CREDS_AUTO: explicit, file, anonymous is never guessed.  May
 * block for a file, or for IMDSv2 (1 s, one attempt, no proxy).  Return: 0, or -1 (INVALID,
 * DENIED).
 */
int creds_load(const struct config *config, struct creds *ret_creds, struct s3pve_error *err);
void creds_clear(struct creds *creds);

#endif
