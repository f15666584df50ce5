/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * tree.h - the names we know, in memory
 *
 * A node is a directory or a file.  It is *linked* while it has a name; an unlinked one lives on
 * until nobody needs it: neither the kernel (n_lookup) nor an open file or a job of ours (n_pins).
 * Linked nodes stay, so that a directory listed once is answered from memory.
 *
 * What a listing says must not undo what we did while it ran (M5):
 * (T1) a node changed by us after the running listing began keeps our state when it is merged;
 * (T2) a name we removed after it began stays removed (`ghosts`).
 *
 * Nothing here locks or talks: callers hold the lock of struct s3pve_files.
 */
#ifndef FILES_TREE_H
#define FILES_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct stream;
struct ghost;

struct node {
    uint64_t ino;
    char *name;                               /* owned; the last one it had */
    struct node *parent;                      /* NULL: the root, or unlinked */
    struct node *ino_next, *name_next;        /* chains of the two tables */
    struct node *sibling_prev, *sibling_next; /* in the parent's children */
    uint64_t n_lookup;                        /* the kernel's references */
    unsigned n_pins;                          /* ours */
    char *left;                               /* owned; the path another node took over; or NULL */
    bool is_dir;
    bool is_local;       /* exists on this node only, below a *.tmp directory */
    bool is_expected;    /* a directory PVE relies on; never removed */
    unsigned changed_in; /* T1: the listing of its parent that must not undo us; 0: none */

    mode_t mode;
    uid_t uid;
    gid_t gid;
    int64_t mtime_s;
    bool mtime_is_set; /* by utimens; forgotten with the version */

    /* --- files: what the store has */
    bool is_published; /* there is an object */
    bool is_ours;      /* ... which we put there */
    uint64_t size;
    char *etag;              /* owned; "" when the listing had none, never NULL */
    char *list_etag;         /* owned; what listings say where that differs; NULL: nothing yet */
    bool list_etag_is_ours;  /* ... and a HEAD has shown that both mean the same bytes */
    unsigned version;        /* moves when the bytes change, not when the name does */
    unsigned n_readers;      /* files open for reading alone; all of them, if local */
    int64_t writer_due_ms;   /* a writer looks the name up again until then; see file.c */
    int64_t resized_ms;      /* the kernel may not know the size yet until then; see vfs.c */
    unsigned cached_version; /* the kernel may hold pages of this one; 0: none */
    unsigned prefetched_version; /* see prefetch.h; 0: none */
    unsigned streamed_version;   /* was read in order from its start before; 0: none */
    struct stream *stream;       /* being written, or held for a rename; see stream.h */

    /* --- directories */
    struct node *children;
    size_t n_children;
    bool was_listed, is_listing;
    unsigned listing_no;   /* counts listings that began */
    int64_t began_ms;      /* the last of them */
    int64_t listed_ms;     /* when the last one that succeeded began */
    unsigned listed_epoch; /* of the storage, then */
    int64_t tried_ms;      /* when the last one that failed ended; 0: it did not */
    struct ghost *ghosts;  /* T2; only while a listing runs */
};

struct tree {
    struct node *root;
    struct node **by_ino, **by_name; /* n_buckets each, a power of two */
    size_t n_buckets, n_nodes;
    uint64_t last_ino;
    mode_t file_mode, dir_mode;
    uid_t uid;
    gid_t gid;
};

/* With the root and the directories PVE expects.  Return: 0, or -1 without memory. */
int tree_init(struct tree *tree, uid_t uid, gid_t gid);
void tree_clear(struct tree *tree); /* frees all nodes, used or not */

/* All of these find nothing: NULL. */
struct node *tree_node(const struct tree *tree, uint64_t ino);
struct node *tree_child(const struct tree *tree, const struct node *dir, const char *name);

/* A new linked node; attributes are defaults.  NULL without memory or beyond TREE_MAX. */
struct node *tree_add(struct tree *tree, struct node *dir, const char *name, bool is_dir);

/* Does it have a place?  Nothing may be added to a directory that has none. */
bool tree_is_linked(const struct tree *tree, const struct node *node);

/* Take its name away, and those of all below it.  Frees what nobody needs. */
void tree_unlink(struct tree *tree, struct node *node);

/* Give it another place; the new name must be free.  Return: 0, or -1 without memory. */
int tree_move(struct tree *tree, struct node *node, struct node *dir, const char *name);

/* A new node takes over the name and what the store has; @node stays behind unlinked, for those
 * who have it open, and read that version where it was.  Return: the new node, or NULL without
 * memory (nothing has changed then). */
struct node *tree_replace(struct tree *tree, struct node *node);

void tree_pin(struct node *node);
void tree_unpin(struct tree *tree, struct node *node); /* may free */
void tree_forget(struct tree *tree, struct node *node, uint64_t n);

/* Relative path without slashes at its ends, "" for the root; malloc()ed, NULL without memory. */
char *tree_path(const struct node *node);
/* The same for a child that need not exist. */
char *tree_child_path(const struct node *dir, const char *name);

/* The prefix of the keys in a directory: its path and a slash, "" for the root.  It is also the key
 * of the zero-byte object that marks it. */
char *tree_prefix(const struct node *dir);

/* The node after @node among all below @top, parents first; NULL after the last.  Begin with @top.
 */
struct node *tree_next(const struct node *top, const struct node *node);

/* What the store has in a file is now this; a new version unless the ETag is the same. */
int tree_set_object(struct node *node, uint64_t size, int64_t mtime_s, const char *etag);

/* A listing says @etag and @size: is that what we know already?  Some stores list another ETag than
 * they answer a PUT with, so the first one seen after our own change is taken for it; should it be
 * another's version after all, reading finds out (tree_doubt). */
bool tree_is_listed_as(struct node *node, uint64_t size, const char *etag);
/* The store does not have what we know: take the listing's word from now on. */
void tree_doubt(struct node *node);

/* We changed this node, or removed that name: T1 and T2. */
void tree_touch(struct node *node);
int tree_add_ghost(struct node *dir, const char *name);
bool tree_has_ghost(const struct node *dir, const char *name);
void tree_clear_ghosts(struct node *dir);

#endif
