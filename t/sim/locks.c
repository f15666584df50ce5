/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* locks.c - a bucket that looks at no condition, and a cluster's lock, which knows no bucket */
#include "core/error.h"
#include "node.h"
#include "volume/arbiter.h"

#define LIFE_MS 120
#define WAIT_MS (3 * LIFE_MS)

struct locking {
    struct node *node;
    uint64_t id; /* of the lock that we got */
    int64_t since;
};

static int64_t now_of(const struct locking *locking) {
    return locking->node->sim->world.now_ms;
}

static bool is_surely_ours(const struct locking *locking) {
    return now_of(locking) - locking->since < LIFE_MS / 4 * 3;
}

/* The cluster takes a moment, before and after. */
static int message(struct locking *locking, struct s3pve_error *err) {
    return store_wait(locking->node, world_chance(&locking->node->sim->world, 3), err);
}

static int take(void *ctx, struct s3pve_error *err) {
    struct locking *locking = ctx;
    struct sim *sim = locking->node->sim;
    int64_t began = now_of(locking);

    for (;;) {
        locking->since = now_of(locking);
        if (message(locking, err) < 0)
            return -1;
        if (!sim->lock.held || now_of(locking) - sim->lock.since > LIFE_MS)
            break;
        if (now_of(locking) - began > WAIT_MS)
            return error_set(err, S3PVE_E_TIMEOUT, "somebody has the lock");
        if (store_wait(locking->node, 1 + world_chance(&sim->world, 10), err) < 0)
            return -1;
    }
    sim->lock.held = true;
    sim->lock.since = now_of(locking);
    locking->id = ++sim->lock.id;
    return message(locking, err);
}

/* The other node's, or nobody's, cannot be renewed; another process's on this node can. */
static int renew(void *ctx, struct s3pve_error *err) {
    struct locking *locking = ctx;
    struct sim *sim = locking->node->sim;

    if (message(locking, err) < 0)
        return -1;
    if (!is_surely_ours(locking) || !sim->lock.held || sim->lock.id != locking->id)
        return error_set(err, S3PVE_E_IO, "the lock is not ours");
    sim->lock.since = locking->since = now_of(locking);
    return 0;
}

static void drop(void *ctx) {
    struct locking *locking = ctx;

    if (message(locking, NULL) == 0 && is_surely_ours(locking))
        locking->node->sim->lock.held = false;
}

static int get(void *ctx, struct buf *text, char etag[ETAG_ROOM], struct s3pve_error *err) {
    struct locking *locking = ctx;

    return store_root_get(locking->node, text, etag, err);
}

static int put(
    void *ctx, const char *text, const char *etag, bool *ret_lost, struct s3pve_error *err
) {
    struct locking *locking = ctx;
    char new_etag[ETAG_ROOM];

    return store_swap(locking->node, text, etag, new_etag, ret_lost, err);
}

static int remove_root(void *ctx, const char *etag, bool *ret_lost, struct s3pve_error *err) {
    struct locking *locking = ctx;

    *ret_lost = store_remove(locking->node, err) < 0;
    return *ret_lost ? -1 : 0;
}

static const struct arbiter_ops ops = {take, renew, drop, get, put, remove_root};

int locks_put(
    struct node *node,
    const char *text,
    const char *etag,
    char new_etag[ETAG_ROOM],
    struct s3pve_error *err
) {
    struct locking locking = {.node = node};

    return arbiter_put(&ops, &locking, text, etag, new_etag, err);
}

int locks_remove(struct node *node, const char *etag, struct s3pve_error *err) {
    struct locking locking = {.node = node};

    return arbiter_remove(&ops, &locking, etag, err);
}
