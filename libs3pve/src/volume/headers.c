/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/request.h"
#include "volume/headers.h"

#define GUESS_MIN KIB(16) /* bytes: a segment that was written in order has 12 KiB of header */

/* One header on its way. */
struct slot {
    struct request rq;
    uint8_t *data; /* owned; NULL: the slot is free */
    size_t room;
};

struct headers {
    struct s3pve_client *client; /* borrowed, as these */
    const char *data;
    const int *cancel;
    struct segment_id *ids; /* owned; in the order of asking */
    size_t n, room;
    size_t at, asked; /* the next to be wanted, and the next to be asked for */
    size_t guess;     /* bytes: somewhat more than the last one had */
    struct slot slots[HEADERS_AHEAD];
};

struct headers *headers_new(struct s3pve_client *client, const char *data, const int *cancel) {
    struct headers *headers = calloc(1, sizeof(*headers));

    if (!headers)
        return NULL;
    headers->client = client;
    headers->data = data;
    headers->cancel = cancel;
    headers->guess = GUESS_MIN;
    return headers;
}

static void empty(struct headers *headers, struct slot *slot) {
    if (!slot->data)
        return;
    request_cancel(headers->client, &slot->rq);
    request_clear(&slot->rq);
    free(slot->data);
    slot->data = NULL;
}

struct headers *headers_free(struct headers *headers) {
    if (!headers)
        return NULL;
    for (size_t i = 0; i < HEADERS_AHEAD; i++)
        empty(headers, &headers->slots[i]);
    free(headers->ids);
    free(headers);
    return NULL;
}

int headers_note(struct headers *headers, const struct segment_id *id) {
    if (headers->n == headers->room) {
        size_t room = headers->room ? headers->room * 2 : 64;
        struct segment_id *ids = reallocarray(headers->ids, room, sizeof(*ids));

        if (!ids)
            return -1;
        headers->ids = ids;
        headers->room = room;
    }
    headers->ids[headers->n++] = *id;
    return 0;
}

static void name_of(
    const struct headers *headers, const struct segment_id *id, char key[LIMIT_KEY + 64]
) {
    char name[SEGMENT_NAME];

    segment_name(name, id);
    snprintf(key, LIMIT_KEY + 64, "%s/%s", headers->data, name);
}

/* The next one noted, as far as there is memory: it is asked for again by who wants it. */
static void ask(struct headers *headers) {
    struct s3pve_call call = {.timeout_ms = VOLUME_CALL_MS, .cancel = headers->cancel};
    struct slot *slot = &headers->slots[headers->asked % HEADERS_AHEAD];
    char key[LIMIT_KEY + 64];

    name_of(headers, &headers->ids[headers->asked++], key);
    slot->room = headers->guess;
    slot->data = malloc(slot->room);
    if (!slot->data)
        return;
    request_init(&slot->rq, "GetObject", "GET", key, &call);
    slot->rq.range.set = true;
    slot->rq.range.len = slot->room;
    slot->rq.into = slot->data;
    slot->rq.urgent = true;
    request_submit(headers->client, &slot->rq);
}

/* Where noted number @i is, when it has arrived; NULL: it has not been asked for, or failed. */
static struct slot *arrived(struct headers *headers, size_t i) {
    struct slot *slot = &headers->slots[i % HEADERS_AHEAD];
    struct request *rq = &slot->rq;

    if (i >= headers->asked || !slot->data)
        return NULL;
    while (request_wait(headers->client, &rq, 1, 1000) < 0)
        ;
    return rq->error.code ? NULL : slot;
}

/* Pass over those that nobody wanted, and ask for what comes next. */
static size_t go_to(struct headers *headers, const struct segment_id *id) {
    while (headers->at < headers->n && memcmp(&headers->ids[headers->at], id, sizeof(*id)) != 0) {
        if (headers->at < headers->asked)
            empty(headers, &headers->slots[headers->at % HEADERS_AHEAD]);
        headers->at++;
    }
    if (headers->asked < headers->at)
        headers->asked = headers->at;
    while (headers->asked < headers->n && headers->asked < headers->at + HEADERS_AHEAD)
        ask(headers);
    return headers->at;
}

static int read_more(
    struct headers *headers,
    const struct segment_id *id,
    size_t len,
    struct buf *header,
    struct s3pve_error *err
) {
    struct s3pve_call call = {.timeout_ms = VOLUME_CALL_MS, .cancel = headers->cancel};
    _free_ uint8_t *data = malloc(len);
    char key[LIMIT_KEY + 64];
    size_t got, want;

    if (!data)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a header");
    name_of(headers, id, key);
    if (s3pve_object_pread(headers->client, key, NULL, data, len, 0, &got, NULL, &call, err) < 0)
        return -1;
    want = segment_header_len(data, got);
    if (want > len)
        return read_more(headers, id, want, header, err);
    if (!want || want > got)
        return error_set(err, S3PVE_E_CORRUPT, "%s is not a segment", key);
    headers->guess = want + want / 4 > GUESS_MIN ? want + want / 4 : GUESS_MIN;
    return buf_add(header, data, want) < 0 ? error_set(err, S3PVE_E_NOMEM, "no memory") : 0;
}

int headers_get(
    struct headers *headers,
    const struct segment_id *id,
    struct buf *header,
    struct s3pve_error *err
) {
    size_t i = go_to(headers, id);
    struct slot *slot = arrived(headers, i);
    size_t len = slot ? segment_header_len(slot->data, slot->rq.received) : 0;
    int rc;

    if (len && len <= slot->rq.received)
        rc = buf_add(header, slot->data, len) < 0 ? error_set(err, S3PVE_E_NOMEM, "no memory") : 0;
    else
        rc = read_more(headers, id, len ? len : headers->guess, header, err);
    if (i < headers->n) {
        empty(headers, &headers->slots[i % HEADERS_AHEAD]);
        headers->at++;
    }
    return rc;
}
