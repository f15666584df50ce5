/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * rename.h - a volume gets another name
 *
 *     old root: moving_to = new
 *     new root: where none may be, with the data directory of the old one, and moving_from = old
 *     new root: without moving_from
 *     old root: gone
 *
 * Neither root can be opened while it says so, and whoever finds it half-done goes on.  A new root
 * with moving_from whose old one is gone was written too late, by somebody who was overtaken: what
 * it tells of has moved on, and it is deleted.
 */
#ifndef IMAGES_RENAME_H
#define IMAGES_RENAME_H

#include "images/idle.h"

/* The root of @idle says moving_to: the rest.  Return: 0; or -1 (CONFLICT: another volume has the
 * new name, and this one its old name again). */
int rename_finish(struct idle *idle, struct s3pve_error *err);

/* It says moving_from: the rest, if there is more to it.  Return: 0, or -1. */
int rename_arrive(struct idle *idle, struct s3pve_error *err);

#endif
