/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* parts.h - how large the parts of an upload are, and the memory they are filled in */
#ifndef CORE_PARTS_H
#define CORE_PARTS_H

#include "core/client.h"

/*
 * Part @number's size (1 is the first) when the object's length is not known: a function of the
 * number alone, so that a resumed upload agrees.  0 beyond the last part the store allows.
 */
uint64_t parts_size(const struct config *config, unsigned number);

/* Memory for one part, taken from the kernel page by page as it is filled, and reused. */
struct part_buffer {
    char *data; /* NULL: none */
    size_t room;
};

/*
 * Make @buffer at least @room bytes large; what is in it stays.  Counts in client->part_memory, and
 * fails when that would pass STORAGE_MEMORY, unless @must.  Return: 0, or -1.
 */
int parts_buffer_reserve(
    struct s3pve_client *client, struct part_buffer *buffer, size_t room, bool must
);

/* Give back what is beyond @used bytes. */
void parts_buffer_shrink(struct s3pve_client *client, struct part_buffer *buffer, size_t used);
void parts_buffer_free(struct s3pve_client *client, struct part_buffer *buffer);

#endif
