/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * runtime_private.h - what runtime*.c share
 *
 *     runtime.c          the thread, its events, requests
 *     runtime_open.c     opening
 *     runtime_end.c      draining, growing, the end
 *     runtime_ops.c      what the machine wants done: journal, uploads, lease
 *     runtime_read.c     reads, edges of writes, reading ahead
 *     runtime_map.c      pages of the map, checkpoints, deletions
 */
#ifndef VOLUME_RUNTIME_PRIVATE_H
#define VOLUME_RUNTIME_PRIVATE_H

#include <time.h>

#include "base/pool.h"
#include "volume/machine.h"
#include "volume/runtime.h"

struct volumes {
    struct s3pve_client *client; /* borrowed */
    char *state_dir;             /* owned */
    uint64_t journal_size;
    struct volume_node me;
    struct lease *lease;                   /* owned, as these */
    struct pool *local, *remote, *uploads; /* for the node's disk, reads from the bucket, PUTs */
    struct readcache *cache;
    struct flights flights;
};

/* A record that is written. */
struct written {
    uint64_t jseq;
    struct s3pve_error err; /* .code S3PVE_OK: it is */
};

/* Somebody who reads in order. */
struct stream {
    uint64_t next;  /* where he goes on, if he does */
    uint64_t ahead; /* up to where it was asked for */
    uint64_t window;
    int64_t used_ms;
};

/* Where a thread of the pool works for the machine, one at a time. */
struct io {
    struct event event;
    struct s3pve_error err;
    struct superblock superblock;
};

struct runtime {
    struct volumes *volumes; /* borrowed */
    struct volume *volume;   /* owned, as these */
    struct journal_file *journal;
    struct store store;
    struct root root;
    char etag[ETAG_ROOM];
    struct volume_params params;
    pthread_t thread;
    int cancel; /* atomic: nothing may wait any more */
    bool is_held, has_thread;

    /* --- the volume's thread alone */
    struct event *soon, **soon_last; /* what ops have done at once */
    struct written written[4 * JRECORDS_IN_FLIGHT];
    unsigned n_written;
    struct iovec iov[1 + JRECORD_ENTRIES_MAX];
    struct io syncing, superblock, publishing, deleting;
    const struct checkpoint *checkpoint; /* being published; the machine's */
    char (*doomed)[OBJECT_NAME];         /* owned; objects being deleted */
    uint32_t n_doomed;
    size_t not_written_back; /* bytes of records */
    bool writing_back;
    struct event write_back_event;
    int64_t wake_ms; /* 0: never */
    uint64_t term;   /* of the lease, when the root was last known to be ours */
    bool reclaiming; /* a thread is finding out */
    uint64_t reclaim_term;
    struct s3pve_error reclaim_error;
    struct event reclaim_event;
    struct stream streams[STREAMS_MAX];
    unsigned n_ahead; /* requests of ours */
    bool out_of_memory;
    unsigned n_answered;         /* of n_requests, in this turn */
    struct runtime_stats counts; /* of what there was so far */

    pthread_mutex_t root_lock; /* for one protocol with the root after the other */

    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t changed;
    struct event *first, **last; /* what has happened */
    bool asleep;                 /* the thread is, until it does */
    unsigned n_requests, n_jobs;
    bool refusing, closing; /* requests; and the thread ends, too */
    struct event cancelling;
    bool is_drained;
    unsigned n_watching; /* who wants to hear of each turn */
    struct runtime_stats stats;
};

/* --- runtime.c */

/* From any thread: have the volume's one call event->fn. */
void runtime_post(struct runtime *runtime, struct event *event);
void runtime_post_locked(struct runtime *runtime, struct event *event);
/* From the volume's thread: the same, when the machine has come to rest. */
void runtime_soon(struct runtime *runtime, struct event *event);

/* Have a thread of @pool run fn(arg), which ends with runtime_post_job(). */
int runtime_job(struct runtime *runtime, struct pool *pool, void (*fn)(void *arg), void *arg);
void runtime_post_job(struct runtime *runtime, struct event *event);

/* A request of the machine's or ours, from the volume's thread. */
void runtime_begin(struct runtime *runtime, struct runtime_request *request);

void *runtime_thread(void *arg);
/* What has happened, and all that comes of it. */
void runtime_turn(struct runtime *runtime, struct event *events);

/* --- runtime_ops.c */

extern const struct volume_ops runtime_volume_ops;
void runtime_ops_init(struct runtime *runtime);
void runtime_tell_written(struct runtime *runtime);
/* Why what is to be stored waits, if it does: for people. */
void runtime_tell_waiting(struct runtime *runtime, const struct s3pve_error *err);
/* After the lease was not valid for a while: is the volume still ours? */
void runtime_check_lease(struct runtime *runtime);

/* --- runtime_map.c */

void runtime_map_init(struct runtime *runtime);
void runtime_map_clear(struct runtime *runtime);
void runtime_page_get(void *ctx, const struct volume_page *page);
void runtime_checkpoint_put(void *ctx, const struct checkpoint *checkpoint);
void runtime_objects_delete(void *ctx, const char (*names)[OBJECT_NAME], uint32_t n);

/* --- runtime_read.c */

/* Sums of the blocks it covers as a whole.  Return: 0, or -1 without memory. */
int runtime_prepare(struct runtime_request *request);
void runtime_clear(struct runtime_request *request);
/* Where block @i of those it touches lies. */
uint8_t *runtime_block(const struct runtime_request *request, uint32_t i);
void runtime_read_op(
    void *ctx, struct volume_request *request, const struct volume_piece *pieces, uint32_t n
);
void runtime_edges_op(
    void *ctx, struct volume_request *request, const struct volume_piece *pieces, uint32_t n
);
void runtime_read_ahead(struct runtime *runtime, const struct runtime_request *request);

#endif
