/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "base/clock.h"
#include "core/error.h"
#include "images/length_private.h"

/* -------------------------------------------------------------- zeroes of our own */

struct zeroing {
    struct runtime_request r; /* first */
    pthread_mutex_t lock;     /* guards everything below */
    pthread_cond_t changed;
    unsigned n_users; /* who waits, and the request */
    bool done;
    struct s3pve_error err;
};

static void zeroing_drop(struct zeroing *z) {
    unsigned n_users = --z->n_users;

    pthread_mutex_unlock(&z->lock);
    if (n_users)
        return;
    pthread_cond_destroy(&z->changed);
    pthread_mutex_destroy(&z->lock);
    free(z);
}

static void zeroing_done(struct runtime_request *r, const struct s3pve_error *err) {
    struct zeroing *z = (struct zeroing *)r;

    pthread_mutex_lock(&z->lock);
    z->done = true;
    if (err)
        z->err = *err;
    pthread_cond_broadcast(&z->changed);
    zeroing_drop(z);
}

static int zeroing_wait(struct zeroing *z, struct limit *limit, struct s3pve_error *err) {
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    struct timespec until;

    pthread_mutex_lock(&z->lock);
    while (!z->done && !__atomic_load_n(&limit->cancel, __ATOMIC_RELAXED)) {
        until = clock_in_ms(CLOCK_REALTIME, CANCEL_LOOK_MS);
        pthread_cond_timedwait(&z->changed, &z->lock, &until);
    }
    if (z->done)
        cause = z->err;
    else
        error_set(&cause, S3PVE_E_CANCELLED, "cancelled");
    zeroing_drop(z);
    if (!cause.code)
        return 0;
    if (err)
        *err = cause;
    return limit_why(limit, err);
}

int length_zero(
    struct s3pve_volume *volume,
    uint64_t offset,
    uint64_t len,
    struct limit *limit,
    struct s3pve_error *err
) {
    struct zeroing *z = calloc(1, sizeof(*z));

    if (!z)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a request");
    pthread_mutex_init(&z->lock, NULL);
    pthread_cond_init(&z->changed, NULL);
    z->n_users = 2;
    z->r.request =
        (struct volume_request){.type = VOLUME_ZERO, .offset = offset, .len = len, .unmap = true};
    z->r.done = zeroing_done;
    runtime_submit(volume->runtime, &z->r);
    return zeroing_wait(z, limit, err);
}

/* -------------------------------------------------------------- what has to wait */

static uint64_t end_of(const struct asked *asked) {
    return asked->r.request.offset + asked->r.request.len;
}

/* Whether it is no use to try again. */
static bool is_final(struct s3pve_volume *volume, const struct s3pve_error *err) {
    return err->code == S3PVE_E_CONFLICT || err->code == S3PVE_E_CANCELLED ||
           err->code == S3PVE_E_INVALID || err->code == S3PVE_E_NOT_FOUND ||
           runtime_is_over(volume->runtime);
}

static int make_ready(struct asked *asked, struct s3pve_error *err) {
    struct s3pve_volume *volume = asked->volume;
    struct runtime_wait wait = {.timeout_ms = VOLUME_CALL_MS, .cancel = &volume->all->stop};

    if (asked->r.request.type == VOLUME_WRITE)
        return length_grow(volume, end_of(asked), &wait, err);
    if (volume->bucket)
        return length_store(volume, &wait, err);
    length_sync(volume->length);
    return 0;
}

/* However long the store is away (D6). */
static void serve(struct asked *asked) {
    struct s3pve_volume *volume = asked->volume;
    struct store patience = {.cancel = &volume->all->stop};
    struct s3pve_error err;

    for (unsigned n = 0;; n++) {
        err = S3PVE_ERROR_INIT;
        if (make_ready(asked, &err) == 0) {
            runtime_submit(volume->runtime, &asked->r);
            return;
        }
        if (is_final(volume, &err) || !store_again(&patience, n)) {
            io_done(asked, &err);
            return;
        }
    }
}

static void serve_waiting(void *arg) {
    struct length *length = arg;
    struct asked *asked;

    pthread_mutex_lock(&length->lock);
    while ((asked = length->first)) {
        length->first = asked->next;
        if (!length->first)
            length->last = &length->first;
        pthread_mutex_unlock(&length->lock);
        serve(asked);
        pthread_mutex_lock(&length->lock);
    }
    length->working = false;
    pthread_cond_broadcast(&length->changed);
    pthread_mutex_unlock(&length->lock);
}

static void wait_for_it(struct asked *asked) {
    struct length *length = asked->volume->length;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    bool begins;

    pthread_mutex_lock(&length->lock);
    asked->next = NULL;
    *length->last = asked;
    length->last = &asked->next;
    begins = !length->working;
    length->working = true;
    pthread_mutex_unlock(&length->lock);
    if (!begins || pool_run(asked->volume->all->files, serve_waiting, length) == 0)
        return;
    pthread_mutex_lock(&length->lock);
    asked = length->first; /* and who came after it */
    length->first = NULL;
    length->last = &length->first;
    length->working = false;
    pthread_mutex_unlock(&length->lock);
    error_set(&err, S3PVE_E_NOMEM, "no thread for a request");
    while (asked) {
        struct asked *next = asked->next;

        io_done(asked, &err);
        asked = next;
    }
}

/* ----------------------------------------------------------------------- requests */

static void flushed(struct runtime_request *r, const struct s3pve_error *err) {
    io_done((struct asked *)r, err);
}

static void flush(struct asked *asked) {
    asked->r = (struct runtime_request){.request = {.type = VOLUME_FLUSH}, .done = flushed};
    wait_for_it(asked);
}

static void written(struct runtime_request *r, const struct s3pve_error *err) {
    struct asked *asked = (struct asked *)r;

    if (!err)
        length_extend(asked->volume->length, end_of(asked));
    if (!err && asked->request->fua)
        flush(asked);
    else
        io_done(asked, err);
}

static void write_some(struct asked *asked) {
    asked->r.request.fua = false;
    asked->r.done = written;
    if (end_of(asked) <= runtime_size(asked->volume->runtime))
        runtime_submit(asked->volume->runtime, &asked->r);
    else
        wait_for_it(asked);
}

void length_submit(struct asked *asked) {
    const struct volume_request *request = &asked->r.request;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint64_t now = length_now(asked->volume->length);

    asked->r.more = false; /* as one may wait that another one waits for */
    if (request->type == VOLUME_FLUSH) {
        flush(asked);
    } else if (request->type == VOLUME_WRITE && request->len && request->offset <= VOLUME_BYTES_MAX) {
        write_some(asked);
    } else if (request->len <= now && request->offset <= now - request->len) {
        runtime_submit(asked->volume->runtime, &asked->r);
    } else {
        error_set(&err, S3PVE_E_INVALID, "beyond the end of the file");
        io_done(asked, &err);
    }
}
