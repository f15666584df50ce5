/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A volume's name and its folder tell each other; what is neither is refused. */
#include <stdio.h>
#include <string.h>

#include "images/names.h"
#include "tap.h"

static const struct {
    const char *name, *folder;
} pairs[] = {
    {"100/vm-100-disk-0.raw", "images/100/vm-100-disk-0"},
    {"100/vm-100-disk-1.qcow2", "images/100/vm-100-disk-1.qcow2"},
    {"999999999/base-9-disk-0.vmdk", "images/999999999/base-9-disk-0.vmdk"},
    {"7/a.b.raw", "images/7/a.b.raw"}, /* else a.b would be the folder of two */
    {"7/a.b", "images/7/a.b"},
    {"7/x.raw.raw", "images/7/x.raw.raw"},
    {"7/vm-7-state-s_1+2.raw", "images/7/vm-7-state-s_1+2"},
};

static const char *const bad_names[] = {
    "",
    "/",
    "100",
    "100/",
    "100/x", /* its folder would be x.raw's */
    "100/x.",
    "0/x.raw",
    "0100/x.raw",
    "1000000000/x.raw",
    "a/x.raw",
    "100/.hidden.raw",
    "100/../x.raw",
    "100/..",
    "100/a/b.raw",
    "100/a b.raw",
    "100/a\n.raw",
    "100/a\\.raw",
    "100/a'.raw",
    "100/\xc3\xa4.raw",
    "-1/x.raw",
    " 1/x.raw",
};

static const char *const bad_folders[] = {
    "images/",
    "images/100",
    "images/100/",
    "images/100/x.raw", /* whose folder is x */
    "images/100/.x",
    "images/100/x/y",
    "images/0/x",
    "image/100/x",
    "images/100/a b",
    "x",
};

static void test_pairs(void) {
    char folder[ROOT_FOLDER], name[S3PVE_VOLUME_NAME], slashed[ROOT_FOLDER + 1];

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        is_int(s3pve_volume_check_name(pairs[i].name, NULL), 0, "%s is a name", pairs[i].name);
        names_folder(pairs[i].name, folder);
        is_str(folder, pairs[i].folder, "... with its folder");
        ok(names_of_folder(folder, name), "... which is one");
        is_str(name, pairs[i].name, "... of that name");
        snprintf(slashed, sizeof(slashed), "%s/", folder);
        ok(names_of_folder(slashed, name) && strcmp(name, pairs[i].name) == 0,
           "... as it is listed");
    }
}

static void test_bad(void) {
    char name[S3PVE_VOLUME_NAME] = "untouched", file[S3PVE_VOLUME_NAME + 8];
    struct s3pve_error err = S3PVE_ERROR_INIT;

    for (size_t i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++)
        is_int(s3pve_volume_check_name(bad_names[i], &err), -1, "no name: %s", err.message);
    is_int(err.code, S3PVE_E_INVALID, "which is INVALID");
    is_int(s3pve_volume_check_name(NULL, &err), -1, "nor is none");
    for (size_t i = 0; i < sizeof(bad_folders) / sizeof(bad_folders[0]); i++)
        ok(!names_of_folder(bad_folders[i], name), "no volume's folder: %s", bad_folders[i]);
    is_str(name, "untouched", "... and nothing is said of it");

    memset(file, 'x', sizeof(file));
    memcpy(file, "100/", 4);
    strcpy(file + S3PVE_VOLUME_NAME - 5, ".raw");
    is_int(s3pve_volume_check_name(file, NULL), 0, "199 characters are a name");
    strcpy(file + S3PVE_VOLUME_NAME - 4, ".raw");
    is_int(s3pve_volume_check_name(file, NULL), -1, "200 are not");
}

static void test_nodes(void) {
    char long_name[ROOT_NODE + 1];

    is_int(names_check_node("pve-1.example", NULL), 0, "a node's name");
    is_int(names_check_node("", NULL), -1, "none is not");
    is_int(names_check_node(NULL, NULL), -1, "... nor NULL");
    is_int(names_check_node("a\"b", NULL), -1, "... nor one that JSON would trip over");
    is_int(names_check_node("a/b", NULL), -1, "... or a key");
    memset(long_name, 'n', sizeof(long_name));
    long_name[ROOT_NODE] = '\0';
    is_int(names_check_node(long_name, NULL), -1, "... or a root has no room for");
    long_name[ROOT_NODE - 1] = '\0';
    is_int(names_check_node(long_name, NULL), 0, "... which it has for one character less");
    is_int((long long)names_vmid("100/x"), 100, "a guest's number");
    is_int((long long)names_vmid("100"), 100, "... alone");
    is_int((long long)names_vmid("100x/"), 0, "... or not");
}

int main(void) {
    test_pairs();
    test_bad();
    test_nodes();
    return done_testing();
}
