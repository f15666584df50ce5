/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "files/tree.h"
#include "tap.h"

static struct tree tree;

static struct node *dir_of(const char *name) {
    return tree_child(&tree, tree.root, name);
}

static void names_and_numbers(void) {
    struct node *dump = dir_of("dump"), *node;
    char name[32];
    size_t n_found = 0;

    is_int((long long)tree.root->ino, 1, "the root is inode 1");
    ok(dump && dump->is_dir && dump->is_expected, "what PVE expects is there from the start");
    ok(tree_child(&tree, dir_of("template"), "iso"), "... on both levels");

    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "file-%d", i);
        tree_add(&tree, dump, name, false);
    }
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "file-%d", i);
        node = tree_child(&tree, dump, name);
        n_found += node && tree_node(&tree, node->ino) == node;
    }
    is_int((long long)n_found, 5000, "5000 names are found by name and by number");
    ok(!tree_child(&tree, dir_of("import"), "file-7"), "... in their own directory only");
    while (dump->children)
        tree_unlink(&tree, dump->children);
    ok(!tree_child(&tree, dump, "file-7"), "and not once they are unlinked");
    is_int((long long)dump->n_children, 0, "the directory is empty then");
}

static void who_keeps_a_node_alive(void) {
    struct node *dump = dir_of("dump"), *node = tree_add(&tree, dump, "a", false);
    uint64_t ino = node->ino;

    node->n_lookup = 2;
    tree_pin(node);
    tree_unlink(&tree, node);
    ok(tree_node(&tree, ino) == node, "the kernel and an open file keep an unlinked node");
    tree_forget(&tree, node, 2);
    ok(tree_node(&tree, ino) == node, "the open file alone does");
    tree_unpin(&tree, node);
    ok(!tree_node(&tree, ino), "then it is gone");
    node = tree_add(&tree, dump, "a", false);
    ok(node->ino != ino, "and its number is not used again");
    node->n_lookup = 1;
    tree_forget(&tree, node, 1);
    ok(tree_child(&tree, dump, "a") == node, "a linked node needs nobody");
    tree_unlink(&tree, node);
}

static void paths(void) {
    struct node *iso = tree_child(&tree, dir_of("template"), "iso");
    struct node *node = tree_add(&tree, iso, "a.iso", false);
    _free_ char *root = tree_path(tree.root), *path = tree_path(node);
    _free_ char *top = tree_child_path(tree.root, "x"), *below = tree_child_path(iso, "y");
    _free_ char *moved = NULL;

    is_str(root, "", "the root's path is empty");
    is_str(path, "template/iso/a.iso", "a file's is its key");
    is_str(top, "x", "a child of the root has no slash");
    is_str(below, "template/iso/y", "a child need not exist");
    is_int(tree_move(&tree, node, dir_of("import"), "b.iso"), 0, "it moves");
    moved = tree_path(node);
    is_str(moved, "import/b.iso", "... with its key");
    ok(tree_child(&tree, dir_of("import"), "b.iso") == node, "... and is found there");
    ok(!tree_child(&tree, iso, "a.iso"), "... and no longer here");
    tree_unlink(&tree, node);
}

static void versions(void) {
    struct node *node = tree_add(&tree, dir_of("dump"), "v", false), *fresh;
    unsigned version;

    tree_set_object(node, 10, 1000, "e1");
    version = node->version;
    node->mtime_s = 5;
    node->mtime_is_set = true;
    tree_set_object(node, 10, 2000, "e1");
    is_int(node->version, version, "the same ETag and size are the same version");
    is_int(node->mtime_s, 5, "... which keeps the time that utimens set");
    tree_set_object(node, 10, 2000, "e2");
    ok(node->version != version, "another ETag is another version");
    is_int(node->mtime_s, 2000, "... with a time of its own");
    tree_pin(node);
    fresh = tree_replace(&tree, node);
    ok(fresh && fresh->ino != node->ino, "a replaced file has another inode");
    ok(tree_child(&tree, dir_of("dump"), "v") == fresh, "... under the old name");
    is_str(fresh->etag, "e2", "... with what the store has");
    ok(!node->parent, "the one before is nameless");
    tree_unpin(&tree, node);
    tree_unlink(&tree, fresh);
}

static void what_a_listing_must_not_undo(void) {
    struct node *dump = dir_of("dump"), *node = tree_add(&tree, dump, "t", false);

    tree_touch(node);
    is_int(node->changed_in, 0, "while no listing runs, a change needs no mark");
    tree_add_ghost(dump, "gone");
    ok(!tree_has_ghost(dump, "gone"), "... nor does a removal");
    dump->is_listing = true;
    dump->listing_no++;
    tree_touch(node);
    is_int(node->changed_in, dump->listing_no, "while one runs, it is marked with it");
    tree_add_ghost(dump, "gone");
    ok(tree_has_ghost(dump, "gone"), "... and so is a removal");
    ok(!tree_has_ghost(dump, "other"), "... of that name");
    dump->is_listing = false;
    tree_clear_ghosts(dump);
    ok(!tree_has_ghost(dump, "gone"), "marks end with the listing");
    tree_unlink(&tree, node);
}

static void full(void) {
    struct node *dump = dir_of("dump");
    size_t n = tree.n_nodes;

    tree.n_nodes = TREE_MAX - 1;
    ok(tree_add(&tree, dump, "last", false), "a tree takes so many names");
    ok(!tree_add(&tree, dump, "more", false), "... and no more");
    ok(!tree_child(&tree, dump, "more"), "... of which nothing is seen");
    tree_unlink(&tree, tree_child(&tree, dump, "last"));
    ok(tree_add(&tree, dump, "more", false), "when one goes, another may come");
    tree_unlink(&tree, tree_child(&tree, dump, "more"));
    tree.n_nodes = n;
}

int main(void) {
    is_int(tree_init(&tree, 0, 0), 0, "a tree begins");
    names_and_numbers();
    who_keeps_a_node_alive();
    paths();
    versions();
    what_a_listing_must_not_undo();
    full();
    tree_clear(&tree);
    return done_testing();
}
