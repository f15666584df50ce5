/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/pace.h"
#include "base/limits.h"

#define WIDTH_MAX (READ_AHEAD_MAX / READ_CHUNK)
#define NEAR_MS 5 /* a LAN answers sooner */

void pace_begin(struct pace *pace, unsigned least) {
    *pace = (struct pace){.width = least, .best_width = least};
}

uint64_t pace_stretch(const struct pace *pace) {
    return pace->settled ? LIMIT_OBJECT : GET_STRETCH * pace->width;
}

void pace_learn(struct pace *pace, uint64_t bytes, int64_t took_ms, unsigned latency_ms) {
    uint64_t rate = bytes / (uint64_t)(took_ms > 0 ? took_ms : 1);

    if (pace->settled)
        return;
    if (rate <= pace->best_rate + pace->best_rate / 4) {
        pace->width = pace->best_width;
        pace->settled = true;
        return;
    }
    pace->best_rate = rate;
    pace->best_width = pace->width;
    if (pace->width >= WIDTH_MAX || (rate >= GET_FAST && latency_ms <= NEAR_MS)) {
        pace->settled = true;
        return;
    }
    pace->width = pace->width < 4 ? 4 : WIDTH_MAX;
}
