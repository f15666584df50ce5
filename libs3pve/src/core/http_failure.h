/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* http_failure.h - what libcurl's many reasons for not having an answer mean to us */
#ifndef CORE_HTTP_FAILURE_H
#define CORE_HTTP_FAILURE_H

#include <curl/curl.h>

#include "core/http.h"

/* @reused: over a kept-alive connection; @answered: a status had come. */
enum http_failure http_failure_of(CURLcode code, bool reused, bool answered);

/*
 * Note in @t, whose exchange ended with @code, the failure and its reason; @text: libcurl's, or "".
 *
 * Of what a proxy says to CONNECT only 407 tells us something: it is about our password, where any
 * other status would be taken for the store's.
 */
void http_failure_note(struct transfer *t, CURL *easy, CURLcode code, const char *text);

#endif
