/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "images/names.h"

#define RAW ".raw"
#define VMID_DIGITS 9 /* Proxmox VE's highest is 999999999 */

/* Printable, without what a key, a shell's word or Proxmox VE's parser has trouble with. */
static bool is_good_char(char c) {
    return c > ' ' && c < 0x7f && !strchr("/\\\"'`$*?<>|&;", c);
}

uint64_t names_vmid(const char *name) {
    uint64_t vmid = 0;
    unsigned n = 0;

    for (; isdigit((unsigned char)name[n]) && n < VMID_DIGITS; n++)
        vmid = vmid * 10 + (uint64_t)(name[n] - '0');
    return name[0] != '0' && (name[n] == '/' || name[n] == '\0') ? vmid : 0;
}

static bool is_good_file(const char *file) {
    const char *dot = strrchr(file, '.');

    for (const char *c = file; *c; c++)
        if (!is_good_char(*c))
            return false;
    return file[0] != '.' && dot && dot[1];
}

static bool is_good(const char *name) {
    const char *slash = strchr(name, '/');

    return strlen(name) < S3PVE_VOLUME_NAME && names_vmid(name) && slash && is_good_file(slash + 1);
}

_public_ int s3pve_volume_check_name(const char *name, struct s3pve_error *err) {
    if (name && is_good(name))
        return 0;
    return error_set(
        err,
        S3PVE_E_INVALID,
        "'%s' is no volume's name: \"VMID/FILE\", FILE with an ending, of letters, digits, "
        "and \".-_+\"",
        name ? name : ""
    );
}

/* "vm-100-disk-0.raw", and no other dot in it. */
static bool is_short(const char *file) {
    const char *dot = strchr(file, '.');

    return dot && strcmp(dot, RAW) == 0;
}

void names_folder(const char *name, char folder[ROOT_FOLDER]) {
    size_t len = strlen(name);

    if (is_short(strchr(name, '/') + 1))
        len -= strlen(RAW);
    snprintf(folder, ROOT_FOLDER, NAMES_TOP "%.*s", (int)len, name);
}

bool names_of_folder(const char *folder, char name[S3PVE_VOLUME_NAME]) {
    size_t top = strlen(NAMES_TOP), len = strlen(folder);
    char text[S3PVE_VOLUME_NAME + sizeof(RAW)], again[ROOT_FOLDER];

    if (strncmp(folder, NAMES_TOP, top) != 0)
        return false;
    len -= folder[len - 1] == '/';
    if (len - top >= S3PVE_VOLUME_NAME)
        return false;
    snprintf(text, sizeof(text), "%.*s", (int)(len - top), folder + top);
    if (!strchr(text, '.'))
        strcat(text, RAW);
    if (!is_good(text))
        return false;
    names_folder(text, again);
    if (strlen(again) != len || strncmp(again, folder, len) != 0)
        return false;
    strcpy(name, text);
    return true;
}

int names_check_node(const char *node, struct s3pve_error *err) {
    size_t len = node ? strlen(node) : 0;

    if (len && len < ROOT_NODE &&
        strspn(
            node,
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
            "0123456789.-_"
        ) == len)
        return 0;
    return error_set(err, S3PVE_E_INVALID, "'%s' is no node's name", node ? node : "");
}
