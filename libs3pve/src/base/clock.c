/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"

struct moment {
    int year, month, day, hour, minute, second; /* month and day count from 1 */
};

static int64_t read_ms(clockid_t clock) {
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_monotonic_ms(void) {
    return read_ms(CLOCK_MONOTONIC);
}

int64_t clock_boottime_ms(void) {
    return read_ms(CLOCK_BOOTTIME);
}

struct timespec clock_timespec(int64_t ms) {
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

struct timespec clock_in_ms(clockid_t clock, int64_t ms) {
    return clock_timespec(read_ms(clock) + ms);
}

int64_t clock_wall_s(void) {
    return time(NULL);
}

/* The take_ functions move *p over what they found, or return false. */
static bool take_digits(const char **p, int min, int max, int *ret_value) {
    int value = 0, n = 0;

    for (; n < max && **p >= '0' && **p <= '9'; n++)
        value = value * 10 + (*(*p)++ - '0');
    *ret_value = value;
    return n >= min;
}

static bool take_char(const char **p, char c) {
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

static bool take_space(const char **p) {
    const size_t n = strspn(*p, " \t");

    *p += n;
    return n > 0;
}

static bool take_time(const char **p, struct moment *m) {
    return take_digits(p, 2, 2, &m->hour) && take_char(p, ':') &&
           take_digits(p, 2, 2, &m->minute) && take_char(p, ':') &&
           take_digits(p, 2, 2, &m->second);
}

static bool take_month(const char **p, struct moment *m) {
    static const char *const names[] = {
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};

    for (int i = 0; i < 12; i++) {
        if (strncasecmp(*p, names[i], 3) == 0) {
            *p += 3;
            m->month = i + 1;
            return true;
        }
    }
    return false;
}

/* "GMT", "UTC", "Z", nothing, or "+hh:mm" with or without its colon */
static bool take_zone(const char **p, int *ret_offset_s) {
    const int sign = **p == '-' ? -1 : 1;
    int hours, minutes;

    *ret_offset_s = 0;
    if (strncmp(*p, "GMT", 3) == 0 || strncmp(*p, "UTC", 3) == 0) {
        *p += 3;
        return true;
    }
    if (take_char(p, 'Z') || !**p)
        return true;
    if ((!take_char(p, '+') && !take_char(p, '-')) || !take_digits(p, 2, 2, &hours))
        return false;
    take_char(p, ':');
    if (!take_digits(p, 2, 2, &minutes) || hours > 14 || minutes > 59)
        return false;

    *ret_offset_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

static int days_in_month(int year, int month) {
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (leap && month == 2 ? 1 : 0);
}

static bool is_possible(const struct moment *m) {
    return m->year >= 1970 && m->month >= 1 && m->month <= 12 && m->day >= 1 &&
           m->day <= days_in_month(m->year, m->month) && m->hour <= 23 && m->minute <= 59 &&
           m->second <= 60; /* a leap second is the next minute's first */
}

static int64_t to_epoch(const struct moment *m) {
    int64_t days = 365LL * (m->year - 1970) + (m->year - 1969) / 4 - (m->year - 1901) / 100 +
                   (m->year - 1601) / 400;

    for (int month = 1; month < m->month; month++)
        days += days_in_month(m->year, month);
    days += m->day - 1;
    return ((days * 24 + m->hour) * 60 + m->minute) * 60 + m->second;
}

static int finish(const char *p, const struct moment *m, int64_t *ret_s) {
    int offset_s;

    take_space(&p);
    if (!take_zone(&p, &offset_s) || p[strspn(p, " \t\r\n")] != '\0' || !is_possible(m))
        return -1;

    *ret_s = to_epoch(m) - offset_s;
    return 0;
}

int clock_parse_http_date(const char *text, int64_t *ret_s) {
    const char *p = text + strspn(text, " \t");
    struct moment m = {0};

    p += strspn(p, "MTWFSmtwfsonuedhriatONUEDHRIAT"); /* the day's name says nothing new */
    take_char(&p, ',');
    take_space(&p);
    if (!take_digits(&p, 1, 2, &m.day) || !take_space(&p) || !take_month(&p, &m) ||
        !take_space(&p) || !take_digits(&p, 4, 4, &m.year) || !take_space(&p) || !take_time(&p, &m))
        return -1;
    return finish(p, &m, ret_s);
}

int clock_parse_iso8601(const char *text, int64_t *ret_s) {
    const char *p = text + strspn(text, " \t\r\n");
    struct moment m = {0};

    if (!take_digits(&p, 4, 4, &m.year) || !take_char(&p, '-') ||
        !take_digits(&p, 2, 2, &m.month) || !take_char(&p, '-') || !take_digits(&p, 2, 2, &m.day) ||
        (!take_char(&p, 'T') && !take_char(&p, ' ')) || !take_time(&p, &m))
        return -1;
    if (take_char(&p, '.'))
        p += strspn(p, "0123456789");
    return finish(p, &m, ret_s);
}
