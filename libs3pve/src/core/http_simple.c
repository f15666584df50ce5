/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* http_simple.c - one small exchange with the machine's own metadata service: no proxy, no retry */
#include <curl/curl.h>
#include <string.h>

#include "core/error.h"
#include "core/http.h"

static size_t keep(char *data, size_t size, size_t n, void *ctx) {
    return buf_add(ctx, data, size * n) < 0 ? 0 : size * n;
}

void http_free_headers(struct curl_slist *list) {
    for (struct curl_slist *line = list; line; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(list);
}

int http_simple(
    const char *method,
    const char *url,
    const char *const *headers,
    unsigned timeout_ms,
    struct buf *ret_body,
    struct s3pve_error *err
) {
    struct curl_slist *list = NULL;
    CURL *easy = curl_easy_init();
    CURLcode code;
    long status = 0;

    if (!easy)
        return error_set(err, S3PVE_E_NOMEM, "%s", url);

    for (size_t i = 0; headers && headers[i]; i++)
        list = curl_slist_append(list, headers[i]);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, ret_body);
    code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    http_free_headers(list);

    if (code != CURLE_OK)
        return error_set(err, S3PVE_E_IO, "%s: %s", url, curl_easy_strerror(code));
    if (status != 200)
        return error_set(err, S3PVE_E_DENIED, "%s: %ld", url, status);
    return 0;
}
