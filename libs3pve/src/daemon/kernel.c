/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/kernel.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"

struct event {
    uint64_t ino;
    char *name; /* owned; NULL: the inode's pages and attributes, else an entry in it */
};

struct kernel {
    struct fuse_session *session; /* borrowed */
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct event events[INVALIDATIONS]; /* a ring */
    unsigned first, n;
    bool stopped, telling;
    pthread_cond_t told; /* all of it */
};

static void push(struct kernel *kernel, uint64_t ino, const char *name) {
    _free_ char *copy = name ? strdup(name) : NULL;
    LOCK_SCOPE(&kernel->lock);
    if (kernel->stopped || kernel->n == INVALIDATIONS || !!copy != !!name)
        return;
    kernel->events[(kernel->first + kernel->n) % INVALIDATIONS] =
        (struct event){.ino = ino, .name = steal_ptr(&copy)};
    kernel->n++;
    pthread_cond_signal(&kernel->wake);
}

/* Waits for the next one; false at the end. */
static bool pop(struct kernel *kernel, struct event *ret_event) {
    LOCK_SCOPE(&kernel->lock);
    kernel->telling = false;
    if (!kernel->n)
        pthread_cond_broadcast(&kernel->told);
    while (!kernel->n && !kernel->stopped)
        pthread_cond_wait(&kernel->wake, &kernel->lock);
    if (kernel->stopped)
        return false;
    *ret_event = kernel->events[kernel->first];
    kernel->first = (kernel->first + 1) % INVALIDATIONS;
    kernel->n--;
    kernel->telling = true;
    return true;
}

/* What the kernel does not know it need not forget: errors are none. */
static void *run(void *arg) {
    struct kernel *kernel = arg;
    struct event event;
    while (pop(kernel, &event)) {
        if (event.name)
            fuse_lowlevel_notify_inval_entry(
                kernel->session, event.ino, event.name, strlen(event.name)
            );
        else
            fuse_lowlevel_notify_inval_inode(kernel->session, event.ino, 0, 0);
        free(event.name);
    }
    return NULL;
}

static void inval_entry(void *ctx, uint64_t parent, const char *name) {
    push(ctx, parent, name);
}

static void inval_inode(void *ctx, uint64_t ino) {
    push(ctx, ino, NULL);
}

struct s3pve_files_notify kernel_notify(struct kernel *kernel) {
    return (struct s3pve_files_notify){inval_entry, inval_inode, kernel};
}

struct kernel *kernel_new(struct fuse_session *session) {
    struct kernel *kernel = calloc(1, sizeof(*kernel));
    if (!kernel)
        return NULL;
    kernel->session = session;
    pthread_mutex_init(&kernel->lock, NULL);
    pthread_cond_init(&kernel->wake, NULL);
    pthread_cond_init(&kernel->told, NULL);
    if (pthread_create(&kernel->thread, NULL, run, kernel) != 0) {
        free(kernel);
        return NULL;
    }
    return kernel;
}

void kernel_forget_length(struct kernel *kernel, uint64_t ino) {
    const off_t no_pages = -1;
    fuse_lowlevel_notify_inval_inode(kernel->session, ino, no_pages, 0);
}

void kernel_settle(struct kernel *kernel) {
    struct timespec until = clock_in_ms(CLOCK_REALTIME, INVALIDATION_MS);
    LOCK_SCOPE(&kernel->lock);
    while ((kernel->n || kernel->telling) && !kernel->stopped) {
        if (pthread_cond_timedwait(&kernel->told, &kernel->lock, &until) != 0)
            return;
    }
}

void kernel_stop(struct kernel *kernel) {
    LOCK_SCOPE(&kernel->lock);
    kernel->stopped = true;
    pthread_cond_signal(&kernel->wake);
    pthread_cond_broadcast(&kernel->told);
}

struct kernel *kernel_free(struct kernel *kernel) {
    if (!kernel)
        return NULL;
    kernel_stop(kernel);
    pthread_join(kernel->thread, NULL);
    for (; kernel->n; kernel->n--, kernel->first = (kernel->first + 1) % INVALIDATIONS)
        free(kernel->events[kernel->first].name);
    pthread_cond_destroy(&kernel->wake);
    pthread_cond_destroy(&kernel->told);
    pthread_mutex_destroy(&kernel->lock);
    free(kernel);
    return NULL;
}
