/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* golden.h - bytes of a format, kept in a file so that they never change unnoticed */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Is @path, from the top of the tree, just these bytes?  S3PVE_GOLDEN=write makes it so. */
static inline bool golden_is(const char *path, const void *data, size_t len) {
    const char *mode = getenv("S3PVE_GOLDEN");
    bool writing = mode && strcmp(mode, "write") == 0, same = false;
    FILE *file = fopen(path, writing ? "we" : "re");
    char *kept = malloc(len + 1);

    if (file && kept && writing)
        same = fwrite(data, 1, len, file) == len;
    else if (file && kept)
        same = fread(kept, 1, len + 1, file) == len && memcmp(kept, data, len) == 0;
    free(kept);
    if (file)
        fclose(file);
    return same;
}

#endif
