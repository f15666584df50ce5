/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Dates: what is taken for one is one, and written down again says the same. */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "fuzz.h"

#define DAY_S 86400LL
#define YEAR_10000_S 253402300800LL

static void check_http(const char *text) {
    char again[64];
    int64_t t, u;
    struct tm tm;

    if (clock_parse_http_date(text, &t) < 0)
        return;
    must(t >= -DAY_S && t <= YEAR_10000_S + DAY_S);
    if (t < 0 || t >= YEAR_10000_S) /* its zone has moved it out */
        return;
    gmtime_r(&(time_t){t}, &tm);
    strftime(again, sizeof(again), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    must(clock_parse_http_date(again, &u) == 0 && u == t);
}

static void check_iso(const char *text) {
    char again[64];
    int64_t t, u;
    struct tm tm;

    if (clock_parse_iso8601(text, &t) < 0)
        return;
    must(t >= -DAY_S && t <= YEAR_10000_S + DAY_S);
    if (t < 0 || t >= YEAR_10000_S)
        return;
    gmtime_r(&(time_t){t}, &tm);
    strftime(again, sizeof(again), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
    must(clock_parse_iso8601(again, &u) == 0 && u == t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = strndup((const char *)data, size);

    check_http(text);
    check_iso(text);
    free(text);
    return 0;
}
