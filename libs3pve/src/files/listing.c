/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * listing.c - a listing runs on a thread of its own and is merged when it is complete
 *
 * Whoever needs the directory waits for it, but not for ever: a listing that takes long goes on
 * while they are answered from what was known before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "core/client.h"
#include "core/error.h"
#include "files/listing.h"
#include "files/names.h"

#define POLL_MS 100 /* between two looks at a waiting caller's cancellation */

struct found {
    char *name; /* owned */
    char *etag; /* owned; NULL for a directory */
    uint64_t size;
    int64_t mtime_s;
};

/* One listing of one directory, and what the kernel must hear of it. */
struct listing {
    struct s3pve_files *files;
    struct node *dir; /* pinned */
    char *prefix;     /* owned; "" or ending in '/' */
    int64_t began_ms;
    unsigned epoch;      /* of the storage, when it began */
    struct found *found; /* owned */
    size_t n_found, room;
    struct {
        char *name; /* owned */
        uint64_t ino;
    } * gone; /* names that no longer mean what they did */
    size_t n_gone;
};

static void listing_free(struct listing *listing) {
    for (size_t i = 0; i < listing->n_found; i++) {
        free(listing->found[i].name);
        free(listing->found[i].etag);
    }
    for (size_t i = 0; i < listing->n_gone; i++)
        free(listing->gone[i].name);
    free(listing->found);
    free(listing->gone);
    free(listing->prefix);
    free(listing);
}
DEFINE_CLEANUP(struct listing *, listing_free)

/* ---------------------------------------------------------------- reading */

/* Names that no file can have (another tool's) are left out: they cannot be shown. */
static int add_found(struct listing *listing, const struct s3pve_entry *entry) {
    size_t skip = strlen(listing->prefix), len = strlen(entry->key);
    struct found *found;
    _free_ char *name = NULL;

    if (len <= skip)
        return 0; /* the directory's own marker */
    name = strndup(entry->key + skip, len - skip - (entry->is_prefix ? 1 : 0));
    if (!name)
        return -1;
    if (name_check(name) < 0 || name_is_hidden(listing->prefix, name))
        return 0;

    if (listing->n_found == listing->room) {
        size_t room = listing->room ? listing->room * 2 : 64;

        if (room > DIR_ENTRIES_MAX)
            room = DIR_ENTRIES_MAX;
        found = room > listing->room ? realloc(listing->found, room * sizeof(*found)) : NULL;
        if (!found)
            return -1;
        listing->found = found;
        listing->room = room;
    }
    found = &listing->found[listing->n_found];
    *found = (struct found){.size = entry->info.size, .mtime_s = entry->info.mtime};
    if (!entry->is_prefix) {
        found->etag = strdup(entry->info.etag);
        if (!found->etag)
            return -1;
    }
    found->name = steal_ptr(&name);
    listing->n_found++;
    return 0;
}

static int read_all(struct listing *listing, struct s3pve_error *err) {
    struct s3pve_files *files = listing->files;
    const struct s3pve_call call = {.timeout_ms = LISTING_MS, .cancel = &files->closing};
    struct s3pve_list *list;
    struct s3pve_entry entry;
    int rc;

    if (s3pve_list_open(files->client, listing->prefix, "/", NULL, &list, &call, err) < 0)
        return -1;
    while ((rc = s3pve_list_next(list, &entry, err)) > 0) {
        if (add_found(listing, &entry) < 0) {
            rc = error_set(err, S3PVE_E_NOMEM, "listing: out of memory, or too many names");
            break;
        }
    }
    s3pve_list_close(list);
    return rc;
}

/* ---------------------------------------------------------------- merging, with `lock` held */

static void tell_kernel(struct listing *listing, const char *name, uint64_t ino) {
    void *gone;

    if (listing->n_gone >= NOTIFY_MAX)
        return;
    gone = realloc(listing->gone, (listing->n_gone + 1) * sizeof(*listing->gone));
    if (!gone)
        return;
    listing->gone = gone;
    listing->gone[listing->n_gone].name = name ? strdup(name) : NULL;
    listing->gone[listing->n_gone++].ino = ino;
}

static bool is_ours(const struct node *node, const struct node *dir) {
    return node->changed_in == dir->listing_no || node->stream || node->is_local ||
           node->is_expected;
}

/* Files being written below it exist on this node only, so far: their directory must stay. */
static bool has_ours_below(const struct node *top) {
    const struct node *node = top;

    while ((node = tree_next(top, node))) {
        if (node->stream || node->is_local || node->is_expected)
            return true;
    }
    return false;
}

static void merge_object(struct listing *listing, struct node *node, const struct found *found) {
    struct s3pve_files *files = listing->files;

    if (tree_is_listed_as(node, found->size, found->etag)) {
        node->mtime_s = node->mtime_is_set ? node->mtime_s : found->mtime_s;
        return;
    }
    if (node->is_published) {
        tell_kernel(listing, found->name, node->ino);
        /* who has it open keeps the old inode, so that pages of two versions never meet (M4); and
         * who opens it while the kernel still has the old size must look it up again */
        if (node->n_pins || node->n_lookup)
            node = tree_replace(&files->tree, node);
    }
    if (!node)
        return;
    node->is_ours = false;
    tree_set_object(node, found->size, found->mtime_s, found->etag);
}

static void merge_one(struct listing *listing, const struct found *found) {
    struct s3pve_files *files = listing->files;
    struct node *dir = listing->dir, *node = tree_child(&files->tree, dir, found->name);
    bool is_dir = !found->etag;

    if (tree_has_ghost(dir, found->name)) /* T2 */
        return;
    if (node && node->is_dir != is_dir && !is_ours(node, dir) && !has_ours_below(node)) {
        tell_kernel(listing, found->name, node->ino);
        tree_unlink(&files->tree, node);
        node = NULL;
    }
    if (!node)
        node = tree_add(&files->tree, dir, found->name, is_dir);
    else if (is_ours(node, dir)) /* T1 */
        return;
    if (node && !node->is_dir && !is_dir)
        merge_object(listing, node, found);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct found *)a)->name, ((const struct found *)b)->name);
}

/* In S3 a name can be both; directories first, and they win: what is in them has no other way. */
static int by_name_and_kind(const void *a, const void *b) {
    int order = by_name(a, b);

    return order ? order : !!((const struct found *)a)->etag - !!((const struct found *)b)->etag;
}

static bool was_found(const struct listing *listing, const char *name) {
    struct found key = {.name = (char *)name};

    return listing->n_found &&
           bsearch(&key, listing->found, listing->n_found, sizeof(key), by_name);
}

static void drop_missing(struct listing *listing) {
    struct node *dir = listing->dir;

    for (struct node *node = dir->children, *next; node; node = next) {
        next = node->sibling_next;
        if (is_ours(node, dir) || has_ours_below(node) || was_found(listing, node->name))
            continue;
        tell_kernel(listing, node->name, node->ino);
        tree_unlink(&listing->files->tree, node);
    }
}

static void merge(struct listing *listing) {
    struct node *dir = listing->dir;

    if (listing->n_found)
        qsort(listing->found, listing->n_found, sizeof(*listing->found), by_name_and_kind);
    drop_missing(listing);
    for (size_t i = 0; i < listing->n_found; i++) {
        if (i == 0 || strcmp(listing->found[i].name, listing->found[i - 1].name) != 0)
            merge_one(listing, &listing->found[i]);
    }
    dir->was_listed = true;
    dir->listed_ms = listing->began_ms;
    dir->listed_epoch = listing->epoch;
    dir->tried_ms = 0;
}

/* ---------------------------------------------------------------- running */

/* Without any lock: the kernel may be holding the directory for somebody who waits for us. */
static void notify(struct listing *listing, uint64_t dir_ino) {
    struct s3pve_files *files = listing->files;
    struct s3pve_files_notify to;

    pthread_mutex_lock(&files->lock);
    to = files->notify;
    pthread_mutex_unlock(&files->lock);
    for (size_t i = 0; i < listing->n_gone; i++) {
        if (to.inval_inode)
            to.inval_inode(to.ctx, listing->gone[i].ino);
        if (to.inval_entry && listing->gone[i].name)
            to.inval_entry(to.ctx, dir_ino, listing->gone[i].name);
    }
}

static void listing_run(void *arg) {
    _cleanup_(listing_freep) struct listing *listing = arg;
    struct s3pve_files *files = listing->files;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct node *dir = listing->dir;
    uint64_t ino;
    int rc = read_all(listing, &err);

    if (rc < 0 && err.code != S3PVE_E_CANCELLED)
        files_fail(files, "readdir", listing->prefix, &err);
    else if (rc == 0)
        files_mark_online(files);

    pthread_mutex_lock(&files->lock);
    ino = dir->ino;
    if (rc == 0 && tree_is_linked(&files->tree, dir))
        merge(listing);
    else
        dir->tried_ms = clock_monotonic_ms();
    dir->is_listing = false;
    tree_clear_ghosts(dir);
    tree_unpin(&files->tree, dir);
    pthread_cond_broadcast(&files->changed);
    pthread_mutex_unlock(&files->lock);

    notify(listing, ino);
}

static int listing_start(struct s3pve_files *files, struct node *dir) {
    struct listing *listing = calloc(1, sizeof(*listing));

    if (!listing)
        return -ENOMEM;
    *listing = (struct listing
    ){.files = files,
      .dir = dir,
      .prefix = tree_prefix(dir),
      .began_ms = clock_monotonic_ms(),
      .epoch = files->epoch};
    if (!listing->prefix || pool_run(files->listers, listing_run, listing) < 0) {
        listing_free(listing);
        return -ENOMEM;
    }
    dir->is_listing = true;
    dir->began_ms = listing->began_ms;
    dir->listing_no++;
    tree_pin(dir);
    return 0;
}

/* ---------------------------------------------------------------- waiting */

static bool is_fresh(const struct s3pve_files *files, const struct node *dir) {
    return dir->was_listed && dir->listed_epoch == files->epoch &&
           clock_monotonic_ms() - dir->listed_ms < files->dir_ttl_ms;
}

/* One that failed just now is not tried again at once: nobody should queue for a dead store. */
static bool may_try(const struct node *dir) {
    return !dir->tried_ms || clock_monotonic_ms() - dir->tried_ms >= LISTING_AGAIN_MS;
}

/* Sleep until a listing ends or @until_ms, waking now and then to look for cancellation. */
static int wait_listing(struct s3pve_files *files, const struct node *dir, int64_t until_ms) {
    struct s3pve_call call = files_call(files, 0);
    int64_t now;

    while (dir->is_listing && (now = clock_monotonic_ms()) < until_ms) {
        files_wait(files, until_ms - now < POLL_MS ? (unsigned)(until_ms - now) : POLL_MS);
        if (call.cancel && __atomic_load_n(call.cancel, __ATOMIC_RELAXED))
            return -EINTR;
    }
    return 0;
}

/* A listing costs those who come to a known directory LISTING_WAIT_MS together, not each. */
static int64_t wait_until(const struct s3pve_files *files, const struct node *dir) {
    if (!dir->was_listed)
        return clock_monotonic_ms() + LISTING_FIRST_MS;
    return files->online ? dir->began_ms + LISTING_WAIT_MS : 0;
}

static int refresh_once(struct s3pve_files *files, struct node *dir) {
    int rc;

    if (!dir->is_listing && may_try(dir)) {
        rc = listing_start(files, dir);
        if (rc < 0)
            return dir->was_listed ? 0 : rc;
    }
    return wait_listing(files, dir, wait_until(files, dir));
}

int listing_refresh(struct s3pve_files *files, struct node *dir) {
    int rc = 0;

    /* twice: the listing that was running may have begun too early to count; but a directory that
     * is still unknown then has had its time */
    for (int i = 0; rc == 0 && !dir->is_local && !is_fresh(files, dir); i++) {
        if (i == 2 || (i == 1 && !dir->was_listed))
            break;
        rc = refresh_once(files, dir);
    }
    if (rc < 0)
        return rc;
    if (!tree_is_linked(&files->tree, dir))
        return -ENOENT;
    return dir->was_listed || dir->is_local ? 0 : -EIO;
}

void listing_mark_known(struct s3pve_files *files, struct node *dir) {
    dir->was_listed = true;
    dir->listed_ms = clock_monotonic_ms();
    dir->listed_epoch = files->epoch;
}
