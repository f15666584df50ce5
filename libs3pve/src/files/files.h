/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * files.h - one mounted storage, and what all of files/ shares
 *
 * Locks, in the order they may be taken: a stream's `io` (held across the network: only its own
 * writer, and who renames, truncates or removes that very file, wait for it), then `lock`, which is
 * never held across the network or the disk.  A reader's and the caches' own locks come last.
 */
#ifndef FILES_FILES_H
#define FILES_FILES_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/pool.h"
#include "files/blocks.h"
#include "files/buffers.h"
#include "files/record.h"
#include "files/tree.h"
#include "s3pve.h"

/* Bytes below the prefix: counted now and then, and kept up to date by our own changes. */
struct usage {
    uint64_t bytes, objects;
    uint64_t reserved; /* of files being written, not yet in the store */
    int64_t as_of_s;
    bool counting;
    unsigned counted_epoch;             /* when the last count began */
    int64_t bytes_since, objects_since; /* our changes since the running count began */
    int64_t due_ms;
};

struct s3pve_files {
    struct s3pve_client *client; /* borrowed */
    char *state_dir, *cache_dir; /* owned; cache_dir NULL: none */
    uint64_t virtual_size;
    unsigned dir_ttl_ms;
    struct pool *listers, *readers;
    struct blocks *blocks;
    struct buffers buffers; /* of what is read ahead */
    struct records records;
    atomic_ullong spool_bytes, local_bytes; /* on the node's disk */
    atomic_ullong head_bytes, ahead_bytes;  /* in memory, to be written and read ahead */
    int closing;                            /* atomic; ends every call of ours */

    pthread_mutex_t lock;   /* guards everything below */
    pthread_cond_t changed; /* a listing, a writer or a change of a key ended */
    struct tree tree;
    struct stream *streams;   /* all of them, see stream.h */
    struct keylock *keylocks; /* keys that are being changed, see keylock.h */
    struct s3pve_files_notify notify;
    uint64_t quota;
    struct usage usage;
    unsigned epoch; /* moves when all that is known of the store is to count as old */
    bool online;
    int64_t checked_ms; /* the last heartbeat */
    unsigned checked_epoch;
    int64_t gave_up_ms; /* a change of a name, since nobody answered; 0: never */
    int64_t abort_due_ms;
    bool aborting; /* what an outage left */
    char last_error[256];
    unsigned n_open;
};

/* --- files.c */

/* The caller's deadline and cancellation: @timeout_ms 0 is the client's. */
struct s3pve_call files_call(struct s3pve_files *files, unsigned timeout_ms);

/* For bytes nobody has cached, and for a change of a name, during which the kernel keeps others out
 * of its directory: shorter while the store is known not to answer. */
struct s3pve_call files_read_call(struct s3pve_files *files);
struct s3pve_call files_name_call(struct s3pve_files *files);

/* Log what failed, remember it for people, and say it in errno: always negative. */
int files_fail(
    struct s3pve_files *files, const char *operation, const char *key, const struct s3pve_error *err
);

/* The same for a read: -ESTALE when the store has another version or none, which is not logged. */
int files_read_fail(struct s3pve_files *files, const char *key, const struct s3pve_error *err);

/* The store answered, as far as listing and heartbeat can tell. */
void files_mark_online(struct s3pve_files *files);
bool files_is_online(struct s3pve_files *files);

/* With `lock` held: until `changed`, or so many milliseconds. */
void files_wait(struct s3pve_files *files, unsigned ms);

/* A node by number; NULL when unknown.  With `lock` held, like all of the tree. */
struct node *files_node(struct s3pve_files *files, uint64_t ino);
/* The same for a directory that still has a place.  Return: 0, -ENOENT, or -ENOTDIR. */
int files_dir(struct s3pve_files *files, uint64_t ino, struct node **ret_dir);

/* Can it be stored?  A name that cannot should not be accepted at all.  Return: 0, -ENAMETOOLONG,
 * -EINVAL, -ENOMEM. */
int files_check_new_name(struct s3pve_files *files, const struct node *dir, const char *name);

void files_stat(struct s3pve_files *files, const struct node *node, struct stat *ret_attr);

/* --- usage.c, with `lock` held */

/* May files being written grow by @bytes?  Return: 0, or -ENOSPC. */
int usage_reserve(struct s3pve_files *files, uint64_t bytes);
void usage_release(struct s3pve_files *files, uint64_t bytes);
/* An object came (+1), went (-1) or changed (0). */
void usage_change(struct s3pve_files *files, int64_t bytes, int objects);

#endif
