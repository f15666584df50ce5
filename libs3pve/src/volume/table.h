/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * table.h - the objects of a volume: segments the map points into, and MAP objects with its pages
 *
 * Each is a row, whose number is in the places and refs that point to it, in memory and in stored
 * pages alike.  So a number is not used again before its object is deleted.
 */
#ifndef VOLUME_TABLE_H
#define VOLUME_TABLE_H

#include "volume/segment.h"

enum object_type { OBJECT_DATA = SEGMENT_DATA, OBJECT_GC = SEGMENT_GC, OBJECT_MAP = 3 };

/* A MAP object: a piece of the checkpoint at @at.seq. */
struct map_id {
    struct segment_id at;
    uint16_t part;
};

struct table_row {
    struct segment_id id; /* seq 0: the row is free */
    enum object_type type;
    uint16_t part;     /* MAP */
    uint32_t total;    /* blocks, or pages, in it */
    uint32_t live;     /* of these, what the map points to */
    uint64_t died_seq; /* the segment, or checkpoint, that took the last of them; 0: none did */
    uint32_t header_len;
    uint32_t pins; /* reads under way */
    bool dying;    /* being deleted */
};

struct table {
    struct table_row *rows; /* owned */
    uint32_t n_rows, room;
    uint32_t first_free; /* the rows before it are taken */
};

void table_clear(struct table *table);

/* All take a row for something new.  Return: its number, or -1 without memory. */
int64_t table_add(struct table *table, const struct table_row *row);
int64_t table_add_segment(struct table *table, const struct segment *segment); /* all of it lives */
int64_t table_add_map(struct table *table, const struct map_id *id);           /* nothing yet */

/* @n blocks, or pages, of row @row are no longer pointed to, since @seq. */
void table_displace(struct table *table, uint32_t row, uint32_t n, uint64_t seq);

void table_remove(struct table *table, uint32_t row);

/* "map/SEQ-EPOCH-NONCE-PART" in hex, and back; and whatever the object of a row is called. */
void map_name(char name[OBJECT_NAME], const struct map_id *id);
bool map_name_parse(const char *name, struct map_id *id);
void table_name(char name[OBJECT_NAME], const struct table_row *row);

#endif
