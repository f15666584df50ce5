/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* disk.h - a node's disk with one journal: what is not synced may be lost, sector by sector */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "volume/jrecord.h"
#include "world.h"

#define SECTOR 512u

struct disk {
    struct world *world;
    size_t len;             /* two superblocks and the ring */
    uint8_t *seen, *stable; /* what is read now; what a loss of power leaves */
    bool *dirty;            /* sectors that differ, maybe */
    bool *syncing;          /* of those, what the sync under way covers */
};

void disk_init(struct disk *disk, struct world *world, size_t ring_len);
void disk_clear(struct disk *disk);
void disk_write(struct disk *disk, size_t at, const void *data, size_t len);
/* Some sectors of it, as when its writer is killed. */
void disk_write_some(struct disk *disk, size_t at, const void *data, size_t len);
void disk_sync_begin(struct disk *disk); /* what is written now ... */
void disk_sync_end(struct disk *disk);   /* ... is safe now */
void disk_power_cut(struct disk *disk);
void disk_erase(struct disk *disk);

#endif
