/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * http_trust.h - whom we believe on https: the system's CAs, a CA file, or one certificate
 *
 * A fingerprint is Proxmox's idiom: SHA-256 of the server's certificate (DER), accepted whatever
 * its chain, name and date are, and nothing else is accepted.
 */
#ifndef CORE_HTTP_TRUST_H
#define CORE_HTTP_TRUST_H

#include <stdbool.h>

#include "core/config.h"

struct http_trust {
    bool pinned;
    unsigned char fingerprint[32];
    char *ca_file; /* owned, or NULL */
};

/* Return: 0, or -1 without memory. */
int http_trust_set(struct http_trust *trust, const struct config *config);
void http_trust_apply(struct http_trust *trust, void *easy); /* a CURL *; @trust must outlive it */
void http_trust_clear(struct http_trust *trust);

#endif
