/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* node.h - a double of the runtime: a node with a disk, on which the volume may be open */
#ifndef SIM_NODE_H
#define SIM_NODE_H

#include "bucket.h"
#include "disk.h"
#include "fiber.h"
#include "oracle.h"
#include "volume/machine.h"

#define NODE_FIBERS 4
#define SIM_SIZE_MIN ((oracle_clusters[5] + ORACLE_CLUSTER) * BLOCK)
#define SIM_SIZE_MAX ((oracle_clusters[7] + ORACLE_CLUSTER) * BLOCK)

struct sim;

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
    struct fiber *fibers[NODE_FIBERS]; /* protocols under way */
    int64_t lease_until;
    bool paused;
    bool opening;
    bool root_busy; /* one protocol with the root at a time */
    enum { ENDING_NONE, ENDING_BEGUN, ENDING_CLOSED, ENDING_UNKNOWN } ending;
    int64_t wake_ms;
};

/* Something under way.  What it does happens when its time has come, or not at all. */
struct ticket {
    struct node *node;
    unsigned life;
    struct ticket *next; /* among node->writes */
    struct volume_request *request;
    uint64_t number; /* jseq, or seq */
    size_t at, len;
    uint8_t *data; /* owned */
    char name[OBJECT_NAME];
    struct page_id page;
    bool landed;
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
    unsigned opening;    /* somebody opens: promises made from now on are the old one's */
    size_t answered, safe, stored; /* writes that were answered, flushed, and are in the bucket */
    uint64_t size;                 /* that the root was said to have */
    bool over;                     /* it is being deleted */
    bool liar;                     /* the bucket looks at no condition: there are locks instead */
    struct {
        bool held;
        uint64_t id; /* counts those who got it */
        int64_t since;
    } lock;
    uint64_t next_id;
    unsigned n_answers, n_opens, n_refused, n_fenced, n_aside, n_pages, n_published, n_deleted,
        n_closed, n_grown;
};

/* --- runtime.c */

extern const struct volume_ops runtime_ops;

struct ticket *ticket_new(struct node *node);
void ticket_free(struct ticket *ticket);

/* Is its node still the one that asked?  Then it goes on; while it stands still, later. */
bool ticket_is_heard(struct ticket *ticket, world_fn again);

bool sim_happens(struct sim *sim, unsigned percent);
int64_t sim_soon(struct sim *sim);
bool node_counts(const struct node *node); /* is what it is promised the oracle's business? */
void node_note_stored(struct node *node);
void node_forget(struct node *node, struct guest_request *asked);
/* Block @i of a piece, from where a runtime would have it. */
void runtime_fetch(struct node *node, const struct volume_piece *piece, uint32_t i, uint8_t *block);
void runtime_sum(struct volume_request *request, uint32_t i, const uint8_t *block);
void runtime_superblock(struct node *node, const struct superblock *superblock);
void runtime_kill(struct node *node);

/* --- uploads.c */

/* The bytes, which it takes over, land in the bucket in some ms, whoever has died. */
void uploads_land(struct sim *sim, int64_t ms, const char *name, const void *data, size_t len);
/* How long until that, or -1: never.  *ret_fails: its answer does not say so. */
int64_t uploads_fate(struct sim *sim, int64_t answer_ms, bool *ret_fails);
void uploads_segment(
    void *ctx,
    const struct segment_id *id,
    const void *header,
    size_t len,
    const struct batch_piece *pieces,
    uint32_t n
);
void uploads_page(void *ctx, const struct volume_page *page);
void uploads_delete(void *ctx, const char (*names)[OBJECT_NAME], uint32_t n);

/* A page as the bucket has it.  0, or -1: it is not there. */
int uploads_read_page(struct sim *sim, const struct volume_page *page, struct buf *bytes);

/* --- store.c */

extern const struct volume_store sim_store;

int store_root_get(void *ctx, struct buf *text, char etag[ETAG_ROOM], struct s3pve_error *err);

/* Time passes.  0, or -1: it died. */
int store_wait(struct node *node, int64_t ms, struct s3pve_error *err);

/* One request for the root.  *ret_lost: it may have been done, or be done yet. */
int store_swap(
    struct node *node,
    const char *text,
    const char *etag,
    char new_etag[ETAG_ROOM],
    bool *ret_lost,
    struct s3pve_error *err
);
int store_remove(struct node *node, struct s3pve_error *err);

/* --- locks.c: the same where the bucket looks at no condition */

#define LOCKS_LATE_MS 80 /* a write lands by then, or never */

int locks_put(
    struct node *node,
    const char *text,
    const char *etag,
    char new_etag[ETAG_ROOM],
    struct s3pve_error *err
);
int locks_remove(struct node *node, const char *etag, struct s3pve_error *err);

/* --- protocols.c */

/* A fiber of the node's, which its death ends. */
void node_start(struct node *node, world_fn fn);
void protocols_publish(void *ctx, const struct checkpoint *checkpoint);

/* Opens the volume here.  False: it could not, and is not open. */
bool node_open(struct node *node);
bool node_close(struct node *node);
void node_grow(struct node *node);
void node_make(struct node *node);
bool node_delete(struct node *node);
bool node_is_open(const struct node *node);

/* --- check.c */

void check_opened(struct node *node);

/* --- node.c */

void node_init(struct node *node, struct sim *sim, const char *name);
void node_clear(struct node *node);
void node_kill(struct node *node);
void node_ask(struct node *node); /* one request of its guest */

#endif
