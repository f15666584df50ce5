/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Bytes of pieces: at once, from the disk, from the bucket; right, or an error; once for all. */
#include "mem3.h"
#include "mem3_request.h"

#include "base/crc32c.h"
#include "tap.h"
#include "volume/fetch.h"

#define N_BLOCKS 300u
#define DATA "images/1/v/d-00000000"

static const uint8_t uuid[UUID_LEN];
static const struct segment_id id = {7, 2, 0xbeef};
static struct store store;
static struct readcache *cache;
static struct flights flights;
static int cancel;
static char key[200], folder[200];
static uint32_t header_len;
static uint8_t data[N_BLOCKS * BLOCK], got[N_BLOCKS * BLOCK];

/* A segment of N_BLOCKS blocks, in the bucket. */
static void store_segment(void) {
    struct extent extent = {.block = 1000, .n = N_BLOCKS};
    struct segment segment = {
        .id = id, .type = SEGMENT_DATA, .extents = &extent, .n_extents = 1, .size_blocks = 2000};
    struct buf object = {0};
    char name[SEGMENT_NAME];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = pattern_byte(i);
    segment_layout(&segment);
    segment.sums = calloc(N_BLOCKS, sizeof(uint32_t));
    for (uint32_t i = 0; i < N_BLOCKS; i++)
        segment.sums[i] = crc32c(0, data + (size_t)i * BLOCK, BLOCK);
    if (segment_encode(&segment, &object) < 0)
        bail_out("a segment");
    header_len = segment.header_len;
    buf_add(&object, data, sizeof(data));
    segment_name(name, &id);
    snprintf(key, sizeof(key), "%s/%s", DATA, name);
    pthread_mutex_lock(&mem3.lock);
    mem3_store(key, object.data, object.len);
    pthread_mutex_unlock(&mem3.lock);
    buf_clear(&object);
    free(segment.sums);
}

static struct volume_piece piece_at(uint32_t block, uint32_t n) {
    return (struct volume_piece
    ){.where = PIECE_SEGMENT, .n = n, .place = block, .segment = id, .header_len = header_len};
}

static struct fetch fetch_of(const struct volume_piece *pieces, uint32_t n, uint8_t *to) {
    memset(got, 0xee, sizeof(got));
    return (struct fetch){
        .store = &store,
        .flights = &flights,
        .uuid = uuid,
        .pieces = pieces,
        .n_pieces = n,
        .data = to,
    };
}

/* All steps.  Return: how it ended; in *ret_level the last level it needed. */
static int run(struct fetch *fetch, enum fetch_level *ret_level, struct s3pve_error *err) {
    int rc = 0;

    fetch->cache = cache;
    while (rc == 0 && fetch->level != FETCH_DONE) {
        *ret_level = fetch->level;
        rc = fetch_step(fetch, err);
    }
    return rc;
}

static void new_cache(void) {
    readcache_close(cache);
    cache = readcache_open(NULL, MIB(4));
}

static void test_levels(void) {
    struct volume_piece piece = piece_at(40, 1);
    struct fetch fetch = fetch_of(&piece, 1, got);
    enum fetch_level level = FETCH_NOW;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint64_t bytes, n;

    is_int(run(&fetch, &level, &err), 0, "a block of a segment %s", err.message);
    is_int(level, FETCH_REMOTE, "... comes from the bucket");
    ok(memcmp(got, data + 40 * BLOCK, BLOCK) == 0, "... as it was stored");
    ok(mem3.bytes_read <= header_len + READ_LINE * BLOCK, "... with its line and no more");
    bytes = mem3.bytes_read;
    fetch = fetch_of(&piece, 1, got);
    is_int(run(&fetch, &level, &err), 0, "again");
    is_int(level, FETCH_NOW, "... it is there at once");
    ok(memcmp(got, data + 40 * BLOCK, BLOCK) == 0, "... and the same");
    piece = piece_at(0, N_BLOCKS);
    n = mem3_n_requests();
    fetch = fetch_of(&piece, 1, got);
    is_int(run(&fetch, &level, &err), 0, "all of it");
    ok(memcmp(got, data, sizeof(data)) == 0, "... is right");
    ok(mem3_n_requests() - n <= 3, "... in few requests, %u", (unsigned)(mem3_n_requests() - n));
    ok(mem3.bytes_read - bytes <= header_len + sizeof(data), "... and nothing twice");
}

static void test_pieces(void) {
    struct volume_piece pieces[] = {
        piece_at(299, 1), {.where = PIECE_ZERO, .n = 2}, piece_at(3, 40)};
    struct fetch fetch = fetch_of(pieces, 3, got);
    enum fetch_level level;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(run(&fetch, &level, &err), 0, "pieces of several kinds");
    ok(memcmp(got, data + 299 * (size_t)BLOCK, BLOCK) == 0, "... the first");
    ok(got[BLOCK] == 0 && got[3 * BLOCK - 1] == 0, "... zeroes");
    ok(memcmp(got + 3 * BLOCK, data + 3 * (size_t)BLOCK, 40 * BLOCK) == 0, "... and the last");
    new_cache();
    fetch = fetch_of(pieces, 3, NULL);
    is_int(run(&fetch, &level, &err), 0, "the same without anywhere to go");
    fetch = fetch_of(pieces, 3, got);
    is_int(run(&fetch, &level, &err), 0, "... is in the cache then");
    is_int(level, FETCH_NOW, "... at once");
}

/* D7 */
static void test_damage(void) {
    struct volume_piece piece = piece_at(100, 1), beyond = piece_at(N_BLOCKS - 1, 2);
    struct fetch fetch = fetch_of(&piece, 1, got);
    enum fetch_level level;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    bool found;

    new_cache();
    mem3.objects[mem3_find(key, &found)].data[header_len + 100 * BLOCK + 17] ^= 1;
    is_int(run(&fetch, &level, &err), -1, "a block that does not have its sum is an error");
    is_int(err.code, S3PVE_E_CORRUPT, "... %s", err.message);
    piece = piece_at(200, 1);
    fetch = fetch_of(&piece, 1, got);
    is_int(run(&fetch, &level, &err), 0, "... and the others are not");
    fetch = fetch_of(&beyond, 1, got);
    is_int(run(&fetch, &level, &err), -1, "blocks that are not in it are one, too");
    new_cache();
    mem3.objects[mem3_find(key, &found)].data[300] ^= 1;
    fetch = fetch_of(&piece, 1, got);
    is_int(run(&fetch, &level, &err), -1, "and a damaged header");
    is_int(err.code, S3PVE_E_CORRUPT, "... %s", err.message);
    mem3_delete(key);
    fetch = fetch_of(&piece, 1, got);
    is_int(run(&fetch, &level, &err), -1, "and a segment that is not there");
    ok(strstr(err.message, "missing"), "... %s", err.message);
    store_segment();
}

static void *fetch_thread(void *arg) {
    struct fetch *fetch = arg;
    enum fetch_level level;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    return run(fetch, &level, &err) == 0 ? fetch : NULL;
}

static void test_once(void) {
    struct volume_piece piece = piece_at(64, 64);
    struct fetch fetches[4];
    static uint8_t to[4][64 * BLOCK];
    pthread_t threads[4];
    uint64_t n;
    unsigned n_right = 0;

    new_cache();
    n = mem3_n_requests();
    mem3.delay_ms = 50;
    for (int i = 0; i < 4; i++) {
        fetches[i] = fetch_of(&piece, 1, to[i]);
        pthread_create(&threads[i], NULL, fetch_thread, &fetches[i]);
    }
    for (int i = 0; i < 4; i++) {
        void *result;

        pthread_join(threads[i], &result);
        n_right += result && memcmp(to[i], data + 64 * (size_t)BLOCK, sizeof(to[i])) == 0;
    }
    mem3.delay_ms = 0;
    is_int(n_right, 4, "four who want the same at once get it");
    is_int((long long)(mem3_n_requests() - n), 2, "... by one request, and one for the header");
}

/* D6 */
static void test_outage(void) {
    struct volume_piece piece = piece_at(128, 1);
    struct fetch fetch = fetch_of(&piece, 1, got);
    pthread_t thread;
    void *result;

    new_cache();
    mem3.down_ms = 20;
    mem3.down = true;
    pthread_create(&thread, NULL, fetch_thread, &fetch);
    mem3_sleep(500, NULL);
    mem3.down = false;
    pthread_join(thread, &result);
    ok(result, "a store that is away is waited for");
    ok(memcmp(got, data + 128 * (size_t)BLOCK, BLOCK) == 0, "... and then all is well");
    new_cache();
    fetch = fetch_of(&piece, 1, got);
    mem3.down = true;
    pthread_create(&thread, NULL, fetch_thread, &fetch);
    mem3_sleep(100, NULL);
    __atomic_store_n(&cancel, 1, __ATOMIC_RELAXED);
    pthread_join(thread, &result);
    ok(!result, "... until it is cancelled");
    __atomic_store_n(&cancel, 0, __ATOMIC_RELAXED);
    mem3.down = false;
}

static void test_ring(void) {
    struct volume_piece piece = {.where = PIECE_RING, .n = 2, .place = 3 * BLOCK};
    struct iovec iov = {data, 2 * BLOCK};
    struct fetch fetch = fetch_of(&piece, 1, got);
    enum fetch_level level;
    struct superblock superblock = {.generation = 1, .ring_len = 16 * BLOCK, .seed = 5};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (journal_file_open(folder, 16 * BLOCK, &store.journal, &err) < 0 ||
        journal_file_write_superblock(store.journal, &superblock, &err) < 0)
        bail_out("%s", err.message);
    journal_file_write(store.journal, 3 * BLOCK, &iov, 1, &err);
    is_int(run(&fetch, &level, &err), 0, "what was just written to the ring");
    is_int(level, FETCH_NOW, "... is there at once");
    ok(memcmp(got, data, 2 * BLOCK) == 0, "... and right");
    piece.place = 15 * BLOCK;
    fetch = fetch_of(&piece, 1, got);
    is_int(run(&fetch, &level, &err), -1, "a ring that is too short is an error");
    journal_file_close(store.journal);
}

static void test_keep(void) {
    struct volume_piece piece = piece_at(0, N_BLOCKS);
    struct fetch fetch = fetch_of(&piece, 1, got);
    enum fetch_level level;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    bool found;
    struct mem3_object *object = &mem3.objects[mem3_find(key, &found)];

    new_cache();
    fetch_keep(cache, uuid, &id, object->data, object->len);
    is_int(run(&fetch, &level, &err), 0, "a segment that was kept when it was stored");
    is_int(level, FETCH_NOW, "... needs nobody");
    ok(memcmp(got, data, sizeof(data)) == 0, "... and is right");
}

int main(void) {
    char command[300];

    snprintf(folder, sizeof(folder), "%s/fetch-%d", getenv("TMPDIR") ?: "/tmp", (int)getpid());
    store = (struct store){.client = mem3_client(), .cancel = &cancel, .data = DATA};
    flights_init(&flights);
    new_cache();
    store_segment();
    test_levels();
    test_pieces();
    test_damage();
    test_once();
    test_outage();
    test_ring();
    test_keep();
    readcache_close(cache);
    flights_clear(&flights);
    mem3_clear();
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
