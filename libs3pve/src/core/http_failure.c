/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/http_failure.h"

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

void http_note_proxy(CURL *easy, struct transfer *t) {
    long status = 0;

    curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &status);
    if (!t->status && status == 407)
        t->status = 407;
}
