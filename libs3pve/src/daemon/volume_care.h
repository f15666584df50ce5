/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* volume_care.h - the daemon's volumes from its start to its end, when nobody asks for anything */
#ifndef DAEMON_VOLUME_CARE_H
#define DAEMON_VOLUME_CARE_H

#include "daemon/daemon.h"
#include "daemon/export.h"

/** volume_care_open() - with the configuration's folders; no network.  Return: 0, or -1 */
int volume_care_open(struct daemon *daemon, struct s3pve_error *err);

/** volume_care_recover() - open what an earlier daemon had, and serve it.  Return: whether all is
 *  open now; else it has to be called again */
bool volume_care_recover(struct daemon *daemon, unsigned timeout_ms);

/** struct volume_care - what has been told of volumes that failed */
struct volume_care {
    struct volume_failed *failed; /* owned */
};

/** volume_care_look() - serve the active ones that are not served, tell clients of new sizes, and
 *  people of volumes that failed */
void volume_care_look(struct daemon *daemon, struct volume_care *care);
void volume_care_clear(struct volume_care *care);

/** volume_care_serve_all() - those that are active and not served, as far as nobody is at work on
 *  them */
void volume_care_serve_all(struct daemon *daemon);

/** volume_care_serve() - the same of one that was taken */
void volume_care_serve(struct daemon *daemon, struct export *export, const char *name);

/** volume_care_empty_trash() - the objects of deleted volumes.  Return: whether all are gone */
bool volume_care_empty_trash(struct daemon *daemon);

/** volume_care_hand_back() - at the end, of a daemon that will not come back: all that are open */
void volume_care_hand_back(struct daemon *daemon, int64_t until_ms);

/** volume_care_find() - the open volume @name.  Return: whether there is one */
bool volume_care_find(
    struct daemon *daemon, const char *name, struct s3pve_volume_stats *ret_stats
);

/** struct volume_sum - of all that are open */
struct volume_sum {
    unsigned n_open, n_active, n_failed;
    unsigned n_used; /* held by files, or with NBD clients */
    unsigned n_uploads;
    uint64_t dirty;   /* bytes that the bucket does not have, */
    int64_t dirty_ms; /* of which the oldest is so old */
};
struct volume_sum volume_care_sum(struct daemon *daemon);

#endif
