/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <assert.h>

#include "volume/table.h"

#define ROWS_MIN 64

void table_clear(struct table *table) {
    free(table->rows);
    *table = (struct table){0};
}

static int64_t free_row(struct table *table) {
    uint32_t room = table->room ? table->room * 2 : ROWS_MIN;
    struct table_row *rows;

    for (uint32_t i = 0; table->free && i < table->n_rows; i++)
        if (!table->rows[i].id.seq)
            return table->free--, i;
    if (table->n_rows < table->room)
        return table->n_rows++;
    rows = reallocarray(table->rows, room, sizeof(*rows));
    if (!rows)
        return -1;
    table->rows = rows;
    table->room = room;
    return table->n_rows++;
}

int64_t table_add(struct table *table, const struct segment *segment) {
    int64_t row = free_row(table);

    if (row < 0)
        return -1;
    table->rows[row] = (struct table_row){
        .id = segment->id,
        .n_data = segment->n_data,
        .live = segment->n_data,
        .died_seq = segment->n_data ? 0 : segment->id.seq,
        .header_len = segment->header_len,
    };
    return row;
}

void table_displace(struct table *table, uint32_t row, uint32_t n, uint64_t seq) {
    struct table_row *r = &table->rows[row];

    assert(row < table->n_rows && r->live >= n);
    r->live -= n;
    if (r->live == 0)
        r->died_seq = seq;
}

void table_remove(struct table *table, uint32_t row) {
    assert(table->rows[row].live == 0 && table->rows[row].pins == 0);
    table->rows[row] = (struct table_row){0};
    table->free++;
}
