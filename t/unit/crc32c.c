/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "base/crc32c.h"
#include "tap.h"

/* The definition, a bit at a time. */
static uint32_t slow(uint32_t crc, const unsigned char *data, size_t len) {
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

int main(void) {
    unsigned char data[4099];
    bool same = true;

    is_int(crc32c(0, "123456789", 9), 0xe3069283, "the catalogue's check value");
    is_int(crc32c(0, "", 0), 0, "nothing sums to nothing");

    memset(data, 0, 32);
    is_int(crc32c(0, data, 32), 0x8a9136aa, "32 zeroes, as in RFC 3720");
    memset(data, 0xff, 32);
    is_int(crc32c(0, data, 32), 0x62a8ab43, "32 ones, as in RFC 3720");

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i * 131 + (i >> 7));
    for (size_t from = 0; from < 9; from++) {
        for (size_t len = 0; len + from < sizeof(data); len += 37)
            same = same && crc32c(1, data + from, len) == slow(1, data + from, len);
    }
    ok(same, "it agrees with the definition at any alignment and length");
    is_int(
        crc32c(crc32c(0, data, 1000), data + 1000, 3099),
        crc32c(0, data, 4099),
        "it can be continued"
    );
    return done_testing();
}
