/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * s3pve-volume.h - virtual disks in the bucket: the public API's second half
 *
 * Reading order: names, volumes that nobody has open, what the bucket has of one, a node's volumes,
 * one open volume, requests.
 *
 * A volume's name is that of its file below images/: "100/vm-100-disk-0.raw".  A volume made with a
 * size has that size until it is resized; one made with S3PVE_VOLUME_FILE is as long as what was
 * written to it, like any file, which is what qcow2 and vmdk need.
 *
 * Conventions are those of s3pve.h.
 */
#ifndef S3PVE_VOLUME_H
#define S3PVE_VOLUME_H

#include <s3pve.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------ names */

#define S3PVE_VOLUME_NAME 200 /* room for a name, with its NUL */
#define S3PVE_VOLUME_NODE 64  /* and for a node's */

/** s3pve_volume_check_name() - "VMID/FILE", of what file names may have.  Return: 0, or -1
 * (INVALID) */
int s3pve_volume_check_name(const char *name, struct s3pve_error *err);

/* --------------------------------------------------- volumes that nobody has open */

enum s3pve_volume_state {
    S3PVE_VOLUME_CLOSED,  /* anybody may open it */
    S3PVE_VOLUME_OPEN,    /* .node has it, or had when it was last heard of */
    S3PVE_VOLUME_CLAIMED, /* .node is about to have it */
    S3PVE_VOLUME_MOVING,  /* being renamed */
};

struct s3pve_volume_info {
    char name[S3PVE_VOLUME_NAME];
    uint64_t size;   /* bytes */
    int64_t created; /* seconds since the epoch; 0: unknown */
    enum s3pve_volume_state state;
    bool is_file;                 /* S3PVE_VOLUME_FILE */
    char node[S3PVE_VOLUME_NODE]; /* "" nobody's */
};

#define S3PVE_VOLUME_FILE UINT64_MAX /* as a size: as long as what is written to it */

/** s3pve_volume_create() - one write to the bucket.  @size: bytes, of whole sectors (512), at least
 *  one; or S3PVE_VOLUME_FILE, which begins with none.  Return: 0, or -1 (CONFLICT: there is one;
 *  INVALID) */
int s3pve_volume_create(
    struct s3pve_client *client,
    const char *name,
    uint64_t size,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_volume_stat() - one read.  Return: 0, or -1 (NOT_FOUND, also while it is deleted) */
int s3pve_volume_stat(
    struct s3pve_client *client,
    const char *name,
    struct s3pve_volume_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/**
 * s3pve_volume_list() - what volumes there are, in order of their names
 * @vmid: of one guest, or 0 for all
 * @each: called with each; other than 0 ends it.  Not with those that are being deleted.
 *
 * A listing for each guest and one read for each volume, 16 at once.
 *
 * Return: 0, what @each returned, or -1.
 */
int s3pve_volume_list(
    struct s3pve_client *client,
    uint64_t vmid,
    int (*each)(void *ctx, const struct s3pve_volume_info *info),
    void *ctx,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_volume_rename() - give an idle volume another name; what is begun is finished by whoever
 *  opens, renames or deletes it next.  Return: 0, or -1 (INVALID: a name, or it is the same;
 *  NOT_FOUND; CONFLICT: somebody has it open, or there is one of the new name) */
int s3pve_volume_rename(
    struct s3pve_client *client,
    const char *name,
    const char *new_name,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_volume_delete() - its name is free at once; its objects wait in the trash for
 *  s3pve_volume_empty_trash().  Return: 0, or -1 (NOT_FOUND; CONFLICT: a node that lives has it) */
int s3pve_volume_delete(
    struct s3pve_client *client,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_volume_empty_trash() - delete the objects of deleted volumes, any node's.  May take long;
 *  what is not done by the deadline is left for the next one.  Return: 0, or -1 */
int s3pve_volume_empty_trash(
    struct s3pve_client *client, const struct s3pve_call *call, struct s3pve_error *err
);

/* ------------------------------------------------- what the bucket has of a volume */

/*
 * These read the bucket and nothing else, open nothing and change nothing, whoever has the volume
 * open: then they see what the bucket had when they began.  They may take as long as the volume is
 * large, each request has 30 s, and @call->cancel ends them.  Memory: 100 bytes for each object,
 * and 64 MiB.
 */

/**
 * s3pve_volume_dump() - what it consists of, one JSON object each
 * @all:  also the extents of segments, and what the map says
 * @each: called with each, as text; other than 0 ends it
 *
 * Objects have "what": root, epoch, checkpoint, object, segment, and with @all extent, node, leaf,
 * run; or error, with "key" and "message", for what cannot be read.  s3pve-format(5) has the words.
 *
 * Return: 0, what @each returned, or -1 (NOT_FOUND, IO ...).
 */
int s3pve_volume_dump(
    struct s3pve_client *client,
    const char *name,
    bool all,
    int (*each)(void *ctx, const char *json),
    void *ctx,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** struct s3pve_volume_health - what was found; objects and bytes in the bucket */
struct s3pve_volume_health {
    struct s3pve_volume_info info;      /* .name "": volume.json cannot be read */
    uint64_t n_findings;                /* 0: it is clean */
    uint64_t n_segments, segment_bytes; /* that the disk is in */
    uint64_t n_map, map_bytes;          /* checkpoints' objects */
    uint64_t n_dead, dead_bytes;        /* that wait to be deleted */
    uint64_t n_later, later_bytes;      /* of who has it open, stored meanwhile */
    uint64_t n_garbage, garbage_bytes;  /* that nothing names */
    uint64_t data_bytes;                /* of the disk, by its checkpoint: what is no hole */
};

/**
 * s3pve_volume_fsck() - does what the bucket has of it fit together?
 * @data:       read all data, too, and compare it with its sums
 * @each:       called with each finding: the key of the object, and what is wrong, in words
 * @ret_health: set unless it returns -1
 *
 * Return: 0, whatever was found; or -1 (NOT_FOUND: no such volume; IO, DENIED ...: the bucket could
 * not be read).
 */
int s3pve_volume_fsck(
    struct s3pve_client *client,
    const char *name,
    bool data,
    void (*each)(void *ctx, const char *key, const char *what),
    void *ctx,
    struct s3pve_volume_health *ret_health,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** struct s3pve_volume_export - where to, and what of damage */
struct s3pve_volume_export {
    int fd;             /* an empty file, which gets holes; or anything else, which gets zeroes */
    uint64_t *progress; /* NULL, or a counter that is advanced atomically, bytes of the disk */

    /* NULL: damage is the end.  Else called with each stretch that cannot be read, or whose bytes
     * are not those that were written: it is zeroes then.  @len 0: what was written last. */
    void (*lost)(void *ctx, uint64_t offset, uint64_t len, const char *why);
    void *ctx;
};

/** struct s3pve_volume_copy - what was exported */
struct s3pve_volume_copy {
    struct s3pve_volume_info info; /* .state OPEN: what .node has not stored yet is missing */
    int64_t as_of_s;               /* when the last of it was written, epoch seconds; 0: unknown */
};

/**
 * s3pve_volume_export() - the disk as raw bytes
 * @ret_copy: may be NULL
 *
 * Everything is checked against its sum.  Of a volume that is open it has all up to some write, as
 * after a crash.
 *
 * Return: 0, or -1 (CORRUPT; CONFLICT: who has it open has deleted meanwhile what was needed ...).
 */
int s3pve_volume_export(
    struct s3pve_client *client,
    const char *name,
    const struct s3pve_volume_export *how,
    struct s3pve_volume_copy *ret_copy,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/* -------------------------------------------------------------- a node's volumes */

struct s3pve_volumes; /* of one storage; thread-safe */
struct s3pve_volume;  /* an open one */

struct s3pve_volumes_options {
    const char *state_dir;   /* exists; journals, which must be kept */
    const char *cache_file;  /* the read cache; NULL: in memory */
    uint64_t cache_size;     /* bytes */
    uint64_t journal_size;   /* bytes of a new volume's journal; 0: the default */
    const char *node;        /* this node's name */
    const char *incarnation; /* NULL: the kernel's boot id */
    bool bucket;             /* a flush means the bucket; else this node's disk */
    unsigned linger_ms; /* how long a volume that is not active stays open unused; 0: default */
};

/** s3pve_volumes_open() - @client is borrowed and has its thread.  No network.  Return: 0, or -1 */
int s3pve_volumes_open(
    struct s3pve_client *client,
    const struct s3pve_volumes_options *options,
    struct s3pve_volumes **ret_volumes,
    struct s3pve_error *err
);

/** s3pve_volumes_stop() - the end begins: requests and calls under way fail with CANCELLED, and so
 *  does all that comes; what is left to whoever holds a volume is to release it */
void s3pve_volumes_stop(struct s3pve_volumes *volumes);

/** s3pve_volumes_close() - stop; none may be held any more.  What the bucket does not have stays in
 *  the journals, and the volumes stay this node's.  Returns NULL. */
struct s3pve_volumes *s3pve_volumes_close(struct s3pve_volumes *volumes);

/**
 * s3pve_volumes_recover() - open again what an earlier process left open
 *
 * Those that were active and are of this boot are active again; the rest is brought into the
 * bucket and handed back.  What fails is logged and tried at the next recover or use.
 *
 * Return: how many are active now, or -1 when one that was cannot be opened, so far.
 */
int s3pve_volumes_recover(
    struct s3pve_volumes *volumes, const struct s3pve_call *call, struct s3pve_error *err
);

/**
 * s3pve_volumes_list() - as s3pve_volume_list(), but files that this node has, or had when its last
 * process died, are as long as this node knows them, which the bucket may not yet
 */
int s3pve_volumes_list(
    struct s3pve_volumes *volumes,
    uint64_t vmid,
    int (*each)(void *ctx, const struct s3pve_volume_info *info),
    void *ctx,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_volumes_stat() - as s3pve_volume_stat(), with a file's length as this node knows it */
int s3pve_volumes_stat(
    struct s3pve_volumes *volumes,
    const char *name,
    struct s3pve_volume_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/**
 * s3pve_volumes_activate() - open it and keep it open, whoever uses it, until it is deactivated
 *
 * An active one stays active, also over the death of this process.  May take as long as the lease
 * of another node that died.
 *
 * Return: 0, or -1 (CONFLICT: another node has it, which the message names; NOT_FOUND ...).
 */
int s3pve_volumes_activate(
    struct s3pve_volumes *volumes,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/**
 * s3pve_volumes_deactivate() - bring all of it into the bucket, and let any node have it
 *
 * Waits for whoever still holds it.  One that is not open here: nothing to do.
 *
 * Return: 0, or -1 (CONFLICT: still held; TIMEOUT, IO: how much is missing in the bucket).  It is
 * still active then.
 */
int s3pve_volumes_deactivate(
    struct s3pve_volumes *volumes,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/*
 * The same as of volumes that nobody has open; if this node has, it does what that takes.  What is
 * wrong with a name is said first, and that one is active, which cannot be renamed then, at once.
 * Who holds it is waited for, as he may let go any moment.
 */
int s3pve_volumes_rename(
    struct s3pve_volumes *volumes,
    const char *name,
    const char *new_name,
    const struct s3pve_call *call,
    struct s3pve_error *err
); /* CONFLICT: it is active, or still held */
int s3pve_volumes_delete(
    struct s3pve_volumes *volumes,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
); /* of an active one, too; CONFLICT: it is still held */
int s3pve_volumes_resize(
    struct s3pve_volumes *volumes,
    const char *name,
    uint64_t size,
    const struct s3pve_call *call,
    struct s3pve_error *err
); /* INVALID: it would be smaller, and is no FILE */

struct s3pve_volume_stats {
    struct s3pve_volume_info info;
    bool active;
    unsigned n_held; /* s3pve_volume_hold() */
    uint32_t epoch;
    uint64_t journal_size; /* bytes: all of it, */
    uint64_t dirty;        /* and what the bucket does not have, */
    int64_t dirty_ms;      /* of which the oldest is so old */
    uint64_t n_reads, n_writes, n_flushes, n_segments;
    unsigned n_uploads;
    struct s3pve_error waiting; /* why nothing can be stored; .code S3PVE_OK: it can */
    struct s3pve_error failure; /* the volume's end (fenced ...); .code S3PVE_OK: all is well */
};

/** s3pve_volumes_next() - open volume number @index.  Return: 0, or -1 when there are no more. From
 *  memory. */
int s3pve_volumes_next(
    struct s3pve_volumes *volumes, size_t index, struct s3pve_volume_stats *ret_stats
);

struct s3pve_volumes_cache {
    uint64_t size, used; /* bytes */
    uint64_t hits, misses;
};
void s3pve_volumes_cache(struct s3pve_volumes *volumes, struct s3pve_volumes_cache *ret_cache);

/** s3pve_volumes_set_bucket() - durability, of volumes that are opened from now on */
void s3pve_volumes_set_bucket(struct s3pve_volumes *volumes, bool bucket);

/* ------------------------------------------------------------- one open volume */

/** s3pve_volume_hold() - it, opened if it is not yet, and from then on until it is released */
int s3pve_volume_hold(
    struct s3pve_volumes *volumes,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_volume **ret_volume,
    struct s3pve_error *err
);
/** s3pve_volume_release() - all requests are done.  NULL is fine; returns it. */
struct s3pve_volume *s3pve_volume_release(struct s3pve_volume *volume);

uint64_t s3pve_volume_size(struct s3pve_volume *volume); /* bytes, now */

/* -------------------------------------------------------------------- requests */

enum s3pve_volume_op {
    S3PVE_VOLUME_READ,
    S3PVE_VOLUME_WRITE, /* behind the end of a FILE, which it makes longer; else within the size */
    S3PVE_VOLUME_ZERO,  /* reads as zeroes from then on */
    S3PVE_VOLUME_FLUSH, /* what was answered before is as safe as the durability says */
    S3PVE_VOLUME_MAP,   /* what of it is zeroes: .stretch */
};

/**
 * struct s3pve_volume_request - the caller's, from submit until done()
 *
 * Data lies in memory as it does on the disk: at offset % 4096 of a block of 4096 bytes of memory;
 * of its first and last block all is there, and what is around the data may be written, too.
 */
struct s3pve_volume_request {
    enum s3pve_volume_op op;
    uint64_t offset, len; /* bytes; READ and WRITE at most 32 MiB */
    bool fua;             /* WRITE, ZERO: and as safe as a flush makes it */
    bool unmap;           /* ZERO: need not keep its place */
    uint8_t *data;
    bool more; /* the same thread submits another one at once: this can wait for it */

    /* MAP: the next @len bytes, and whether they are zeroes; several times before done(). */
    void (*stretch)(struct s3pve_volume_request *request, uint64_t len, bool zero);

    /* Once, from any thread or within submit; may submit, must not wait.  @err NULL: success. */
    void (*done)(struct s3pve_volume_request *request, const struct s3pve_error *err);
};

/** s3pve_volume_submit() - does not wait, whatever happens to the store: the request does */
void s3pve_volume_submit(struct s3pve_volume *volume, struct s3pve_volume_request *request);

/** s3pve_volume_truncate() - make a FILE shorter or longer.  May wait. */
int s3pve_volume_truncate(
    struct s3pve_volume *volume,
    uint64_t size,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

#ifdef __cplusplus
}
#endif

#endif
