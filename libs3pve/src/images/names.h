/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * names.h - a volume's name, and the folder it has in the bucket
 *
 *     100/vm-100-disk-0.raw      images/100/vm-100-disk-0      what most have is left out
 *     100/vm-100-disk-1.qcow2    images/100/vm-100-disk-1.qcow2
 *     100/vm-100-a.b.raw         images/100/vm-100-a.b.raw     else it would be 100/vm-100-a.b
 *
 * Each is told by the other.
 */
#ifndef IMAGES_NAMES_H
#define IMAGES_NAMES_H

#include "s3pve-volume.h"
#include "volume/root.h"

#define NAMES_TOP "images/"

/* @name is a good one. */
void names_folder(const char *name, char folder[ROOT_FOLDER]);

/* @folder may end in "/".  Return: whether it is a volume's; then @name is which. */
bool names_of_folder(const char *folder, char name[S3PVE_VOLUME_NAME]);

/* The guest's number at the start of @name, up to "/" or the end; 0: there is none. */
uint64_t names_vmid(const char *name);

/* A node's name: part of keys, and of JSON. */
int names_check_node(const char *node, struct s3pve_error *err);

#endif
