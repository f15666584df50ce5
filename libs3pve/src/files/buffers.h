/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * buffers.h - memory for READ_CHUNK bytes, used over and over
 *
 * Taken from the kernel and given back to it, since malloc() would keep what many threads freed in
 * any order: twice as much as was ever in use.  While one is out, others are kept for who reads on;
 * when the last comes back nobody does, and all go.  Thread-safe.
 */
#ifndef FILES_BUFFERS_H
#define FILES_BUFFERS_H

#include <pthread.h>

#define BUFFERS_IDLE 8 /* kept at most: what one window needs */

struct buffers {
    pthread_mutex_t lock; /* guards everything below */
    void *idle[BUFFERS_IDLE];
    unsigned n_idle, n_out;
};

void buffers_init(struct buffers *buffers);
void buffers_clear(struct buffers *buffers); /* what is out must have come back */

void *buffer_get(struct buffers *buffers);              /* NULL without memory */
void buffer_put(struct buffers *buffers, void *buffer); /* NULL is fine */

#endif
