/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * table.h - a node's open volumes, by name
 *
 *     table.c    who waits for what: one at a time opens a volume, or hands it back
 *     open.c     doing so
 *     node.c     the calls that want it done
 *     keeper.c   the thread that does it for what nobody uses
 *     recover.c  after a start
 *     io.c       requests
 *     length.c   files that grow
 *
 * Whoever changes what a volume is (opens it, hands it back, renames it ...) takes() it first, and
 * gives() it back: others wait for that, and for nothing of any other volume.
 */
#ifndef IMAGES_TABLE_H
#define IMAGES_TABLE_H

#include "base/cleanup.h"
#include "base/pool.h"
#include "images/idle.h"
#include "images/state.h"
#include "volume/runtime.h"

/* A call's time, and whether its caller has given up: what is waited for without a deadline of its
 * own looks at `cancel`. */
struct limit {
    struct s3pve_volumes *all;
    struct limit *next;
    int64_t until_ms;
    const int *theirs; /* borrowed; atomic */
    int cancel;        /* atomic */
    bool late;         /* which is why */
    bool waited;       /* for somebody who may have tried to open it after n_tries others did */
    unsigned n_tries;
};

struct s3pve_volume {
    struct s3pve_volumes *all; /* borrowed */
    char name[S3PVE_VOLUME_NAME], uuid[STATE_UUID];

    /* --- whoever took it changes these, with the lock held */
    struct runtime *runtime;       /* owned; NULL: it is not open */
    struct length *length;         /* owned; NULL: its size is fixed */
    bool bucket;                   /* what a flush means */
    struct s3pve_volume_info info; /* as its root was when it was opened */
    bool active;
    bool left;                 /* this node may own it, and nobody wants it: hand it back */
    struct s3pve_error failed; /* the last try to open it or to hand it back */
    int64_t again_ms;          /* no other try in the background before that */

    /* --- all->lock guards these */
    struct s3pve_volume *next;
    bool taken;
    unsigned n_waiting; /* to take it */
    unsigned n_held;
    int64_t idle_ms;  /* since when nobody holds it */
    int *cancel;      /* of the background's work, which whoever waits ends; atomic */
    unsigned n_tries; /* to open it that failed: who waited for one shares what became of it */
};

struct s3pve_volumes {
    struct s3pve_client *client; /* borrowed */
    struct volumes *shared;      /* owned, as these */
    struct pool *background;     /* hands back */
    struct pool *files;          /* waits for the store on behalf of their requests */
    char *state_dir;
    struct volume_node me;
    struct lease_times times;
    unsigned linger_ms;
    pthread_t thread;
    bool has_thread;
    int stop; /* atomic; `stopping` for who polls */

    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t changed;
    struct s3pve_volume *first; /* owned; in no order */
    struct limit *limits;
    bool bucket, stopping;
};

/* s3pve_volumes_open() with times of a lease other than those of a cluster: for tests. */
int table_open(
    struct s3pve_client *client,
    const struct s3pve_volumes_options *options,
    const struct lease_times *times,
    struct s3pve_volumes **ret_volumes,
    struct s3pve_error *err
);

/* --- table.c */

void limit_begin(struct limit *limit, struct s3pve_volumes *all, const struct s3pve_call *call);
void limit_end(struct limit *limit);
/* @err says that it was cancelled: say why. */
int limit_why(const struct limit *limit, struct s3pve_error *err);
unsigned limit_left_ms(const struct limit *limit);
struct runtime_wait limit_wait(const struct limit *limit);

/* Whom a call waits for, besides those who were first. */
enum table_want {
    TABLE_ANY,    /* nobody */
    TABLE_UNHELD, /* who holds it, as he may let go any moment */
    TABLE_IDLE,   /* him, too; but one that is active will be so for long, and is refused */
};

/* The volume @name for the caller alone, open or not.  Return: it, or NULL (INVALID, TIMEOUT,
 * CANCELLED, NOMEM; CONFLICT: it is held, or at once: it is active). */
struct s3pve_volume *table_take(
    struct limit *limit, const char *name, enum table_want want, struct s3pve_error *err
);
struct s3pve_volume *table_find(struct s3pve_volumes *all, const char *name); /* lock held */
/* It is forgotten, if nothing is left of it. */
void table_give(struct s3pve_volume *volume);

/* --- open.c: the caller has taken it */

/* Not open any more; what it leaves is as it would be if this process had died. */
void open_drop(struct s3pve_volume *volume);
/* Return: 0, and it takes requests; or -1. */
int open_volume(struct s3pve_volume *volume, struct limit *limit, struct s3pve_error *err);
int open_set_active(struct s3pve_volume *volume, bool active, struct s3pve_error *err);
/* Everything into the bucket, and nothing of it stays here.  Return: 0, or -1: it is this node's,
 * and can be used as before. */
int open_hand_back(struct s3pve_volume *volume, struct limit *limit, struct s3pve_error *err);
/* It is marked, and its objects are deleted; nobody may hold it.  Return: 0, or -1. */
int open_delete(struct s3pve_volume *volume, struct limit *limit, struct s3pve_error *err);
/* It is handed back, and has another name; nobody may hold it.  Return: 0, or -1. */
int open_rename(
    struct s3pve_volume *volume, const char *name, struct limit *limit, struct s3pve_error *err
);

/* --- keeper.c */

void *keeper_thread(void *arg);

#endif
