/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <locale.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "tap.h"

#define NOT_A_DATE (-1234567)

static int64_t http(const char *text) {
    int64_t t = NOT_A_DATE;

    return clock_parse_http_date(text, &t) == 0 ? t : NOT_A_DATE;
}

static int64_t iso(const char *text) {
    int64_t t = NOT_A_DATE;

    return clock_parse_iso8601(text, &t) == 0 ? t : NOT_A_DATE;
}

static void http_dates(void) {
    is_int(http("Mon, 12 Oct 2009 17:50:00 GMT"), 1255369800, "RFC 1123, as S3 sends it");
    is_int(http("Thu, 01 Jan 1970 00:00:00 GMT"), 0, "the epoch");
    is_int(http("Tue, 29 Feb 2000 12:00:00 GMT"), 951825600, "29 February 2000");
    is_int(http("Fri, 31 Dec 9999 23:59:59 GMT"), 253402300799, "the last second of year 9999");
    is_int(http("Sat, 31 Dec 2016 23:59:60 GMT"), 1483228800, "a leap second is the next minute");
    is_int(http("Mon,  1 Jun 2026 01:02:03 GMT"), 1780275723, "a day of one digit");
    is_int(http("1 Jun 2026 01:02:03 GMT"), 1780275723, "without the day's name");
    is_int(http("Mon, 01 Jun 2026 03:02:03 +0200"), 1780275723, "a numeric zone");
    is_int(http("mon, 01 jun 2026 01:02:03 UTC \r\n"), 1780275723, "lower case and a line end");
}

static void http_refusals(void) {
    static const char *const wrong[] = {
        "",
        "0",
        "garbage",
        "Mon, 12 Oct 2009",
        "Mon, 12 Oct 2009 17:50 GMT",
        "Mon, 12 Oct 09 17:50:00 GMT",
        "Mon, 12 Okt 2009 17:50:00 GMT",
        "Mon, 00 Oct 2009 17:50:00 GMT",
        "Mon, 32 Oct 2009 17:50:00 GMT",
        "Wed, 29 Feb 2100 00:00:00 GMT",
        "Mon, 12 Oct 2009 24:00:00 GMT",
        "Mon, 12 Oct 2009 17:60:00 GMT",
        "Mon, 12 Oct 2009 17:50:61 GMT",
        "Mon, 12 Oct 1969 17:50:00 GMT",
        "Mon, 12 Oct 20099 17:50:00 GMT",
        "Mon, 12 Oct 2009 17:50:00 GMTx",
        "Mon, 12 Oct 2009 17:50:00 +9900",
        "Mon, 12 Oct 2009 17:50:00 CEST",
        "Mon, -2 Oct 2009 17:50:00 GMT",
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        is_int(http(wrong[i]), NOT_A_DATE, "no HTTP date: '%s'", wrong[i]);
}

static void iso_dates(void) {
    is_int(iso("2009-10-12T17:50:30.000Z"), 1255369830, "as listings have it");
    is_int(iso("2009-10-12T17:50:30Z"), 1255369830, "without a fraction");
    is_int(iso("2009-10-12T17:50:30.999999999Z"), 1255369830, "nanoseconds are dropped");
    is_int(iso("2009-10-12T19:50:30+02:00"), 1255369830, "east of Greenwich");
    is_int(iso("2009-10-12T13:20:30-0430"), 1255369830, "west of it");
    is_int(iso("2009-10-12T17:50:30"), 1255369830, "no zone is UTC");
    is_int(iso(" 2009-10-12 17:50:30.000Z\t"), 1255369830, "white space around and between");
}

static void iso_refusals(void) {
    static const char *const wrong[] = {
        "",
        "2009-10-12",
        "2009-10-12T17:50Z",
        "2009-1-12T17:50:30Z",
        "2009-13-12T17:50:30Z",
        "2009-00-12T17:50:30Z",
        "2009-02-29T17:50:30Z",
        "2009-10-12T17:50:30.000Zulu",
        "2009-10-12T17:50:30,000Z",
        "2009-10-12T17:50:30+1:00",
        "99999-10-12T17:50:30Z",
        "-009-10-12T17:50:30Z",
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        is_int(iso(wrong[i]), NOT_A_DATE, "no ISO date: '%s'", wrong[i]);
}

/* The C library's calendar is the judge, for every day of four centuries. */
static void agrees_with_the_c_library(void) {
    unsigned wrong = 0, days = 0;

    for (time_t t = 12345; days < 146097; t += 86400, days++) {
        char text[64];
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
        wrong += iso(text) != t;
    }
    is_int(wrong, 0, "%u days in a row are what the C library says", days);
}

static void clocks_run(void) {
    const int64_t before = clock_monotonic_ms();
    const time_t wall = time(NULL);
    struct timespec until;
    int64_t left_ms;

    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    ok(clock_monotonic_ms() - before >= 20, "the monotonic clock counts milliseconds");
    until = clock_timespec(1999);
    ok(until.tv_sec == 1 && until.tv_nsec == 999000000, "a time for a wait");
    until = clock_in_ms(CLOCK_MONOTONIC, 3600999);
    left_ms = (int64_t)until.tv_sec * 1000 + until.tv_nsec / 1000000 - clock_monotonic_ms();
    ok(until.tv_nsec < 1000000000 && left_ms > 3590000 && left_ms <= 3600999, "... from now on");
    ok(llabs(clock_wall_s() - wall) <= 2, "the wall clock counts seconds since the epoch");
}

int main(void) {
    /* Neither may matter. */
    setenv("TZ", "America/St_Johns", 1);
    tzset();
    setlocale(LC_ALL, "");

    http_dates();
    http_refusals();
    iso_dates();
    iso_refusals();
    agrees_with_the_c_library();
    clocks_run();
    return done_testing();
}
