/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/http_failure.h"

#include <string.h>

#include "tap.h"

static const struct {
    CURLcode code;
    enum http_failure fresh, reused, answered; /* no answer, on which connection; or part of one */
} rows[] = {
    {CURLE_OK, HTTP_FINE, HTTP_FINE, HTTP_FINE},
    {CURLE_COULDNT_RESOLVE_PROXY, HTTP_RESOLVE, HTTP_RESOLVE, HTTP_RESOLVE},
    {CURLE_COULDNT_RESOLVE_HOST, HTTP_RESOLVE, HTTP_RESOLVE, HTTP_RESOLVE},
    {CURLE_COULDNT_CONNECT, HTTP_CONNECT, HTTP_CONNECT, HTTP_CONNECT},
    {CURLE_SSL_CONNECT_ERROR, HTTP_TLS, HTTP_TLS, HTTP_TLS},
    {CURLE_PEER_FAILED_VERIFICATION, HTTP_UNTRUSTED, HTTP_UNTRUSTED, HTTP_UNTRUSTED},
    {CURLE_SSL_CACERT_BADFILE, HTTP_UNTRUSTED, HTTP_UNTRUSTED, HTTP_UNTRUSTED},
    {CURLE_SSL_CERTPROBLEM, HTTP_UNTRUSTED, HTTP_UNTRUSTED, HTTP_UNTRUSTED},
    {CURLE_SSL_ISSUER_ERROR, HTTP_UNTRUSTED, HTTP_UNTRUSTED, HTTP_UNTRUSTED},
    {CURLE_SSL_PINNEDPUBKEYNOTMATCH, HTTP_UNTRUSTED, HTTP_UNTRUSTED, HTTP_UNTRUSTED},
    {CURLE_OPERATION_TIMEDOUT, HTTP_TIMEOUT, HTTP_TIMEOUT, HTTP_TIMEOUT},
    {CURLE_WRITE_ERROR, HTTP_STOPPED, HTTP_STOPPED, HTTP_STOPPED},
    {CURLE_ABORTED_BY_CALLBACK, HTTP_STOPPED, HTTP_STOPPED, HTTP_STOPPED},
    {CURLE_OUT_OF_MEMORY, HTTP_LOCAL, HTTP_LOCAL, HTTP_BROKEN},
    {CURLE_URL_MALFORMAT, HTTP_LOCAL, HTTP_LOCAL, HTTP_LOCAL},
    {CURLE_LOGIN_DENIED, HTTP_LOCAL, HTTP_LOCAL, HTTP_LOCAL},
    {CURLE_UNSUPPORTED_PROTOCOL, HTTP_BROKEN, HTTP_STALE, HTTP_BROKEN},
    {CURLE_GOT_NOTHING, HTTP_BROKEN, HTTP_STALE, HTTP_BROKEN},
    {CURLE_SEND_ERROR, HTTP_BROKEN, HTTP_STALE, HTTP_BROKEN},
    {CURLE_RECV_ERROR, HTTP_BROKEN, HTTP_STALE, HTTP_BROKEN},
    {CURLE_PARTIAL_FILE, HTTP_BROKEN, HTTP_BROKEN, HTTP_BROKEN},
    {CURLE_WEIRD_SERVER_REPLY, HTTP_BROKEN, HTTP_BROKEN, HTTP_BROKEN},
    {CURLE_BAD_CONTENT_ENCODING, HTTP_BROKEN, HTTP_BROKEN, HTTP_BROKEN},
};

static struct transfer note(const char *url, CURLcode code, const char *text) {
    struct transfer t = {.url = url};
    CURL *easy = curl_easy_init();

    http_failure_note(&t, easy, code, text);
    curl_easy_cleanup(easy);
    return t;
}

static void the_wrong_scheme_is_told(void) {
    static const char plain[] = "error:0A00010B:SSL routines::wrong version number";
    struct transfer t = note("https://s3/", CURLE_SSL_CONNECT_ERROR, plain);

    is_int(t.failure, HTTP_PLAIN, "https where no TLS is spoken is told from other handshakes");
    ok(strstr(t.detail, "say http://") && !strstr(t.detail, "0A00010B"), "... in words for people");
    t = note("https://s3/", CURLE_SSL_CONNECT_ERROR, "unexpected eof while reading");
    is_int(t.failure, HTTP_TLS, "another failure of a handshake is just that");
    is_str(t.detail, "unexpected eof while reading", "... in libcurl's words");

    t = note("http://s3/", CURLE_GOT_NOTHING, "Empty reply from server");
    is_str(
        t.detail,
        "Empty reply from server; if it speaks TLS, say https:// for http://",
        "http where TLS may be spoken is told, too"
    );
    t = note("http://s3/", CURLE_UNSUPPORTED_PROTOCOL, "");
    ok(strstr(t.detail, "say https://"), "... also when what came is no HTTP");
    t = note("https://s3/", CURLE_GOT_NOTHING, "Empty reply from server");
    is_str(t.detail, "Empty reply from server", "... and not where https was asked for");
}

int main(void) {
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *name = curl_easy_strerror(rows[i].code);

        is_int(http_failure_of(rows[i].code, false, false), rows[i].fresh, "%s", name);
        is_int(http_failure_of(rows[i].code, true, false), rows[i].reused, "... kept alive");
        is_int(http_failure_of(rows[i].code, true, true), rows[i].answered, "... in an answer");
        is_int(http_failure_of(rows[i].code, false, true), rows[i].answered, "... of a new one");
    }
    the_wrong_scheme_is_told();
    return done_testing();
}
