/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* lookup.c - where the bytes are: the overlay first, then the map, in one step for each piece */
#include <assert.h>
#include <string.h>

#include "volume/machine.h"

static struct volume_piece *add_piece(struct volume_request *request, uint32_t n) {
    uint32_t n_pieces = request->n_pieces;
    struct volume_piece *pieces = request->pieces;

    if ((n_pieces & (n_pieces - 1)) == 0) { /* a power of two: full */
        pieces = reallocarray(pieces, n_pieces ? n_pieces * 2 : 1, sizeof(*pieces));
        if (!pieces)
            return NULL;
        request->pieces = pieces;
    }
    pieces[n_pieces] = (struct volume_piece){.where = PIECE_ZERO, .n = n};
    request->n_pieces++;
    return &pieces[n_pieces];
}

static void from_ring(struct volume *volume, struct volume_piece *piece, place_t place) {
    struct batch *batch = batch_of(volume, overlay_seq(place));

    assert(batch && !batch->applied); /* (I4) */
    piece->where = PIECE_RING;
    piece->place = overlay_ring_block(place) * BLOCK;
    piece->pin = batch->seq;
    batch->pins++;
}

static void from_segment(struct volume *volume, struct volume_piece *piece, place_t place) {
    struct table_row *row = &volume->table.rows[map_row(place)];

    piece->where = PIECE_SEGMENT;
    piece->place = map_data(place);
    piece->pin = map_row(place);
    piece->segment = row->id;
    piece->header_len = row->header_len;
    row->pins++;
}

bool request_is_edge(const struct volume_request *request, uint32_t i) {
    uint64_t start = (request_first(request) + i) * BLOCK;

    return request->offset > start || request->offset + request->len < start + BLOCK;
}

/* How many blocks are to be looked up from n_looked on, which skips those that are not; 0: none. */
static uint32_t wanted(struct volume_request *request) {
    uint32_t end = request_blocks(request), last = end - 1;

    if (request->type == VOLUME_READ)
        return end - request->n_looked;
    if (request->n_looked == 0 && request_is_edge(request, 0))
        return 1;
    if (request->n_looked < last)
        request->n_looked = last;
    if (request->n_looked == last && last > 0 && request_is_edge(request, last))
        return 1;
    request->n_looked = end;
    return 0;
}

int lookup(struct volume *volume, struct volume_request *request) {
    uint32_t n, run;

    while ((n = wanted(request)) > 0) {
        uint64_t block = request_first(request) + request->n_looked;
        place_t place = map_find(volume->overlay, block, n, &run);
        bool below = place_kind(place) == PLACE_NONE;
        struct volume_piece *piece;

        if (below) {
            if (!want_block(volume, block))
                return 0;
            place = map_find(volume->map, block, run, &run);
        }
        piece = add_piece(request, run);
        if (!piece)
            return -1;
        if (place_kind(place) == PLACE_DATA && !below)
            from_ring(volume, piece, place);
        else if (place_kind(place) == PLACE_DATA)
            from_segment(volume, piece, place);
        request->n_looked += run;
    }
    return 1;
}

void lookup_unpin(struct volume *volume, struct volume_request *request) {
    for (uint32_t i = 0; i < request->n_pieces; i++) {
        const struct volume_piece *piece = &request->pieces[i];

        if (piece->where == PIECE_RING)
            batch_of(volume, (uint32_t)piece->pin)->pins--;
        else if (piece->where == PIECE_SEGMENT)
            volume->table.rows[piece->pin].pins--;
    }
    free(request->pieces);
    request->pieces = NULL;
    request->n_pieces = 0;
}
