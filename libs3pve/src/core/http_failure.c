/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/http_failure.h"

#include <stdio.h>
#include <string.h>

enum http_failure http_failure_of(CURLcode code, bool reused, bool answered) {
    switch (code) {
    case CURLE_OK: return HTTP_FINE;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST: return HTTP_RESOLVE;
    case CURLE_COULDNT_CONNECT: return HTTP_CONNECT;
    case CURLE_SSL_CONNECT_ERROR: return HTTP_TLS;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_ISSUER_ERROR: return HTTP_UNTRUSTED;
    case CURLE_OPERATION_TIMEDOUT: return HTTP_TIMEOUT;
    case CURLE_WRITE_ERROR:
    case CURLE_ABORTED_BY_CALLBACK: return HTTP_STOPPED;
    case CURLE_OUT_OF_MEMORY: /* libcurl's word for a header beyond its bounds, too */
        return answered ? HTTP_BROKEN : HTTP_LOCAL;
    case CURLE_LOGIN_DENIED: /* a proxy's; asking again would be no better */
    case CURLE_URL_MALFORMAT: return HTTP_LOCAL;
    case CURLE_UNSUPPORTED_PROTOCOL: /* an answer that is not HTTP; our own URLs were checked */
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR: return reused && !answered ? HTTP_STALE : HTTP_BROKEN;
    default: return HTTP_BROKEN;
    }
}

/* In OpenSSL's words: the other end's first bytes were no TLS. */
static bool is_plain(CURLcode code, const char *text) {
    return code == CURLE_SSL_CONNECT_ERROR && strstr(text, "wrong version number");
}

/* A TLS server that is spoken to in the clear hangs up, or sends what is no HTTP. */
static bool may_be_tls(const struct transfer *t, CURLcode code) {
    return (code == CURLE_GOT_NOTHING || code == CURLE_UNSUPPORTED_PROTOCOL) && !t->reused &&
           strncmp(t->url, "http://", strlen("http://")) == 0;
}

static void note_proxy(CURL *easy, struct transfer *t) {
    long status = 0;

    curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &status);
    if (!t->status && status == 407)
        t->status = 407;
}

void http_failure_note(struct transfer *t, CURL *easy, CURLcode code, const char *text) {
    t->failure = http_failure_of(code, t->reused, t->status != 0);
    if (t->failure == HTTP_FINE)
        return;
    note_proxy(easy, t);
    if (is_plain(code, text)) {
        t->failure = HTTP_PLAIN;
        text = "it speaks no TLS at this port; if that is plain http, say http:// for https://";
    }
    snprintf(
        t->detail,
        sizeof(t->detail),
        "%.100s%s",
        *text ? text : curl_easy_strerror(code),
        may_be_tls(t, code) ? "; if it speaks TLS, say https:// for http://" : ""
    );
}
