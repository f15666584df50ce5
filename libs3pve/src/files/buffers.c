/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stddef.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "files/buffers.h"

void buffers_init(struct buffers *buffers) {
    *buffers = (struct buffers){0};
    pthread_mutex_init(&buffers->lock, NULL);
}

void buffers_clear(struct buffers *buffers) {
    pthread_mutex_destroy(&buffers->lock);
}

void *buffer_get(struct buffers *buffers) {
    void *buffer;

    LOCK_SCOPE(&buffers->lock);
    if (buffers->n_idle)
        buffer = buffers->idle[--buffers->n_idle];
    else
        buffer = mmap(NULL, READ_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        return NULL;
    buffers->n_out++;
    return buffer;
}

void buffer_put(struct buffers *buffers, void *buffer) {
    if (!buffer)
        return;
    LOCK_SCOPE(&buffers->lock);
    if (--buffers->n_out && buffers->n_idle < BUFFERS_IDLE) {
        buffers->idle[buffers->n_idle++] = buffer;
        return;
    }
    munmap(buffer, READ_CHUNK);
    while (!buffers->n_out && buffers->n_idle)
        munmap(buffers->idle[--buffers->n_idle], READ_CHUNK);
}
