/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "core/parts.h"

uint64_t parts_size(const struct config *config, unsigned number) {
    bool few = config->max_parts < LIMIT_PARTS;
    uint64_t size = config->part_size, last = few ? LIMIT_PART : PART_LAST;
    unsigned step = config->max_parts * PART_GROW_PERCENT / 100;

    if (number < 1 || number > config->max_parts)
        return 0;
    if (!size)
        size = few || config->equal_parts ? PART_FEW : PART_DEFAULT;
    if (config->equal_parts || !step)
        return size;

    for (unsigned n = number - 1; n >= step && size < last; n -= step)
        size *= 2;
    if (size > last && config->part_size < last)
        size = last;
    return size;
}

static size_t round_up(size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (size + page - 1) / page * page;
}

/* The budget is taken before the memory, so that two streams cannot both see the same gap. */
static bool take_budget(struct s3pve_client *client, size_t bytes, bool must) {
    unsigned long long before = atomic_fetch_add(&client->part_memory, bytes);

    if (must || before + bytes <= STORAGE_MEMORY)
        return true;
    atomic_fetch_sub(&client->part_memory, bytes);
    return false;
}

int parts_buffer_reserve(
    struct s3pve_client *client, struct part_buffer *buffer, size_t room, bool must
) {
    size_t more;
    void *data;

    room = round_up(room);
    if (room <= buffer->room)
        return 0;
    more = room - buffer->room;
    if (!take_budget(client, more, must))
        return -1;

    if (buffer->data)
        data = mremap(buffer->data, buffer->room, room, MREMAP_MAYMOVE);
    else
        data = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        atomic_fetch_sub(&client->part_memory, more);
        return -1;
    }
    *buffer = (struct part_buffer){.data = data, .room = room};
    return 0;
}

void parts_buffer_shrink(struct s3pve_client *client, struct part_buffer *buffer, size_t used) {
    size_t room = round_up(used ? used : 1);

    if (!buffer->data || room >= buffer->room)
        return;
    munmap(buffer->data + room, buffer->room - room);
    atomic_fetch_sub(&client->part_memory, buffer->room - room);
    buffer->room = room;
}

void parts_buffer_free(struct s3pve_client *client, struct part_buffer *buffer) {
    if (!buffer->data)
        return;
    munmap(buffer->data, buffer->room);
    atomic_fetch_sub(&client->part_memory, buffer->room);
    *buffer = (struct part_buffer){0};
}
