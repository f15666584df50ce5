/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* node.h - a double of the runtime: a node with a disk, on which the volume may be open */
#ifndef SIM_NODE_H
#define SIM_NODE_H

#include "bucket.h"
#include "disk.h"
#include "oracle.h"
#include "volume/machine.h"

struct sim;
struct ticket;

/* What a guest asked, with its bytes: whole blocks, also where it covers parts. */
struct guest_request {
    struct volume_request request; /* first: answers come with it */
    struct guest_request *next;
    uint8_t *data;
    size_t least; /* READ: the writes that were answered when it was asked */
};

struct node {
    struct sim *sim;
    struct volume_node me;
    struct disk disk;
    struct volume *volume; /* NULL: it is not open here */
    struct root root;
    char etag[ETAG_ROOM];
    unsigned life;         /* counted up by its death: what was under way is then nobody's */
    struct ticket *writes; /* to its disk, under way */
    struct guest_request *asked;
    int64_t lease_until;
    bool paused;
    bool opening;
    int64_t wake_ms;
};

enum loss { LOSS_DAEMON, LOSS_POWER, LOSS_DISK };

struct sim {
    struct world world;
    struct bucket bucket;
    struct oracle oracle;
    struct node nodes[2];
    struct volume_params params;
    size_t ring_len;
    bool plain;          /* the guest writes single blocks, two at once: records are alike */
    unsigned trouble;    /* of a hundred requests, how many fail */
    struct node *writer; /* whose writes count */
    enum loss loss;      /* since it opened */
    bool frozen;         /* somebody else opens: promises made from now on are the old one's */
    size_t answered, safe, stored; /* writes that were answered, flushed, and are in the bucket */
    uint64_t next_id;
    unsigned n_answers, n_opens, n_refused, n_fenced, n_aside;
};

/* --- runtime.c */

extern const struct volume_ops runtime_ops;

bool sim_happens(struct sim *sim, unsigned percent);
bool node_counts(const struct node *node); /* is what it is promised the oracle's business? */
void node_note_stored(struct node *node);
void node_forget(struct node *node, struct guest_request *asked);
/* Block @i of a piece, from where a runtime would have it. */
void runtime_fetch(struct node *node, const struct volume_piece *piece, uint32_t i, uint8_t *block);
void runtime_sum(struct volume_request *request, uint32_t i, const uint8_t *block);
void runtime_superblock(struct node *node, const struct superblock *superblock);
void runtime_kill(struct node *node);

/* --- store.c */

extern const struct volume_store sim_store;

/* --- node.c */

void node_init(struct node *node, struct sim *sim, const char *name);
void node_clear(struct node *node);

/* Opens the volume here.  False: it could not, and is not open. */
bool node_open(struct node *node);
void node_kill(struct node *node);
void node_ask(struct node *node); /* one request of its guest */
void node_read_all(struct node *node, uint64_t hashes[ORACLE_BLOCKS]);

#endif
