/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "files/names.h"

/* Parents come before their children. */
static const char *const expected_dirs[] = {
    "dump", "template", "template/iso", "template/cache", "snippets", "import", "images"};

static const struct {
    size_t offset, len;
    const char *bytes;
    bool compressed; /* of .vma.dat and .tar.dat; the others are what makes a plain .dat */
    const char *suffix;
} magics[] = {
    {0, 4, "\x28\xb5\x2f\xfd", true, ".zst"},
    {0, 2, "\x1f\x8b", true, ".gz"},
    {0, 9, "\x89LZO\0\r\n\x1a\n", true, ".lzo"},
    {0, 4, "VMA\0", false, ".vma"},
    {257, 5, "ustar", false, ".tar"},
};

#define N_MAGICS (sizeof(magics) / sizeof(magics[0]))

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

static bool ends_with(const char *text, const char *end) {
    size_t len = strlen(text), n = strlen(end);

    return len > n && strcmp(text + len - n, end) == 0;
}

int name_check(const char *name) {
    size_t len = strlen(name);

    if (len > LIMIT_KEY_SEGMENT)
        return -ENAMETOOLONG;
    if (len == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || !utf8_valid(name, len))
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        /* XML 1.0, in which listings come, has no control characters */
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || name[i] == '/')
            return -EINVAL;
    }
    return 0;
}

bool name_is_held(const char *name) {
    return starts_with(name, "vzdump-") && ends_with(name, ".dat");
}

bool name_is_archive(const char *name) {
    static const char *const suffixes[] = {".vma", ".tar", ".zst", ".gz", ".lzo"};

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (starts_with(name, "vzdump-") && ends_with(name, suffixes[i]))
            return true;
    }
    return false;
}

bool name_is_notes(const char *name) {
    return starts_with(name, "vzdump-") && ends_with(name, ".notes");
}

bool name_is_local_dir(const char *dir, const char *name) {
    bool below_dump = strcmp(dir, "dump") == 0 || starts_with(dir, "dump/");

    return ends_with(name, ".tmp") && (below_dump || starts_with(name, "vzdump-"));
}

const char *name_expected_dir(size_t index) {
    return index < sizeof(expected_dirs) / sizeof(expected_dirs[0]) ? expected_dirs[index] : NULL;
}

bool name_is_hidden(const char *dir, const char *name) {
    return !*dir && strcmp(name, ".s3pve") == 0;
}

static bool has_magic(size_t i, const void *head, size_t len) {
    return len >= magics[i].offset + magics[i].len &&
           memcmp((const char *)head + magics[i].offset, magics[i].bytes, magics[i].len) == 0;
}

bool name_predict(const char *name, const void *head, size_t len, char ret_name[NAME_SIZE]) {
    size_t base = strlen(name) - (ends_with(name, ".dat") ? strlen(".dat") : 0);
    bool typed = ends_with(name, ".vma.dat") || ends_with(name, ".tar.dat");

    ret_name[0] = '\0';
    if (!name_is_held(name))
        return false;

    for (size_t i = 0; i < N_MAGICS; i++) {
        if (magics[i].compressed != typed || !has_magic(i, head, len))
            continue;
        if (base + strlen(magics[i].suffix) >= NAME_SIZE)
            return false;
        memcpy(ret_name, name, base);
        memcpy(ret_name + base, magics[i].suffix, strlen(magics[i].suffix) + 1);
        return true;
    }
    return false;
}
