/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* http_failure.h - what libcurl's many reasons for not having an answer mean to us */
#ifndef CORE_HTTP_FAILURE_H
#define CORE_HTTP_FAILURE_H

#include <curl/curl.h>

#include "core/http.h"

/* @reused: over a kept-alive connection; @answered: a status had come. */
enum http_failure http_failure_of(CURLcode code, bool reused, bool answered);

/* Of what a proxy says to CONNECT only this tells us something: it is about our password, where any
 * other status would be taken for the store's. */
void http_note_proxy(CURL *easy, struct transfer *t);

#endif
