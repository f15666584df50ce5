/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "files/names.h"
#include "files/tree.h"
#include "s3pve.h"

#define FIRST_BUCKETS 256

struct ghost {
    struct ghost *next;
    char name[];
};

static uint64_t mix(uint64_t h) {
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdull;
    return h ^ h >> 29;
}

static size_t ino_bucket(const struct tree *tree, uint64_t ino) {
    return mix(ino) & (tree->n_buckets - 1);
}

static size_t name_bucket(const struct tree *tree, const struct node *dir, const char *name) {
    uint64_t h = 0xcbf29ce484222325ull ^ dir->ino;

    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        h = (h ^ *p) * 0x100000001b3ull;
    return mix(h) & (tree->n_buckets - 1);
}

static void table_add_ino(struct tree *tree, struct node *node) {
    struct node **bucket = &tree->by_ino[ino_bucket(tree, node->ino)];

    node->ino_next = *bucket;
    *bucket = node;
}

static void table_add_name(struct tree *tree, struct node *node) {
    struct node **bucket = &tree->by_name[name_bucket(tree, node->parent, node->name)];

    node->name_next = *bucket;
    *bucket = node;
}

static void table_drop_ino(struct tree *tree, struct node *node) {
    struct node **p = &tree->by_ino[ino_bucket(tree, node->ino)];

    while (*p != node)
        p = &(*p)->ino_next;
    *p = node->ino_next;
}

static void table_drop_name(struct tree *tree, struct node *node) {
    struct node **p = &tree->by_name[name_bucket(tree, node->parent, node->name)];

    while (*p != node)
        p = &(*p)->name_next;
    *p = node->name_next;
}

/* Twice the buckets when there is a node for each; without memory the chains just get longer. */
static void table_grow(struct tree *tree) {
    struct node **by_ino, **by_name, **old = tree->by_ino;
    size_t n_old = tree->n_buckets;

    if (tree->n_nodes < n_old)
        return;
    by_ino = calloc(n_old * 2, sizeof(struct node *));
    by_name = calloc(n_old * 2, sizeof(struct node *));
    if (!by_ino || !by_name) {
        free(by_ino);
        free(by_name);
        return;
    }

    free(tree->by_name);
    tree->by_ino = by_ino;
    tree->by_name = by_name;
    tree->n_buckets = n_old * 2;
    for (size_t i = 0; i < n_old; i++) {
        for (struct node *node = old[i], *next; node; node = next) {
            next = node->ino_next;
            table_add_ino(tree, node);
            if (node->parent)
                table_add_name(tree, node);
        }
    }
    free(old);
}

static void node_free(struct node *node) {
    tree_clear_ghosts(node);
    free(node->list_etag);
    free(node->etag);
    free(node->left);
    free(node->name);
    free(node);
}

static struct node *node_new(struct tree *tree, const char *name, bool is_dir) {
    struct node *node = calloc(1, sizeof(*node));

    if (!node)
        return NULL;
    node->name = strdup(name);
    node->etag = strdup("");
    if (!node->name || !node->etag) {
        node_free(node);
        return NULL;
    }
    node->ino = ++tree->last_ino;
    node->is_dir = is_dir;
    node->mode = is_dir ? tree->dir_mode : tree->file_mode;
    node->uid = tree->uid;
    node->gid = tree->gid;
    node->mtime_s = clock_wall_s();
    node->version = 1;
    return node;
}

static void link_node(struct tree *tree, struct node *node, struct node *dir) {
    node->parent = dir;
    node->sibling_prev = NULL;
    node->sibling_next = dir->children;
    if (dir->children)
        dir->children->sibling_prev = node;
    dir->children = node;
    dir->n_children++;
    table_add_name(tree, node);
}

static void unlink_node(struct tree *tree, struct node *node) {
    table_drop_name(tree, node);
    if (node->sibling_prev)
        node->sibling_prev->sibling_next = node->sibling_next;
    else
        node->parent->children = node->sibling_next;
    if (node->sibling_next)
        node->sibling_next->sibling_prev = node->sibling_prev;
    node->parent->n_children--;
    node->parent = NULL;
}

static void free_if_unused(struct tree *tree, struct node *node) {
    if (node->parent || node == tree->root || node->n_lookup || node->n_pins)
        return;
    table_drop_ino(tree, node);
    tree->n_nodes--;
    node_free(node);
}

static int add_expected_dirs(struct tree *tree) {
    const char *path;

    for (size_t i = 0; (path = name_expected_dir(i)); i++) {
        const char *slash = strrchr(path, '/');
        struct node *dir = tree->root, *node;

        if (slash) { /* two levels are all PVE has */
            _free_ char *above = strndup(path, (size_t)(slash - path));

            dir = above ? tree_child(tree, tree->root, above) : NULL;
        }
        node = dir ? tree_add(tree, dir, slash ? slash + 1 : path, true) : NULL;
        if (!node)
            return -1;
        node->is_expected = true;
    }
    return 0;
}

int tree_init(struct tree *tree, uid_t uid, gid_t gid) {
    *tree = (struct tree){.file_mode = 0644, .dir_mode = 0755, .uid = uid, .gid = gid};
    tree->n_buckets = FIRST_BUCKETS;
    tree->by_ino = calloc(FIRST_BUCKETS, sizeof(struct node *));
    tree->by_name = calloc(FIRST_BUCKETS, sizeof(struct node *));
    if (tree->by_ino && tree->by_name)
        tree->root = node_new(tree, "", true);
    if (!tree->root) {
        tree_clear(tree);
        return -1;
    }
    tree->root->is_expected = true;
    tree->n_nodes = 1;
    table_add_ino(tree, tree->root);
    if (add_expected_dirs(tree) < 0) {
        tree_clear(tree);
        return -1;
    }
    return 0;
}

void tree_clear(struct tree *tree) {
    for (size_t i = 0; tree->by_ino && i < tree->n_buckets; i++) {
        for (struct node *node = tree->by_ino[i], *next; node; node = next) {
            next = node->ino_next;
            node_free(node);
        }
    }
    free(tree->by_ino);
    free(tree->by_name);
    *tree = (struct tree){0};
}

struct node *tree_node(const struct tree *tree, uint64_t ino) {
    struct node *node = tree->by_ino[ino_bucket(tree, ino)];

    while (node && node->ino != ino)
        node = node->ino_next;
    return node;
}

struct node *tree_child(const struct tree *tree, const struct node *dir, const char *name) {
    struct node *node = tree->by_name[name_bucket(tree, dir, name)];

    while (node && (node->parent != dir || strcmp(node->name, name) != 0))
        node = node->name_next;
    return node;
}

struct node *tree_add(struct tree *tree, struct node *dir, const char *name, bool is_dir) {
    struct node *node = tree->n_nodes < TREE_MAX ? node_new(tree, name, is_dir) : NULL;

    if (!node)
        return NULL;
    node->is_local = dir->is_local;
    table_grow(tree);
    tree->n_nodes++;
    table_add_ino(tree, node);
    link_node(tree, node, dir);
    return node;
}

bool tree_is_linked(const struct tree *tree, const struct node *node) {
    return node->parent || node == tree->root;
}

void tree_unlink(struct tree *tree, struct node *node) {
    struct node *leaf;

    while (node->children) {
        leaf = node->children;
        while (leaf->children)
            leaf = leaf->children;
        unlink_node(tree, leaf);
        free_if_unused(tree, leaf);
    }
    unlink_node(tree, node);
    free_if_unused(tree, node);
}

int tree_move(struct tree *tree, struct node *node, struct node *dir, const char *name) {
    char *copy = strdup(name);

    if (!copy)
        return -1;
    unlink_node(tree, node);
    free(node->name);
    node->name = copy;
    link_node(tree, node, dir);
    return 0;
}

struct node *tree_replace(struct tree *tree, struct node *node) {
    struct node *dir = node->parent, *fresh = node_new(tree, node->name, node->is_dir);
    char *etag = strdup(node->etag), *left = tree_path(node);

    if (!fresh || !etag || !left) {
        free(etag);
        free(left);
        if (fresh)
            node_free(fresh);
        return NULL;
    }
    free(fresh->etag);
    fresh->etag = etag;
    fresh->mode = node->mode;
    fresh->uid = node->uid;
    fresh->gid = node->gid;
    fresh->size = node->size;
    fresh->mtime_s = node->mtime_s;
    fresh->mtime_is_set = node->mtime_is_set;
    fresh->is_published = node->is_published;
    fresh->is_ours = node->is_ours;
    fresh->list_etag = steal_ptr(&node->list_etag);
    fresh->list_etag_is_ours = node->list_etag_is_ours;
    fresh->changed_in = node->changed_in;
    node->left = left;

    tree_unlink(tree, node);
    table_grow(tree);
    tree->n_nodes++;
    table_add_ino(tree, fresh);
    link_node(tree, fresh, dir);
    return fresh;
}

void tree_pin(struct node *node) {
    node->n_pins++;
}

void tree_unpin(struct tree *tree, struct node *node) {
    node->n_pins--;
    free_if_unused(tree, node);
}

void tree_forget(struct tree *tree, struct node *node, uint64_t n) {
    node->n_lookup -= n < node->n_lookup ? n : node->n_lookup;
    free_if_unused(tree, node);
}

static size_t path_len(const struct node *node) {
    size_t len = 0;

    for (; node->parent; node = node->parent)
        len += strlen(node->name) + (len != 0);
    return len;
}

/* Path, then @name after a slash, then @tail. */
static char *make_path(const struct node *dir, const char *name, const char *tail) {
    size_t len = path_len(dir), at = len, skip = len + (len && *name);
    char *path = malloc(skip + strlen(name) + strlen(tail) + 1);

    if (!path)
        return NULL;
    for (const struct node *node = dir; node->parent; node = node->parent) {
        size_t n = strlen(node->name);

        memcpy(path + at - n, node->name, n);
        at -= n + (node->parent->parent != NULL);
        if (node->parent->parent)
            path[at] = '/';
    }
    path[len] = '/';
    snprintf(path + skip, strlen(name) + strlen(tail) + 1, "%s%s", name, tail);
    return path;
}

char *tree_child_path(const struct node *dir, const char *name) {
    return make_path(dir, name, "");
}

char *tree_path(const struct node *node) {
    return make_path(node, "", "");
}

char *tree_prefix(const struct node *dir) {
    return make_path(dir, "", dir->parent ? "/" : "");
}

struct node *tree_next(const struct node *top, const struct node *node) {
    if (node->children)
        return node->children;
    while (node != top && !node->sibling_next)
        node = node->parent;
    return node == top ? NULL : node->sibling_next;
}

int tree_set_object(struct node *node, uint64_t size, int64_t mtime_s, const char *etag) {
    bool same = node->is_published && node->size == size && strcmp(node->etag, etag) == 0;
    char *copy;

    if (!same) {
        copy = strdup(etag);
        if (!copy)
            return -1;
        free(node->etag);
        free(node->list_etag);
        node->etag = copy;
        node->list_etag = NULL;
        node->size = size;
        node->version++;
        node->mtime_is_set = false;
    }
    if (!node->mtime_is_set && mtime_s)
        node->mtime_s = mtime_s;
    node->is_published = true;
    return 0;
}

bool tree_is_listed_as(struct node *node, uint64_t size, const char *etag) {
    if (!node->is_published || node->size != size)
        return false;
    if (strcmp(node->etag, etag) == 0)
        return true;
    if (!node->is_ours)
        return false;
    if (!node->list_etag) {
        node->list_etag = strdup(etag);
        node->list_etag_is_ours = false;
    }
    return node->list_etag && strcmp(node->list_etag, etag) == 0;
}

void tree_doubt(struct node *node) {
    _free_ char *etag = steal_ptr(&node->list_etag);

    node->is_ours = false;
    if (etag)
        tree_set_object(node, node->size, 0, etag);
}

void tree_touch(struct node *node) {
    node->changed_in = node->parent && node->parent->is_listing ? node->parent->listing_no : 0;
}

int tree_add_ghost(struct node *dir, const char *name) {
    struct ghost *ghost;
    size_t len = strlen(name);

    if (!dir->is_listing)
        return 0;
    ghost = malloc(sizeof(*ghost) + len + 1);
    if (!ghost)
        return -1;
    memcpy(ghost->name, name, len + 1);
    ghost->next = dir->ghosts;
    dir->ghosts = ghost;
    return 0;
}

bool tree_has_ghost(const struct node *dir, const char *name) {
    for (const struct ghost *ghost = dir->ghosts; ghost; ghost = ghost->next) {
        if (strcmp(ghost->name, name) == 0)
            return true;
    }
    return false;
}

void tree_clear_ghosts(struct node *dir) {
    for (struct ghost *ghost = dir->ghosts, *next; ghost; ghost = next) {
        next = ghost->next;
        free(ghost);
    }
    dir->ghosts = NULL;
}
