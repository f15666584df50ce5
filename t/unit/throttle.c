/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stddef.h>

#include "core/throttle.h"
#include "tap.h"

#define RATE 1000000 /* bytes a second: one byte a microsecond */
#define START 5000   /* ms; a clock starts anywhere */

/* Takes as much as it can until @end_ms, waiting as long as it is told.  Returns the bytes. */
static uint64_t run(struct throttle *t, uint64_t want, int64_t start_ms, int64_t end_ms) {
    uint64_t sum = 0;

    for (int64_t now = start_ms; now < end_ms;) {
        const uint64_t got = throttle_take(t, want, now);

        sum += got;
        if (!got)
            now += throttle_wait_ms(t, now);
    }
    return sum;
}

static void no_limit(void) {
    struct throttle t = {0};

    is_int(throttle_take(&t, 1 << 30, 0), 1 << 30, "a fresh throttle limits nothing");
    throttle_set(&t, 0, START);
    is_int(throttle_take(&t, 1 << 30, START), 1 << 30, "nor does one set to 0");
    throttle_spend(&t, 1 << 30, START);
    is_int(throttle_wait_ms(&t, START), 0, "... nor does it make anybody wait");
}

static void bursts(void) {
    struct throttle t = {0};

    throttle_set(&t, RATE, START);
    is_int(throttle_take(&t, 10 * RATE, START), RATE / 4, "a burst is 250 ms worth");
    is_int(throttle_take(&t, 10 * RATE, START), 0, "then nothing goes");
    is_int(throttle_take(&t, 10 * RATE, START + 100), RATE / 10, "100 ms later 100 ms worth");
    is_int(
        throttle_take(&t, 10 * RATE, START + 3600000), RATE / 4, "an idle hour saves 250 ms worth"
    );
    is_int(throttle_take(&t, 7, START + 3600100), 7, "who wants less gets what he wants");
    is_int(throttle_take(&t, RATE, START + 3600100), RATE / 10 - 7, "... and leaves the rest");
}

static void waits(void) {
    struct throttle t = {0};
    unsigned wait;

    throttle_set(&t, RATE, START);
    is_int(throttle_wait_ms(&t, START), 0, "a full throttle lets go at once");
    throttle_take(&t, RATE, START);
    wait = throttle_wait_ms(&t, START);
    is_int(wait, 10, "an empty one after 10 ms");
    is_int(throttle_take(&t, RATE, START + wait - 1), 0, "not a millisecond before");
    ok(throttle_take(&t, RATE, START + wait) >= 10000, "then 10 ms worth, no trickle");
    throttle_take(&t, RATE, START + 2 * wait);
    is_int(throttle_take(&t, 100, START + 2 * wait + 1), 100, "a small piece goes when it fits");
}

static void debts(void) {
    struct throttle t = {0};

    throttle_set(&t, RATE, START);
    throttle_spend(&t, RATE / 4 + RATE, START);
    is_int(throttle_wait_ms(&t, START), 1010, "a second's worth too much is waited off");
    is_int(throttle_take(&t, 1, START + 1000), 0, "until then nothing goes");
    is_int(throttle_take(&t, 1, START + 1001), 1, "then it does");
    throttle_spend(&t, UINT64_MAX, START + 1001);
    throttle_spend(&t, UINT64_MAX, START + 1001);
    is_int(throttle_wait_ms(&t, START + 1001), 60000, "a mad debt: ask again in a minute");
    is_int(throttle_take(&t, 1, START + 100000), 0, "... it is owed still");
}

static void long_runs(void) {
    static const uint64_t rates[] = {1, 3, 333, 1000, 1023, 48611, RATE, 10485761, 1234567891};

    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct throttle t = {0};
        const uint64_t rate = rates[i];
        const uint64_t burst = rate / 4 ? rate / 4 : 1, want = rate / 300 + 1;
        uint64_t sum;

        throttle_set(&t, rate, START);
        sum = run(&t, want, START, START + 60000);
        ok(sum <= 60 * rate + burst, "%llu B/s for a minute: not more", (unsigned long long)rate);
        ok(sum + rate / 50 + 1 >= 60 * rate, "... and not less (%llu)", (unsigned long long)sum);
    }
}

/* Asking often must neither lose fractions of a byte nor win any. */
static void impatience(void) {
    struct throttle t = {0};
    uint64_t sum = 0;

    throttle_set(&t, 300, START);
    throttle_take(&t, 300, START);
    for (int64_t now = START; now <= START + 100000; now++) {
        throttle_wait_ms(&t, now);
        sum += throttle_take(&t, 300, now);
    }
    is_int(sum + (uint64_t)t.level, 30000, "100 s of 300 B/s, asked every millisecond: 30000");
}

static void clocks(void) {
    struct throttle t = {0};

    throttle_set(&t, RATE, START);
    throttle_take(&t, RATE, START);
    is_int(throttle_take(&t, RATE, START - 1000), 0, "a clock that goes back gives nothing");
    is_int(throttle_take(&t, RATE, START - 900), RATE / 10, "... and costs nothing");
    is_int(throttle_take(&t, RATE, INT64_MAX), RATE / 4, "the end of time is a burst");
}

static void changes(void) {
    struct throttle t = {0};

    throttle_set(&t, RATE, START);
    throttle_set(&t, RATE / 10, START);
    is_int(throttle_take(&t, RATE, START), RATE / 40, "a lower rate has a lower burst");
    throttle_spend(&t, RATE, START);
    throttle_set(&t, RATE, START);
    is_int(throttle_wait_ms(&t, START), 1010, "a new rate does not forgive a debt");
    throttle_set(&t, 0, START);
    is_int(throttle_take(&t, RATE, START), RATE, "no limit any more");
    throttle_set(&t, UINT64_MAX, START);
    is_int(throttle_take(&t, RATE, START), RATE, "a limit beyond all networks is one too");
    is_int(throttle_wait_ms(&t, START), 0, "... that nobody meets");
}

static void those_who_wait_take_turns(void) {
    struct throttle t = {0};
    struct throttle_place a = {0}, b = {0}, c = {0};

    throttle_set(&t, 1000, 0);
    throttle_take(&t, 250, 0);
    is_int(throttle_next_ms(&t, 0, 500), 500, "while nobody waits there is no turn to wait for");
    throttle_wait(&t, &a);
    throttle_wait(&t, &b);
    throttle_wait(&t, &c);
    ok(!throttle_next(&t, 0), "nor one while nothing may go");
    is_int(throttle_next_ms(&t, 0, 500), 10, "... but soon");
    throttle_leave(&b);
    throttle_leave(&b);
    ok(throttle_next(&t, 10) == &a, "who came first goes first");
    throttle_take(&t, 1000, 10);
    throttle_wait(&t, &a);
    ok(!throttle_next(&t, 11), "he took it all");
    ok(throttle_next(&t, 20) == &c, "... and is behind the others then");
    ok(throttle_next(&t, 20) == &a, "... of whom some may have left");
    ok(!throttle_next(&t, 20), "that was all");
    ok(!a.throttle && !b.throttle && !c.throttle, "... and nobody waits");
}

int main(void) {
    no_limit();
    bursts();
    waits();
    debts();
    long_runs();
    impatience();
    clocks();
    changes();
    those_who_wait_take_turns();
    return done_testing();
}
