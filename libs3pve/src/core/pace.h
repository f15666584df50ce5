/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * pace.h - how many connections one download deserves: a pure function of what was measured
 *
 * One stream costs least: its bytes go from the socket to the file without a stop.  More of them
 * help where a round trip is long or the store limits each connection.  So widths are tried, 1, 4
 * and 8, as long as each brings a quarter more than the last; the best one stays.
 */
#ifndef CORE_PACE_H
#define CORE_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    unsigned width; /* connections for the next stretch */
    bool settled;   /* for good */
    unsigned best_width;
    uint64_t best_rate; /* bytes a millisecond */
};

/* @least: the narrowest width that may be used. */
void pace_begin(struct pace *pace, unsigned least);

/* Bytes of the next stretch. */
uint64_t pace_stretch(const struct pace *pace);

/* @latency_ms: to the first byte of an answer. */
void pace_learn(struct pace *pace, uint64_t bytes, int64_t took_ms, unsigned latency_ms);

#endif
