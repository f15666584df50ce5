/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <curl/curl.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/http_trust.h"

/* Stands in for OpenSSL's chain check: the leaf is the pinned one, or the handshake fails. */
static int verify_pinned(X509_STORE_CTX *store, void *ctx) {
    const struct http_trust *trust = ctx;
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (leaf && X509_digest(leaf, EVP_sha256(), digest, &n) && n == sizeof(trust->fingerprint) &&
        CRYPTO_memcmp(digest, trust->fingerprint, n) == 0) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
    return 0;
}

static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *ctx) {
    SSL_CTX_set_cert_verify_callback(ssl_ctx, verify_pinned, ctx);
    return CURLE_OK;
}

int http_trust_set(struct http_trust *trust, const struct config *config) {
    *trust = (struct http_trust){0};
    if (config->fingerprint && *config->fingerprint) {
        trust->pinned = true;
        for (int i = 0; i < 32; i++) {
            unsigned byte = 0;

            sscanf(config->fingerprint + (size_t)2 * i, "%2x", &byte);
            trust->fingerprint[i] = (unsigned char)byte;
        }
    }
    if (config->ca_file && *config->ca_file) {
        trust->ca_file = strdup(config->ca_file);
        if (!trust->ca_file)
            return -1;
    }
    return 0;
}

void http_trust_apply(struct http_trust *trust, void *easy) {
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (trust->ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, trust->ca_file);
    if (!trust->pinned)
        return;

    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, trust);
}

void http_trust_clear(struct http_trust *trust) {
    free(trust->ca_file);
    trust->ca_file = NULL;
}
