/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * runtime.h - open volumes on a node: what moves the machine of each, and brings the bytes
 *
 *     volumes_open() -> runtime_open() -> submit, grow, drain ... -> hand_back, or close
 *
 * One thread a volume moves its machine: what it decides is done at once where nothing has to be
 * waited for (the journal's page cache, the read cache in memory), else by threads that all volumes
 * share.  Whatever happens to the store, requests wait and do not fail (D6).
 */
#ifndef VOLUME_RUNTIME_H
#define VOLUME_RUNTIME_H

#include "volume/fetch.h"

/* --------------------------------------- what the volumes of a storage share on a node */

struct volumes;

struct volumes_options {
    const char *state_dir;  /* exists; a folder a volume, with its journal */
    const char *cache_file; /* NULL: the read cache is in memory */
    uint64_t cache_size;    /* bytes */
    uint64_t journal_size;  /* bytes of a new journal's ring; 0: JOURNAL_RING */
    struct volume_node me;
    struct lease_times times; /* lease_times, but for tests */
};

/* @client is borrowed and must have a thread of its own.  Return: 0, or -1 (NOMEM, IO). */
int volumes_open(
    struct s3pve_client *client,
    const struct volumes_options *options,
    struct volumes **ret_volumes,
    struct s3pve_error *err
);
struct volumes *volumes_close(struct volumes *volumes); /* all must be closed; returns NULL */

void volumes_cache_stats(struct volumes *volumes, struct readcache_stats *ret_stats);

/* ------------------------------------------------------------------ one volume */

struct runtime;

/*
 * Memory of the caller's from runtime_submit() until done().  Data lies in memory as it does on the
 * disk: at offset % BLOCK of a block of memory; of its first and last block all is there, and what
 * is around the data may be written, too.
 */
struct runtime_request {
    struct volume_request request; /* type, offset, len, fua, unmap: the caller's; first */
    uint8_t *data;                 /* READ: receives; WRITE: what to write */
    bool more; /* another one is submitted at once, by the same thread: this can wait for it */

    /* READ: say of each stretch of the range how long it is and whether it is zeroes, instead of
     * reading it.  NULL: read. */
    void (*stretch)(struct runtime_request *request, uint64_t len, bool zero);

    /* Once, from the volume's thread or within submit; may submit, must not wait.  @err NULL:
     * success; else it is borrowed. */
    void (*done)(struct runtime_request *request, const struct s3pve_error *err);

    /* The runtime's. */
    struct runtime *runtime;
    struct event {
        struct event *next;
        void (*fn)(struct runtime *runtime, void *arg);
        void *arg;
    } event;
    struct fetch fetch;
    struct part *parts; /* owned; of a fetch that several threads do */
    unsigned n_parts;
    atomic_uint parts_left;
    struct s3pve_error error;
    uint8_t *edges; /* owned; two blocks */
    uint32_t few_sums[RUNTIME_FEW];
    bool few_zero[RUNTIME_FEW];
};

struct runtime_options {
    bool bucket;          /* durability: a flush means the bucket, else the node's disk */
    unsigned seal_age_ms; /* 0: SEAL_AGE_MS */
};

/*
 * @folder: "images/100/vm-100-disk-0".  May take as long as another node's lease.
 * @cancel: NULL, or where somebody writes, atomically, that it should end.
 * Return: 0, or -1 (CONFLICT: another node or process has it; NOT_FOUND, NO_SPACE, CORRUPT,
 * UNSUPPORTED, IO, CANCELLED).
 */
int runtime_open(
    struct volumes *volumes,
    const char *folder,
    const struct runtime_options *options,
    const int *cancel,
    struct runtime **ret_runtime,
    struct s3pve_error *err
);

uint64_t runtime_size(struct runtime *runtime);  /* bytes */
uint32_t runtime_nonce(struct runtime *runtime); /* of its epoch */

/* Any thread.  Who submits bounds how much is under way. */
void runtime_submit(struct runtime *runtime, struct runtime_request *request);

/* How long to wait, and where somebody writes, atomically, that it should end; or NULL. */
struct runtime_wait {
    unsigned timeout_ms;
    const int *cancel;
};

/* Wait until the bucket has all that was written, and a checkpoint.  Return: 0, or -1 (TIMEOUT,
 * with how much is missing; CANCELLED; or what the volume failed with). */
int runtime_drain(
    struct runtime *runtime, const struct runtime_wait *wait, struct s3pve_error *err
);

/* Its root says @size, and requests up to there are taken.  Return: 0, or -1 (INVALID: it would be
 * smaller; CONFLICT: it is another node's; TIMEOUT, CANCELLED, IO). */
int runtime_grow(
    struct runtime *runtime, uint64_t size, const struct runtime_wait *wait, struct s3pve_error *err
);

/* Change its root, as its owner: see swap.h.  Return: 0, or -1 as runtime_grow(). */
int runtime_change_root(
    struct runtime *runtime,
    int (*change)(struct root *root, const void *arg, struct s3pve_error *err),
    const void *arg,
    const struct runtime_wait *wait,
    struct s3pve_error *err
);

/*
 * Drain it, and let anybody have it; this node keeps nothing of it.  Requests are refused
 * meanwhile. Return: 0, and it is to be closed; or -1 as runtime_drain(), or with what became of
 * its root. Then it may be tried again, or closed, and the volume stays this node's;
 * runtime_is_over() says whether it takes requests as before.
 */
int runtime_hand_back(
    struct runtime *runtime, const struct runtime_wait *wait, struct s3pve_error *err
);
bool runtime_is_over(struct runtime *runtime);

/* What is under way and all that comes fails with CANCELLED; only close() may follow.  Waits for
 * nothing. */
void runtime_cancel(struct runtime *runtime);

/* The end: what is under way fails with CANCELLED.  What the bucket does not have is in the
 * journal, and the volume stays this node's.  NULL is fine; returns it. */
struct runtime *runtime_close(struct runtime *runtime);

struct runtime_stats {
    uint32_t epoch;
    uint64_t size, tip;
    uint64_t journal_size, dirty; /* bytes of the ring: all, and what the bucket does not have */
    int64_t dirty_since_ms;       /* clock_monotonic_ms() of the oldest of it; 0: there is none */
    unsigned n_requests, n_uploads;
    uint64_t n_reads, n_writes, n_flushes, n_stored; /* so far; stored: segments */
    struct s3pve_error waiting; /* why nothing can be stored; .code S3PVE_OK: it can */
    struct s3pve_error failure; /* of the volume; .code S3PVE_OK while all is well */
};
void runtime_stats(struct runtime *runtime, struct runtime_stats *ret_stats);

#endif
