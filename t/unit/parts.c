/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "base/limits.h"
#include "core/parts.h"
#include "script.h"
#include "tap.h"

static uint64_t reach(const struct config *config, unsigned parts) {
    uint64_t bytes = 0;

    for (unsigned n = 1; n <= parts; n++)
        bytes += parts_size(config, n);
    return bytes;
}

static void ten_thousand_parts_reach_the_largest_object(void) {
    const struct config config = {.max_parts = 10000};

    is_int((long long)parts_size(&config, 1), (long long)MIB(16), "the first has 16 MiB");
    is_int((long long)parts_size(&config, 900), (long long)MIB(16), "... so has the 900th");
    is_int((long long)parts_size(&config, 901), (long long)MIB(32), "then they double");
    is_int((long long)parts_size(&config, 10000), (long long)GIB(1), "the last has 1 GiB");
    ok(reach(&config, 10000) >= LIMIT_OBJECT, "together they hold 5 TiB");
    ok(reach(&config, 900) >= GIB(14), "14 GiB need parts of 16 MiB only");
    is_int((long long)parts_size(&config, 10001), 0, "there is no part beyond the last");
    is_int((long long)parts_size(&config, 0), 0, "nor one before the first");
}

static void a_thousand_parts_begin_larger(void) {
    const struct config config = {.max_parts = 1000};

    is_int((long long)parts_size(&config, 1), (long long)MIB(64), "the first has 64 MiB");
    is_int((long long)parts_size(&config, 91), (long long)MIB(128), "they double after 90");
    is_int((long long)parts_size(&config, 1000), (long long)GIB(5), "the last has what S3 allows");
    ok(reach(&config, 1000) >= 2048 * GIB(1), "together they hold 2 TiB");
}

static void equal_parts_stay_equal(void) {
    const struct config preset = {.max_parts = 10000, .equal_parts = true};
    const struct config chosen = {.max_parts = 10000, .equal_parts = true, .part_size = MIB(100)};

    is_int((long long)parts_size(&preset, 1), (long long)MIB(64), "64 MiB ...");
    is_int((long long)parts_size(&preset, 10000), (long long)MIB(64), "... from first to last");
    is_int((long long)parts_size(&chosen, 10000), (long long)MIB(100), "or what the admin says");
}

static void a_chosen_size_is_where_they_begin(void) {
    const struct config small = {.max_parts = 10000, .part_size = MIB(5)};
    const struct config large = {.max_parts = 10000, .part_size = GIB(2)};
    const struct config odd = {.max_parts = 10000, .part_size = MIB(700)};

    is_int((long long)parts_size(&small, 1), (long long)MIB(5), "5 MiB at first");
    ok(reach(&small, 10000) > 3072 * GIB(1), "... and yet more than 3 TiB");
    is_int((long long)parts_size(&large, 10000), (long long)GIB(2), "2 GiB do not shrink");
    is_int((long long)parts_size(&odd, 901), (long long)GIB(1), "growing stops at 1 GiB");
}

static void sizes_never_shrink_and_stay_within_limits(void) {
    static const unsigned maxima[] = {1, 10, 100, 1000, 9999, 10000};

    for (size_t i = 0; i < sizeof(maxima) / sizeof(maxima[0]); i++) {
        const struct config config = {.max_parts = maxima[i]};
        uint64_t last = LIMIT_PART_MIN;
        bool good = true;

        for (unsigned n = 1; n <= maxima[i]; n++) {
            uint64_t size = parts_size(&config, n);

            good = good && size >= last && size <= LIMIT_PART;
            last = size;
        }
        ok(good, "with %u parts", maxima[i]);
    }
}

static void a_buffer_grows_in_place_and_is_counted(void) {
    struct script s = {0};
    struct s3pve_client *client = script_client(&s, NULL);
    struct part_buffer a = {0}, b = {0};

    is_int(parts_buffer_reserve(client, &a, 5000, false), 0, "memory is lent");
    is_int((long long)a.room, 8192, "... in whole pages");
    memset(a.data, 'x', 8192);
    is_int(parts_buffer_reserve(client, &a, MIB(1), false), 0, "it grows");
    ok(a.data[8191] == 'x' && a.data[8192] == 0, "... keeping what is in it");
    is_int((long long)client->part_memory, (long long)MIB(1), "... and is counted");

    is_int(parts_buffer_reserve(client, &b, STORAGE_MEMORY, false), -1, "beyond the budget");
    ok(!b.data, "... nothing is lent");
    is_int((long long)client->part_memory, (long long)MIB(1), "... nor counted");
    is_int(parts_buffer_reserve(client, &b, STORAGE_MEMORY, true), 0, "unless it must be");

    parts_buffer_shrink(client, &a, 5000);
    is_int((long long)a.room, 8192, "a buffer shrinks to what is used");
    ok(a.data[8191] == 'x', "... and keeps it");
    parts_buffer_free(client, &a);
    parts_buffer_free(client, &a);
    parts_buffer_free(client, &b);
    is_int((long long)client->part_memory, 0, "all is given back, once");
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    ten_thousand_parts_reach_the_largest_object();
    a_thousand_parts_begin_larger();
    equal_parts_stay_equal();
    a_chosen_size_is_where_they_begin();
    sizes_never_shrink_and_stay_within_limits();
    a_buffer_grows_in_place_and_is_counted();
    return done_testing();
}
