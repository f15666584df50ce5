/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>

#include "files/names.h"
#include "files/prefetch.h"
#include "files/publish.h"

struct prefetch {
    struct s3pve_files *files;
    atomic_size_t next; /* the node to be fetched */
    unsigned n_jobs;    /* who is at it; guarded by files->lock */
    size_t n_nodes;
    struct node *nodes[]; /* pinned */
};

/* With `lock` held.  The last one ends it. */
static void leave(struct prefetch *prefetch) {
    if (--prefetch->n_jobs)
        return;
    for (size_t i = 0; i < prefetch->n_nodes; i++)
        tree_unpin(&prefetch->files->tree, prefetch->nodes[i]);
    free(prefetch);
}

/* Return: false when there is no sense in going on.  What has changed meanwhile is left to its
 * reader. */
static bool fetch(struct prefetch *prefetch, const struct node *node) {
    _cleanup_(object_clear) struct object object = {0};
    struct version version;
    char text[SMALL_OBJECT];
    ssize_t n;

    if (object_of(prefetch->files, node, &object) < 0)
        return true;
    version = (struct version){object.key, object.etag, object.size};
    n = blocks_read(prefetch->files->blocks, &version, text, sizeof(text), 0);
    return n >= 0 || n == -ESTALE;
}

static void run(void *arg) {
    struct prefetch *prefetch = arg;
    size_t i;

    while ((i = atomic_fetch_add(&prefetch->next, 1)) < prefetch->n_nodes) {
        if (!fetch(prefetch, prefetch->nodes[i]))
            atomic_store(&prefetch->next, prefetch->n_nodes);
    }
    LOCK_SCOPE(&prefetch->files->lock);
    leave(prefetch);
}

static bool is_wanted(const struct node *node) {
    return name_is_notes(node->name) && node->is_published && !node->stream && !node->is_local &&
           node->size > 0 && node->size <= SMALL_OBJECT && *node->etag &&
           node->prefetched_version != node->version;
}

/* With `lock` held: those of its directory, as many as the memory for blocks can hold. */
static struct prefetch *collect(struct s3pve_files *files, const struct node *dir) {
    struct prefetch *prefetch =
        malloc(sizeof(*prefetch) + dir->n_children * sizeof(prefetch->nodes[0]));
    uint64_t bytes = 0;

    if (!prefetch)
        return NULL;
    *prefetch = (struct prefetch){.files = files};
    for (struct node *node = dir->children; node; node = node->sibling_next) {
        if (!is_wanted(node) || bytes + node->size > BLOCKS_MEMORY / 2)
            continue;
        bytes += node->size;
        node->prefetched_version = node->version;
        tree_pin(node);
        prefetch->nodes[prefetch->n_nodes++] = node;
    }
    return prefetch;
}

void prefetch_beside(struct s3pve_files *files, struct node *node) {
    struct prefetch *prefetch =
        is_wanted(node) && node->parent ? collect(files, node->parent) : NULL;

    if (!prefetch)
        return;
    prefetch->n_jobs = PREFETCH_THREADS;
    for (size_t i = 0; i < PREFETCH_THREADS; i++) {
        if (pool_run(files->readers, run, prefetch) < 0)
            leave(prefetch);
    }
}
