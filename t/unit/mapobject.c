/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A MAP object's header comes back as it went; a bit that is not as it went is noticed. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "golden.h"
#include "tap.h"
#include "volume/mapobject.h"
#include "volume/pack.h"

static const uint8_t uuid[UUID_LEN] = "0123456789abcdef";
static const struct map_id id = {{4097, 7, 0x9f3c21aa}, 2};
static struct page_entry pages[] = {
    {PAGE_LEAF, 4096, 40, 0x11111111},
    {PAGE_NODE, 4, 24, 0x22222222},
};

static void encode(struct buf *out) {
    struct map_object object = {.id = id, .made_ns = 1234567890, .pages = pages, .n_pages = 2};

    memcpy(object.uuid, uuid, UUID_LEN);
    if (map_object_encode(&object, out) < 0)
        abort();
}

static int decode(const struct buf *out, struct s3pve_error *err) {
    _cleanup_(map_object_clear) struct map_object back;

    return map_object_decode(&back, out->data, out->len, &id, uuid, err);
}

static void test_round_trip(void) {
    _cleanup_(buf_clear) struct buf out = {0};
    _cleanup_(map_object_clear) struct map_object back = {0};
    char name[OBJECT_NAME];

    encode(&out);
    ok(golden_is("t/data/fuzz/mapobject/two-pages", out.data, out.len), "the bytes in the file");
    is_int((long long)out.len, map_object_header_len(2), "as long as it is said to be");
    if (!ok(map_object_decode(&back, out.data, out.len, &id, uuid, NULL) == 0, "taken apart"))
        return;
    is_int((long long)back.made_ns, 1234567890, "made_ns");
    ok(back.n_pages == 2 && memcmp(back.pages, pages, sizeof(pages)) == 0, "every page");
    map_name(name, &id);
    is_str(name, "map/0000000000001001-00000007-9f3c21aa-0002", "its name");
}

static void test_bits(void) {
    _cleanup_(buf_clear) struct buf out = {0};
    unsigned believed = 0;

    encode(&out);
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.data[bit / 8] ^= (char)(1 << bit % 8);
        believed += decode(&out, NULL) == 0;
        out.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    is_int(believed, 0, "no flipped bit is believed");
    out.len--;
    is_int(decode(&out, NULL), -1, "nor a header cut short");
}

/* As if somebody had written this on purpose: the sum is right. */
static void refused(size_t at, uint8_t value, enum s3pve_code code, const char *what) {
    _cleanup_(buf_clear) struct buf out = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint8_t *sum;

    encode(&out);
    out.data[at] = (char)value;
    sum = (uint8_t *)out.data + 16;
    pack_u32(&sum, pack_sum((uint8_t *)out.data, out.len, 16, 0));
    is_int(decode(&out, &err), -1, "%s", what);
    is_int(err.code, code, "... is %s", s3pve_code_name(code));
}

int main(void) {
    test_round_trip();
    test_bits();
    refused(8, 2, S3PVE_E_UNSUPPORTED, "another version");
    refused(72, 1, S3PVE_E_UNSUPPORTED, "incompat");
    refused(80, 1, S3PVE_E_UNSUPPORTED, "ro_compat");
    refused(24, 'x', S3PVE_E_CORRUPT, "another volume's");
    refused(40, 2, S3PVE_E_CORRUPT, "another seq");
    refused(56, 3, S3PVE_E_CORRUPT, "another part");
    refused(60, 3, S3PVE_E_CORRUPT, "more pages than there is room for");
    refused(64, 1, S3PVE_E_CORRUPT, "pages of another length");
    refused(128, 9, S3PVE_E_CORRUPT, "a page of no kind");
    return done_testing();
}
