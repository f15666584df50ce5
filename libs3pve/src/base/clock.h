/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* clock.h - what time it is, and what time a text says; independent of locale and time zone */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

int64_t clock_monotonic_ms(void); /* for deadlines: never goes back, counts from anywhere */
int64_t clock_boottime_ms(void);  /* the same, and it goes on while the machine sleeps */
int64_t clock_wall_s(void);       /* seconds since the epoch, as the node believes */

/* What functions that wait until then want: @ms of one of the clocks above, or in @ms from now by a
 * condition's clock, which is CLOCK_REALTIME unless it was told otherwise. */
struct timespec clock_timespec(int64_t ms);
struct timespec clock_in_ms(clockid_t clock, int64_t ms);

/*
 * Texts into seconds since the epoch.  Years 1970 to 9999; nothing but white space may follow.
 * Return: 0, or -1 when the text is not such a date.
 */

/* RFC 1123, as in Date, Last-Modified and Retry-After: "Mon, 12 Oct 2009 17:50:00 GMT" */
int clock_parse_http_date(const char *text, int64_t *ret_s);

/* ISO 8601, as in listings: "2009-10-12T17:50:30.000Z"; the fraction is dropped, a zone of hours
 * and minutes respected, a missing one is UTC. */
int clock_parse_iso8601(const char *text, int64_t *ret_s);

#endif
