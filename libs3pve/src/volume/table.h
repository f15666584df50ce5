/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * table.h - the segments the map points into, each a row whose number is in their places
 *
 * A row's number is not used again while anything may name it: rows go only with table_remove().
 */
#ifndef VOLUME_TABLE_H
#define VOLUME_TABLE_H

#include "volume/segment.h"

struct table_row {
    struct segment_id id; /* seq 0: the row is free */
    uint32_t n_data;      /* blocks in it */
    uint32_t live;        /* blocks the map points to */
    uint64_t died_seq;    /* the segment whose apply took the last of them; 0: none did */
    uint32_t header_len;
    uint32_t pins; /* reads under way */
};

struct table {
    struct table_row *rows; /* owned */
    uint32_t n_rows, room;
    uint32_t free; /* rows below n_rows that are free */
};

void table_clear(struct table *table);

/* A row for @segment, all of whose data lives.  Return: its number, or -1 without memory. */
int64_t table_add(struct table *table, const struct segment *segment);

/* @n blocks of row @row are no longer pointed to, by the apply of segment @seq. */
void table_displace(struct table *table, uint32_t row, uint32_t n, uint64_t seq);

void table_remove(struct table *table, uint32_t row);

#endif
