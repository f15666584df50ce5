/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * lease.h - that this node lives, said in the bucket; and whether another one does
 *
 * One object a node, `.s3pve/nodes/NODE.json`, written anew while any volume is held.  It is valid
 * for a while from the start of the last write that succeeded; who wants a volume of ours must see
 * it unchanged for longer than that.  Both count their own time, suspended or not (CLOCK_BOOTTIME),
 * and no two clocks need to agree.
 *
 * Once it was not valid, somebody may have taken a volume since, and its being valid again says
 * nothing: so valid times have numbers, and who held a volume in an earlier one must first swap its
 * root (I8), which fails if it is lost and stops whoever was about to take it.
 */
#ifndef VOLUME_LEASE_H
#define VOLUME_LEASE_H

#include "volume/open.h"

struct lease;

struct lease_times { /* ms */
    unsigned renew, valid, observe;
};

/* The ones of all nodes of a cluster; others are for tests. */
extern const struct lease_times lease_times;

/* @client is borrowed.  NULL without memory. */
struct lease *lease_new(
    struct s3pve_client *client, const struct volume_node *me, const struct lease_times *times
);
struct lease *lease_free(struct lease *lease); /* everything must be dropped */

/* Each volume holds it while it is open.  Waits for a first write.  Return: 0, or -1. */
int lease_hold(struct lease *lease, const int *cancel, struct s3pve_error *err);
void lease_drop(struct lease *lease);

/* The number of the time in which it is valid now; 0: it is not. */
uint64_t lease_term(struct lease *lease);

/* How long to look at another's, and what ends it. */
struct lease_watch {
    struct s3pve_call call;        /* .timeout_ms 0: as long as it takes */
    bool (*has_let_go)(void *ctx); /* NULL, or asked at each look: has it what we want no more? */
    void *ctx;
};

/* Does @node run, under that incarnation?  May take as long as a lease.  Of one that has let go it
 * says that it lives, at once; with TIMEOUT it is not known. */
int lease_owner_lives(
    struct lease *lease,
    const struct volume_node *node,
    const struct lease_watch *watch,
    bool *ret_lives,
    struct s3pve_error *err
);

/* This boot of this node.  Return: 0, or -1 (IO). */
int lease_incarnation(char incarnation[ROOT_INCARNATION], struct s3pve_error *err);

#endif
