/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "volume/table.h"

#define ROWS_MIN 64

void table_clear(struct table *table) {
    free(table->rows);
    *table = (struct table){0};
}

static int64_t free_row(struct table *table) {
    uint32_t room = table->room ? table->room * 2 : ROWS_MIN;
    struct table_row *rows;

    while (table->first_free < table->n_rows && table->rows[table->first_free].id.seq)
        table->first_free++;
    if (table->first_free < table->n_rows)
        return table->first_free;
    if (table->n_rows < table->room)
        return table->n_rows++;
    rows = reallocarray(table->rows, room, sizeof(*rows));
    if (!rows)
        return -1;
    table->rows = rows;
    table->room = room;
    return table->n_rows++;
}

int64_t table_add(struct table *table, const struct table_row *row) {
    int64_t i = free_row(table);

    if (i >= 0)
        table->rows[i] = *row;
    return i;
}

int64_t table_add_segment(struct table *table, const struct segment *segment) {
    struct table_row row = {
        .id = segment->id,
        .type = (enum object_type)segment->type,
        .total = segment->n_data,
        .live = segment->n_data,
        .died_seq = segment->n_data ? 0 : segment->id.seq,
        .header_len = segment->header_len,
    };

    return table_add(table, &row);
}

int64_t table_add_map(struct table *table, const struct map_id *id) {
    struct table_row row = {
        .id = id->at, .type = OBJECT_MAP, .part = id->part, .died_seq = id->at.seq};

    return table_add(table, &row);
}

void table_displace(struct table *table, uint32_t row, uint32_t n, uint64_t seq) {
    struct table_row *r = &table->rows[row];

    assert(row < table->n_rows && r->live >= n);
    r->live -= n;
    if (r->live == 0)
        r->died_seq = seq;
}

void table_remove(struct table *table, uint32_t row) {
    assert(table->rows[row].live == 0 && table->rows[row].pins == 0); /* (I7) */
    table->rows[row] = (struct table_row){0};
    if (row < table->first_free)
        table->first_free = row;
}

void map_name(char name[OBJECT_NAME], const struct map_id *id) {
    snprintf(
        name,
        OBJECT_NAME,
        "map/%016" PRIx64 "-%08" PRIx32 "-%08" PRIx32 "-%04x",
        id->at.seq,
        id->at.epoch,
        id->at.nonce,
        id->part
    );
}

bool map_name_parse(const char *name, struct map_id *id) {
    char again[OBJECT_NAME];
    unsigned part;

    if (sscanf(
            name,
            "map/%16" SCNx64 "-%8" SCNx32 "-%8" SCNx32 "-%4x",
            &id->at.seq,
            &id->at.epoch,
            &id->at.nonce,
            &part
        ) != 4)
        return false;
    id->part = (uint16_t)part;
    map_name(again, id);
    return strcmp(name, again) == 0;
}

void table_name(char name[OBJECT_NAME], const struct table_row *row) {
    struct map_id id = {row->id, row->part};

    if (row->type == OBJECT_MAP)
        map_name(name, &id);
    else
        segment_name(name, &row->id);
}
