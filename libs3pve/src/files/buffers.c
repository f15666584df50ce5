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
    buffers_trim(buffers);
    pthread_mutex_destroy(&buffers->lock);
}

void *buffer_get(struct buffers *buffers) {
    void *buffer = NULL;

    pthread_mutex_lock(&buffers->lock);
    if (buffers->n_idle)
        buffer = buffers->idle[--buffers->n_idle];
    pthread_mutex_unlock(&buffers->lock);
    if (buffer)
        return buffer;
    buffer = mmap(NULL, READ_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return buffer == MAP_FAILED ? NULL : buffer;
}

void buffer_put(struct buffers *buffers, void *buffer) {
    if (!buffer)
        return;
    pthread_mutex_lock(&buffers->lock);
    if (buffers->n_idle < BUFFERS_IDLE) {
        buffers->idle[buffers->n_idle++] = buffer;
        buffer = NULL;
    }
    pthread_mutex_unlock(&buffers->lock);
    if (buffer)
        munmap(buffer, READ_CHUNK);
}

void buffers_trim(struct buffers *buffers) {
    LOCK_SCOPE(&buffers->lock);
    while (buffers->n_idle)
        munmap(buffers->idle[--buffers->n_idle], READ_CHUNK);
}
