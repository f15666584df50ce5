/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * spare.h - journals of volumes that were handed back, for those that are opened next
 *
 * To fill a journal with zeroes takes seconds, and a guest waits for it at each start.  What an
 * earlier use left in a spare one does not pass for a record, see DESIGN-disks.md 5: its seed is
 * another, and so is the volume, or its jseq is lower.
 */
#ifndef VOLUME_SPARE_H
#define VOLUME_SPARE_H

#include <stdbool.h>
#include <stdint.h>

/* @folder: of a volume, in the one that has the spares.  Return: whether @name in it, which is a
 * journal, is a spare now; else it is as it was. */
bool spare_keep(int folder, const char *name);

/* Return: whether there was one of @len bytes, which now is @name in @folder: its first @head bytes
 * are zeroes, on the disk, too. */
bool spare_take(int folder, const char *name, uint64_t len, uint64_t head);

/* Give their space back. */
void spare_drop_all(int folder);

#endif
