/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/pace.h"
#include "base/limits.h"
#include "tap.h"

/* Bytes a millisecond, MB/s more or less. */
#define RATE(n) ((uint64_t)(n)*1000)

static void feed(struct pace *pace, uint64_t rate, unsigned latency_ms) {
    pace_learn(pace, rate * 1000, 1000, latency_ms);
}

static void a_fast_stream_stays_alone(void) {
    struct pace pace;

    pace_begin(&pace, 1);
    is_int((long long)pace_stretch(&pace), (long long)MIB(32), "the first stretch is short");
    feed(&pace, RATE(600), 1);
    is_int(pace.width, 1, "600 MB/s need no company");
    ok(pace.settled, "... and that is final");
    ok(pace_stretch(&pace) >= LIMIT_OBJECT, "the rest is one stretch");
}

static void a_slow_stream_tries_more_and_keeps_what_helps(void) {
    struct pace pace;

    pace_begin(&pace, 1);
    feed(&pace, RATE(50), 30);
    is_int(pace.width, 4, "50 MB/s: four connections are tried");
    feed(&pace, RATE(190), 30);
    is_int(pace.width, 8, "they help: eight are tried");
    feed(&pace, RATE(200), 30);
    is_int(pace.width, 4, "which helps little: back to four");
    ok(pace.settled, "... for good");
}

static void a_slow_disk_gets_no_more_connections(void) {
    struct pace pace;

    pace_begin(&pace, 1);
    feed(&pace, RATE(100), 1);
    feed(&pace, RATE(100), 1);
    is_int(pace.width, 1, "where four are no faster, one is enough");
    ok(pace.settled, "... for good");
}

static void far_away_more_are_tried_even_when_fast(void) {
    struct pace pace;

    pace_begin(&pace, 1);
    feed(&pace, RATE(300), 40);
    is_int(pace.width, 4, "40 ms away, 300 MB/s may be the window's limit");
}

static void no_time_is_not_divided_by(void) {
    struct pace pace;

    pace_begin(&pace, 2);
    pace_learn(&pace, 10, 0, 0);
    is_int(pace.width, 4, "ten bytes in no time are still slow");
}

int main(void) {
    a_fast_stream_stays_alone();
    a_slow_stream_tries_more_and_keeps_what_helps();
    a_slow_disk_gets_no_more_connections();
    far_away_more_are_tried_even_when_fast();
    no_time_is_not_divided_by();
    return done_testing();
}
