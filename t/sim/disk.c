/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "disk.h"

void disk_init(struct disk *disk, struct world *world, size_t ring_len) {
    *disk = (struct disk){.world = world, .len = ring_len + 2 * (size_t)BLOCK};
    disk->seen = calloc(1, disk->len);
    disk->stable = calloc(1, disk->len);
    disk->dirty = calloc(disk->len / SECTOR, sizeof(bool));
    disk->syncing = calloc(disk->len / SECTOR, sizeof(bool));
}

void disk_clear(struct disk *disk) {
    free(disk->seen);
    free(disk->stable);
    free(disk->dirty);
    free(disk->syncing);
}

void disk_write(struct disk *disk, size_t at, const void *data, size_t len) {
    must_hold(disk->world, at + len <= disk->len, "a write beyond the end of the journal");
    memcpy(disk->seen + at, data, len);
    for (size_t i = at / SECTOR; i < (at + len) / SECTOR; i++) {
        disk->dirty[i] = true;
        disk->syncing[i] = false; /* a sync that has begun need not cover it */
    }
}

void disk_write_some(struct disk *disk, size_t at, const void *data, size_t len) {
    unsigned of = 1 + world_chance(disk->world, 4);

    for (size_t i = 0; i < len; i += SECTOR)
        if (world_chance(disk->world, of) == 0)
            disk_write(disk, at + i, (const uint8_t *)data + i, SECTOR);
}

void disk_sync_begin(struct disk *disk) {
    memcpy(disk->syncing, disk->dirty, disk->len / SECTOR * sizeof(bool));
}

void disk_sync_end(struct disk *disk) {
    for (size_t i = 0; i < disk->len / SECTOR; i++) {
        if (!disk->syncing[i])
            continue;
        memcpy(disk->stable + i * SECTOR, disk->seen + i * SECTOR, SECTOR);
        disk->dirty[i] = disk->syncing[i] = false;
    }
}

void disk_power_cut(struct disk *disk) {
    unsigned of = 1 + world_chance(disk->world, 4);

    for (size_t i = 0; i < disk->len / SECTOR; i++) {
        if (disk->dirty[i] && world_chance(disk->world, of) == 0)
            memcpy(disk->stable + i * SECTOR, disk->seen + i * SECTOR, SECTOR);
        disk->dirty[i] = disk->syncing[i] = false;
    }
    memcpy(disk->seen, disk->stable, disk->len);
}

void disk_erase(struct disk *disk) {
    memset(disk->seen, 0, disk->len);
    memset(disk->stable, 0, disk->len);
    memset(disk->dirty, 0, disk->len / SECTOR * sizeof(bool));
    memset(disk->syncing, 0, disk->len / SECTOR * sizeof(bool));
}
