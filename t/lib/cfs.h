/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * cfs.h - a folder of locks that behaves as Proxmox VE's cluster file system does: one that
 * somebody asks for goes when it was not renewed for its life
 */
#ifndef CFS_H
#define CFS_H

#include <sys/types.h>

/* A process looks after @dir until it is killed, or this one ends. */
pid_t cfs_start(const char *dir, unsigned life_ms);
void cfs_stop(pid_t pid);

#endif
