/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Headers of a log: asked for ahead, and right whatever their length and whoever is missing. */
#include "mem3.h"
#include "mem3_request.h"

#include "tap.h"
#include "volume/headers.h"

#define N 100u
#define DATA "images/1/v/d-00000000"

static struct segment_id id_of(uint64_t seq) {
    return (struct segment_id){seq, 2, 0xbeef};
}

/* Segment @seq of one block and @n extents: the more, the longer its header. */
static void store_segment(uint64_t seq, uint32_t n) {
    struct segment segment = {.id = id_of(seq), .type = SEGMENT_DATA, .n_extents = n};
    struct buf object = {0};
    char name[SEGMENT_NAME], key[200];
    uint32_t sum = 0;

    segment.extents = calloc(n, sizeof(*segment.extents));
    for (uint32_t i = 0; i < n; i++)
        segment.extents[i] =
            (struct extent){.block = 2 * i, .n = 1, .kind = i ? EXTENT_ZERO : EXTENT_DATA};
    segment.sums = &sum;
    segment.size_blocks = 2 * n;
    if (segment_layout(&segment) < 0 || segment_encode(&segment, &object) < 0)
        bail_out("a segment");
    segment_name(name, &segment.id);
    snprintf(key, sizeof(key), "%s/%s", DATA, name);
    pthread_mutex_lock(&mem3.lock);
    mem3_store(key, object.data, object.len);
    pthread_mutex_unlock(&mem3.lock);
    buf_clear(&object);
    free(segment.extents);
}

/* Is that the header of segment @seq, and nothing else? */
static bool get(struct headers *headers, uint64_t seq, struct s3pve_error *err) {
    static const uint8_t uuid[UUID_LEN];
    struct segment_id id = id_of(seq);
    struct buf header = {0};
    struct segment segment = {0};
    bool good = headers_get(headers, &id, &header, err) == 0 &&
                segment_decode(&segment, header.data, header.len, &id, uuid, err) == 0 &&
                segment.header_len == header.len;

    segment_clear(&segment);
    buf_clear(&header);
    return good;
}

static struct headers *noted(uint64_t first, uint64_t last) {
    struct headers *headers = headers_new(mem3_client(), DATA, NULL);

    for (uint64_t seq = first; seq <= last; seq++) {
        struct segment_id id = id_of(seq);

        headers_note(headers, &id);
    }
    return headers;
}

static void test_ahead(void) {
    struct headers *headers = noted(1, N);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint64_t n = mem3_n_requests();
    unsigned n_good = 0;

    ok(get(headers, 1, &err), "the first header %s", err.message);
    is_int((long long)(mem3_n_requests() - n), HEADERS_AHEAD, "... and more are asked for");
    for (uint64_t seq = 2; seq <= N; seq++)
        n_good += get(headers, seq, &err);
    is_int(n_good, N - 1, "all others, in order %s", err.message);
    is_int((long long)(mem3_n_requests() - n), N, "... each by one request");
    headers_free(headers);
}

static void test_odd(void) {
    struct headers *headers;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char name[SEGMENT_NAME], key[200];

    store_segment(10, 5000);
    store_segment(11, SEGMENT_EXTENTS_MAX);
    headers = noted(1, N);
    ok(get(headers, 9, &err), "some are passed over");
    ok(get(headers, 10, &err), "a long header %s", err.message);
    ok(get(headers, 11, &err), "the longest there is %s", err.message);
    ok(get(headers, 12, &err), "a short one after them");
    segment_name(name, &(struct segment_id){60, 2, 0xbeef});
    snprintf(key, sizeof(key), "%s/%s", DATA, name);
    mem3_delete(key);
    ok(!get(headers, 60, &err), "one that is gone");
    is_int(err.code, S3PVE_E_NOT_FOUND, "... is not found: %s", err.message);
    mem3_put(key, "no segment at all");
    ok(!get(headers, 60, &err), "what is none, and was passed");
    is_int(err.code, S3PVE_E_CORRUPT, "... is damaged: %s", err.message);
    headers_free(headers);
    headers = headers_new(mem3_client(), DATA, NULL);
    ok(get(headers, 20, &err), "one that was never noted is read, too");
    headers_free(headers);
    headers_free(noted(1, N));
    ok(true, "nobody needs to be asked for any");
}

int main(void) {
    for (uint64_t seq = 1; seq <= N; seq++)
        store_segment(seq, 1 + (uint32_t)seq % 7);
    test_ahead();
    test_odd();
    mem3_clear();
    return done_testing();
}
