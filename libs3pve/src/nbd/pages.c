/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "nbd/pages.h"

#include <stdlib.h>

#include "nbd/nbd.h"

static size_t size_of(unsigned class) {
    return (size_t)NBD_BLOCK << class;
}

static unsigned class_of(size_t len) {
    unsigned class = 0;
    while (class < PAGES_CLASSES && size_of(class) < len)
        class ++;
    return class;
}

void *pages_take(struct pages *pages, size_t len) {
    unsigned class = class_of(len);
    if (class == PAGES_CLASSES)
        return NULL;
    void *memory = pages->kept[class];
    if (!memory)
        return aligned_alloc(NBD_BLOCK, size_of(class));
    pages->kept[class] = *(void **)memory;
    pages->bytes -= size_of(class);
    return memory;
}

void pages_give(struct pages *pages, void *memory, size_t len) {
    unsigned class = class_of(len);
    if (!memory || pages->bytes + size_of(class) > NBD_PAGES_KEPT) {
        free(memory);
        return;
    }
    *(void **)memory = pages->kept[class];
    pages->kept[class] = memory;
    pages->bytes += size_of(class);
}

void pages_clear(struct pages *pages) {
    for (unsigned class = 0; class < PAGES_CLASSES; class ++) {
        for (void *memory; (memory = pages->kept[class]);) {
            pages->kept[class] = *(void **)memory;
            free(memory);
        }
    }
    pages->bytes = 0;
}
