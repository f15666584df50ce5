/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "base/crc32c.h"
#include "core/error.h"
#include "volume/fetch.h"

#define LINE_BYTES ((size_t)READ_LINE * BLOCK)
#define RUN_LINES ((uint32_t)(READ_RUN / LINE_BYTES))
#define HEADER_LINE UINT32_MAX /* a flight's, when it is about the header */
#define CORRUPT_TRIES 3

/* Lines that somebody is fetching.  On his stack. */
struct flight {
    struct flight *next;
    struct readcache_key key; /* the first line */
    uint32_t n;
};

/* Blocks of a piece, in its segment's object. */
struct want {
    const struct volume_piece *piece;
    uint32_t block, n; /* of the object, header included */
    uint8_t *data;     /* where they go, or NULL */
};

/* ------------------------------------------------------------------ flights */

void flights_init(struct flights *flights) {
    *flights = (struct flights){.first = NULL};
    pthread_mutex_init(&flights->lock, NULL);
    pthread_cond_init(&flights->landed, NULL);
}

void flights_clear(struct flights *flights) {
    pthread_cond_destroy(&flights->landed);
    pthread_mutex_destroy(&flights->lock);
}

static struct readcache_key key_of(
    const uint8_t *uuid, const struct segment_id *id, uint32_t line
) {
    struct readcache_key key = {.segment = *id, .line = line};

    memcpy(&key.volume, uuid, sizeof(key.volume));
    return key;
}

static bool is_in_flight(const struct flights *flights, const struct readcache_key *key) {
    for (const struct flight *f = flights->first; f; f = f->next)
        if (f->key.volume == key->volume && f->key.segment.seq == key->segment.seq &&
            f->key.segment.nonce == key->segment.nonce && key->line >= f->key.line &&
            key->line - f->key.line < f->n)
            return true;
    return false;
}

/* As many of @flight's lines as nobody else fetches or has.  False: somebody fetched the first, and
 * has come back. */
static bool take_off(struct flights *flights, struct readcache *cache, struct flight *flight) {
    LOCK_SCOPE(&flights->lock);
    struct readcache_key key = flight->key;
    uint32_t n = 1;

    if (is_in_flight(flights, &key)) {
        while (is_in_flight(flights, &key))
            pthread_cond_wait(&flights->landed, &flights->lock);
        return false;
    }
    for (; n < flight->n; n++) {
        key.line = flight->key.line + n;
        if (is_in_flight(flights, &key) || readcache_has(cache, &key, READ_LINE))
            break;
    }
    flight->n = n;
    flight->next = flights->first;
    flights->first = flight;
    return true;
}

static void land(struct flights *flights, struct flight *flight) {
    LOCK_SCOPE(&flights->lock);
    struct flight **at = &flights->first;

    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    pthread_cond_broadcast(&flights->landed);
}

/* ------------------------------------------------------------------- bucket */

/* All @len bytes, however long the store is away (D6). */
static int get(
    struct fetch *fetch,
    const struct segment_id *id,
    uint64_t offset,
    void *data,
    size_t len,
    struct s3pve_error *err
) {
    char name[SEGMENT_NAME];

    segment_name(name, id);
    for (unsigned n = 0, n_corrupt = 0;; n++) {
        struct s3pve_error cause = S3PVE_ERROR_INIT;
        size_t got = 0;

        if (store_get(fetch->store, name, offset, data, len, &got, &cause) == 0) {
            if (got == len)
                return 0;
            error_set(&cause, S3PVE_E_CORRUPT, "%s is cut short", name);
        }
        if (cause.code == S3PVE_E_NOT_FOUND)
            return error_set(err, S3PVE_E_CORRUPT, "%s is missing in the bucket", name);
        if (cause.code == S3PVE_E_CORRUPT && ++n_corrupt == CORRUPT_TRIES) {
            if (err)
                *err = cause;
            return -1;
        }
        if (!store_again(fetch->store, n))
            return error_set(err, S3PVE_E_CANCELLED, "%s: cancelled", name);
    }
}

/* From the cache, as blocks of its first lines. */
static bool cached_header(struct fetch *fetch, const struct volume_piece *piece, uint8_t *header) {
    uint32_t n_blocks = piece->header_len / BLOCK;

    for (uint32_t b = 0; b < n_blocks; b += READ_LINE) {
        struct readcache_key key = key_of(fetch->uuid, &piece->segment, b / READ_LINE);
        uint32_t n = n_blocks - b < READ_LINE ? n_blocks - b : READ_LINE;

        if (readcache_get(fetch->cache, &key, 0, n, header + (size_t)b * BLOCK, true) !=
            READCACHE_HIT)
            return false;
    }
    return true;
}

static void keep_blocks(
    struct readcache *cache, struct readcache_key key, const uint8_t *data, uint32_t n_blocks
) {
    for (uint32_t b = 0; b < n_blocks; b += READ_LINE, key.line++)
        readcache_put(
            cache,
            &key,
            data + (size_t)b * BLOCK,
            n_blocks - b < READ_LINE ? n_blocks - b : READ_LINE
        );
}

static int read_header(
    struct fetch *fetch,
    const struct volume_piece *piece,
    struct segment *ret_segment,
    struct s3pve_error *err
) {
    const struct segment_id *id = &piece->segment;
    size_t len = piece->header_len;
    _free_ uint8_t *header = malloc(len);

    if (!header)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a header");
    if (cached_header(fetch, piece, header))
        return segment_decode(ret_segment, header, len, id, fetch->uuid, err);
    if (get(fetch, id, 0, header, len, err) < 0 ||
        segment_decode(ret_segment, header, len, id, fetch->uuid, err) < 0)
        return -1;
    keep_blocks(fetch->cache, key_of(fetch->uuid, id, 0), header, piece->header_len / BLOCK);
    return 0;
}

/* Once for all who want it at the same time. */
static int bring_header(
    struct fetch *fetch,
    const struct volume_piece *piece,
    struct segment *ret_segment,
    struct s3pve_error *err
) {
    struct flight flight = {.key = key_of(fetch->uuid, &piece->segment, HEADER_LINE), .n = 1};
    bool alone = take_off(fetch->flights, fetch->cache, &flight);
    int rc = read_header(fetch, piece, ret_segment, err);

    if (alone)
        land(fetch->flights, &flight);
    return rc;
}

/* Blocks of the object from @block on; those of the header have been looked at as a whole. */
static int check_sums(
    const struct segment *segment,
    uint32_t block,
    const uint8_t *data,
    uint32_t n,
    struct s3pve_error *err
) {
    uint32_t n_header = segment->header_len / BLOCK;

    for (uint32_t i = 0; i < n; i++)
        if (block + i >= n_header &&
            crc32c(0, data + (size_t)i * BLOCK, BLOCK) != segment->sums[block + i - n_header])
            return error_set(
                err,
                S3PVE_E_CORRUPT,
                "segment %" PRIu64 " is damaged at its block %u",
                segment->id.seq,
                block + i
            );
    return 0;
}

static int get_checked(
    struct fetch *fetch,
    const struct segment *segment,
    uint32_t block,
    uint8_t *data,
    uint32_t n,
    struct s3pve_error *err
) {
    uint64_t at = (uint64_t)block * BLOCK;
    struct s3pve_error cause = S3PVE_ERROR_INIT;

    for (unsigned i = 0; i < CORRUPT_TRIES; i++) {
        if (get(fetch, &segment->id, at, data, (size_t)n * BLOCK, err) < 0)
            return -1;
        if (check_sums(segment, block, data, n, &cause) == 0)
            return 0;
    }
    if (err)
        *err = cause;
    return -1;
}

/* The lines of @flight into the cache, and what of them is wanted to where it goes. */
static int bring_lines(
    struct fetch *fetch, struct want *want, const struct flight *flight, struct s3pve_error *err
) {
    _cleanup_(segment_clear) struct segment segment = {0};
    uint32_t first = flight->key.line * READ_LINE, n = flight->n * READ_LINE, end;
    _free_ uint8_t *data = malloc((size_t)n * BLOCK);

    if (!data)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a read");
    if (bring_header(fetch, want->piece, &segment, err) < 0)
        return -1;
    end = segment.header_len / BLOCK + segment.n_data;
    if (want->block + want->n > end || segment.header_len != want->piece->header_len)
        return error_set(
            err, S3PVE_E_CORRUPT, "segment %" PRIu64 " has too few blocks", segment.id.seq
        );
    if (n > end - first)
        n = end - first;
    if (get_checked(fetch, &segment, first, data, n, err) < 0)
        return -1;
    keep_blocks(fetch->cache, flight->key, data, n);
    if (want->n > first + n - want->block)
        want->n = first + n - want->block;
    if (want->data)
        memcpy(want->data, data + (size_t)(want->block - first) * BLOCK, (size_t)want->n * BLOCK);
    return 0;
}

/* Some blocks from its beginning: want->n says how many; 0: look again. */
static int bring(struct fetch *fetch, struct want *want, struct s3pve_error *err) {
    uint32_t line = want->block / READ_LINE;
    uint32_t n_lines = (want->block + want->n - 1) / READ_LINE - line + 1;
    struct flight flight = {
        .key = key_of(fetch->uuid, &want->piece->segment, line),
        .n = n_lines < RUN_LINES ? n_lines : RUN_LINES,
    };
    int rc;

    if (!take_off(fetch->flights, fetch->cache, &flight)) {
        want->n = 0;
        return 0;
    }
    rc = bring_lines(fetch, want, &flight, err);
    land(fetch->flights, &flight);
    return rc;
}

/* -------------------------------------------------------------------- steps */

/* Each of these goes on with one piece: how many blocks it has got, 0 for what is for the next
 * level, -1. */

static int64_t step_zero(struct fetch *fetch, struct want *want) {
    if (want->data)
        memset(want->data, 0, (size_t)want->n * BLOCK);
    return want->n;
}

static int64_t step_ring(struct fetch *fetch, struct want *want, struct s3pve_error *err) {
    uint64_t place = want->piece->place + (uint64_t)fetch->at_block * BLOCK;

    if (!want->data)
        return want->n;
    if (fetch->level == FETCH_NOW) {
        if (journal_file_peek(fetch->store->journal, place, want->data, want->n))
            return want->n;
        fetch->level = FETCH_LOCAL;
        return 0;
    }
    if (journal_file_get(fetch->store->journal, place, want->data, want->n, err) < 0)
        return -1;
    return want->n;
}

/* Of one line. */
static enum readcache_found look_in_cache(struct fetch *fetch, struct want *want) {
    struct readcache_key key = key_of(fetch->uuid, &want->piece->segment, want->block / READ_LINE);
    uint32_t first = want->block % READ_LINE, n = READ_LINE - first;

    if (n > want->n)
        n = want->n;
    if (!want->data) {
        if (!readcache_has(fetch->cache, &key, first + n))
            return READCACHE_MISS;
    } else {
        enum readcache_found found =
            readcache_get(fetch->cache, &key, first, n, want->data, fetch->level != FETCH_NOW);

        if (found != READCACHE_HIT)
            return found;
    }
    want->n = n;
    return READCACHE_HIT;
}

static int64_t step_segment(struct fetch *fetch, struct want *want, struct s3pve_error *err) {
    want->block = want->piece->header_len / BLOCK + (uint32_t)want->piece->place + fetch->at_block;
    for (;;) {
        switch (look_in_cache(fetch, want)) {
        case READCACHE_HIT: return want->n;
        case READCACHE_WOULD_WAIT: fetch->level = FETCH_LOCAL; return 0;
        case READCACHE_MISS: break;
        }
        if (fetch->level != FETCH_REMOTE) {
            fetch->level = FETCH_REMOTE;
            return 0;
        }
        if (bring(fetch, want, err) < 0)
            return -1;
        if (want->n)
            return want->n;
        want->n = want->piece->n - fetch->at_block;
    }
}

static int64_t step_piece(struct fetch *fetch, struct want *want, struct s3pve_error *err) {
    switch (want->piece->where) {
    case PIECE_RING: return step_ring(fetch, want, err);
    case PIECE_SEGMENT: return step_segment(fetch, want, err);
    default: return step_zero(fetch, want);
    }
}

int fetch_step(struct fetch *fetch, struct s3pve_error *err) {
    while (fetch->at_piece < fetch->n_pieces) {
        const struct volume_piece *piece = &fetch->pieces[fetch->at_piece];
        struct want want = {.piece = piece, .n = piece->n - fetch->at_block, .data = fetch->data};
        int64_t n = step_piece(fetch, &want, err);

        if (n <= 0)
            return (int)n;
        if (fetch->data)
            fetch->data += (size_t)n * BLOCK;
        fetch->at_block += (uint32_t)n;
        if (fetch->at_block == piece->n) {
            fetch->at_piece++;
            fetch->at_block = 0;
        }
    }
    fetch->level = FETCH_DONE;
    return 0;
}

void fetch_keep(
    struct readcache *cache,
    const uint8_t *uuid,
    const struct segment_id *id,
    const void *object,
    size_t len
) {
    keep_blocks(cache, key_of(uuid, id, 0), object, (uint32_t)(len / BLOCK));
}
