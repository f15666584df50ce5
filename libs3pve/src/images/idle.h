/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * idle.h - a volume as its root tells of it, whether or not somebody has it open
 *
 * The root's members that are of this layer alone, see s3pve-format(5): `created`, and `length`,
 * which makes it a file that grows.
 */
#ifndef IMAGES_IDLE_H
#define IMAGES_IDLE_H

#include "images/names.h"
#include "volume/store.h"

struct idle {
    struct store store;
    struct root root;
    char etag[ETAG_ROOM];
};

/* What is asked of the volume @name, within the time of @call.  Return: 0, or -1 (INVALID). */
int idle_begin(
    struct idle *idle,
    struct s3pve_client *client,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
);
/* Begin, and read it.  Return: 0, or -1 (NOT_FOUND, also while it is deleted). */
int idle_look(
    struct idle *idle,
    struct s3pve_client *client,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
);
/* Its root now.  Return: 0, or -1 (NOT_FOUND ...). */
int idle_read(struct idle *idle, struct s3pve_error *err);
/* The same, and what somebody began with it is finished.  NOT_FOUND, also if that is its end here.
 */
int idle_settle(struct idle *idle, struct s3pve_error *err);
void idle_end(struct idle *idle);

/* Its name is free, its objects are in the trash.  @me: who asks, or NULL: no node; @times: of
 * leases.  Return: 0, or -1 (NOT_FOUND; CONFLICT: another node that lives has it, or with NULL
 * any).
 */
int idle_delete(
    struct idle *idle,
    const struct volume_node *me,
    const struct lease_times *times,
    struct s3pve_error *err
);
/* Can it have that name, for all that the two say?  Return: 0, or -1 (INVALID). */
int idle_check_rename(const char *name, const char *new_name, struct s3pve_error *err);
/* To a name that was checked.  Return: 0, or -1 (NOT_FOUND; CONFLICT: it is not closed, or the name
 * is taken). */
int idle_rename(struct idle *idle, const char *new_name, struct s3pve_error *err);

bool idle_is_file(const struct root *root);
uint64_t idle_length(const struct root *root); /* bytes, of a file */
void idle_info(const char *name, const struct root *root, struct s3pve_volume_info *ret_info);

/* When a call ends, clock_monotonic_ms(). */
int64_t idle_until_ms(const struct s3pve_client *client, const struct s3pve_call *call);

#endif
