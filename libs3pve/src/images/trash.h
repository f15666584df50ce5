/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * trash.h - a volume's end
 *
 *     root marked --> note in the trash --> root gone      its name is free
 *                                       objects deleted --> note gone
 *
 * Whoever finds it half-done goes on.
 */
#ifndef IMAGES_TRASH_H
#define IMAGES_TRASH_H

#include "images/idle.h"

/* The root of @idle is marked: the rest.  Return: 0, or -1. */
int trash_finish(struct idle *idle, struct s3pve_error *err);

#endif
