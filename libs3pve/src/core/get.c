/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * get.c - an object to a file descriptor, in order
 *
 * The first stretch says how long the object is and which version; the others are pinned to it.
 * A stream writes from the engine's sink straight to the descriptor, which only a client that
 * drives its own transfers may do: a reader that takes its time would hold up a network thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "core/engine.h"
#include "core/error.h"
#include "core/get.h"
#include "core/pace.h"

#define OUTPUT_MS 100 /* how soon a cancel flag is seen while nobody reads */
#define PIPE_BYTES                                                                                 \
    MIB(1)            /* asked of a pipe, so that we need not wait for every bite of its reader */
#define WHOLE_TRIES 5 /* of a transfer that cannot resume, as long as each gets further */

/* Until the descriptor takes something: a reader may stand still for ever. */
static int wait_output(const struct get *get) {
    struct pollfd output = {.fd = get->fd, .events = POLLOUT};
    const int *cancel = get->call.cancel;

    do {
        if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED))
            return ECANCELED;
    } while (poll(&output, 1, OUTPUT_MS) == 0);
    return 0;
}

int get_write(struct get *get, const void *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(get->fd, data, len);

        if (n < 0 && errno != EAGAIN && errno != EINTR)
            get->write_errno = errno;
        else if (n < 0)
            get->write_errno = wait_output(get);
        if (get->write_errno)
            return -1;
        if (n < 0)
            continue;
        data = (const char *)data + n;
        len -= (size_t)n;
        get->next += (uint64_t)n;
        if (get->progress)
            __atomic_fetch_add(get->progress, (uint64_t)n, __ATOMIC_RELAXED);
    }
    return 0;
}

bool get_goes_on(const struct request *rq) {
    return rq->out_of_time && rq->received > 0;
}

static enum s3pve_code code_of(int errnum) {
    if (errnum == ECANCELED)
        return S3PVE_E_CANCELLED;
    return errnum == ENOSPC || errnum == EDQUOT ? S3PVE_E_NO_SPACE : S3PVE_E_IO;
}

int get_fail(const struct get *get, struct s3pve_error *err) {
    if (!get->write_errno)
        return -1;
    error_set(
        err,
        code_of(get->write_errno),
        "GetObject %s: output: %s",
        get->key,
        strerror(get->write_errno)
    );
    if (err)
        err->errnum = get->write_errno;
    return -1;
}

void get_request(struct get *get, struct request *rq, uint64_t offset, uint64_t len) {
    request_init(rq, "GetObject", "GET", get->key, &get->call);
    rq->range.set = true;
    rq->range.offset = offset;
    rq->range.len = len;
    if (get->etag[0])
        request_header(rq, "if-match", "\"%s\"", get->etag);
}

static int write_gathered(struct get *get) {
    size_t len = get->n_gathered;

    get->n_gathered = 0;
    return get_write(get, get->gathered, len);
}

/* curl hands out 16 KiB at a time: a copy costs less than so many calls of write(2). */
static int sink(void *ctx, const void *data, size_t len) {
    struct get *get = ctx;

    if (!get->gathered || len > GET_GATHER)
        return write_gathered(get) < 0 ? -1 : get_write(get, data, len);
    if (get->n_gathered + len > GET_GATHER && write_gathered(get) < 0)
        return -1;
    memcpy(get->gathered + get->n_gathered, data, len);
    get->n_gathered += len;
    return 0;
}

/* What has come is written also when the rest did not. */
static int send_stream(struct get *get, struct request *rq, struct s3pve_error *err) {
    int rc = request_send(get->client, rq, err);

    return get->write_errno || write_gathered(get) < 0 ? -1 : rc;
}

/* How long it is, and which version; a change of that is the end. */
static int learn(struct get *get, const struct request *rq, struct s3pve_error *err) {
    const struct reply *reply = &rq->reply;

    if (get->etag[0] && reply->info.etag[0] && strcmp(get->etag, reply->info.etag) != 0)
        return error_set(
            err, S3PVE_E_CONFLICT, "GetObject %s: it changed while it was read", get->key
        );
    memcpy(get->etag, reply->info.etag, sizeof(get->etag));
    if (reply->has_content_range ? reply->range_total : reply->has_content_length) {
        if (reply->info.size < get->end)
            get->end = reply->info.size;
    } else if (rq->received < rq->range.len) {
        get->end = get->next; /* nobody said, but here it ended */
    }
    return 0;
}

/* ------------------------------------------------- a server without ranges */

struct whole {
    struct get *get;
    uint64_t skip; /* bytes we have already */
};

static int sink_whole(void *ctx, const void *data, size_t len) {
    struct whole *whole = ctx;
    struct get *get = whole->get;

    if (len <= whole->skip) {
        whole->skip -= len;
        return 0;
    }
    data = (const char *)data + whole->skip;
    len -= (size_t)whole->skip;
    whole->skip = 0;
    if (len > get->end - get->next)
        len = (size_t)(get->end - get->next);
    if (get_write(get, data, len) < 0)
        return -1;
    return get->next == get->end; /* enough */
}

static int whole_once(struct get *get, struct s3pve_error *err) {
    _cleanup_(request_clear) struct request rq;
    struct whole whole = {.get = get, .skip = get->next};

    request_init(&rq, "GetObject", "GET", get->key, &get->call);
    rq.call.max_attempts = 1; /* another would begin from the start */
    rq.sink = sink_whole;
    rq.sink_ctx = &whole;
    if (get->etag[0])
        request_header(&rq, "if-match", "\"%s\"", get->etag);
    if (request_send(get->client, &rq, err) < 0 && get->next != get->end)
        return -1;
    if (learn(get, &rq, err) < 0)
        return -1;
    if (get->end == UINT64_MAX)
        get->end = get->next;
    return 0;
}

static int get_whole(struct get *get, struct s3pve_error *err) {
    int rc = -1;

    for (int i = 0; rc < 0 && i < WHOLE_TRIES && !get->write_errno; i++) {
        uint64_t before = get->next;

        rc = whole_once(get, err);
        if (rc < 0 && get->next == before)
            break;
    }
    return rc < 0 ? get_fail(get, err) : 0;
}

/* ------------------------------------------------------------- one stream */

/* The deadline is for a stretch without a byte: a request that ran into it goes on in another. */
static int get_stream(struct get *get, uint64_t until, struct s3pve_error *err) {
    while (get->next < until && get->next < get->end) {
        _cleanup_(request_clear) struct request rq;

        get_request(get, &rq, get->next, (until < get->end ? until : get->end) - get->next);
        rq.sink = sink;
        rq.sink_ctx = get;
        if (send_stream(get, &rq, err) == 0) {
            if (learn(get, &rq, err) < 0)
                return -1;
            if (!rq.received && get->next < get->end)
                return error_set(
                    err, S3PVE_E_CORRUPT, "GetObject %s: shorter than it was", get->key
                );
            continue;
        }
        if (get->write_errno)
            return get_fail(get, err);
        if (object_is_past_end(&rq) && !get->etag[0]) {
            get->end = get->next; /* empty, or shorter than where we were to begin */
            return 0;
        }
        if (object_ignores_ranges(&rq))
            return get_whole(get, err);
        if (!get_goes_on(&rq))
            return -1;
        if (!get->etag[0])
            memcpy(get->etag, rq.pinned_etag, sizeof(get->etag));
    }
    return 0;
}

/* ---------------------------------------------------------------- the whole */

static unsigned latency_of(struct s3pve_client *client) {
    LOCK_SCOPE(&client->lock);

    return client->counters.latency_ms;
}

static int64_t now_ms(const struct s3pve_client *client) {
    return client->transport.now_ms(client->transport.ctx);
}

static int get_run(struct get *get, bool threaded, struct s3pve_error *err) {
    struct s3pve_info info;
    struct pace pace;

    pace_begin(&pace, threaded ? 2 : 1);
    if (threaded) {
        if (object_head(get->client, get->key, &get->call, &info, NULL, err) < 0)
            return -1;
        memcpy(get->etag, info.etag, sizeof(get->etag));
        if (info.size < get->end)
            get->end = info.size;
    }
    while (get->next < get->end) {
        uint64_t before = get->next, until = before + pace_stretch(&pace);
        int64_t began = now_ms(get->client);
        int rc;

        if (until > get->end)
            until = get->end;
        rc = pace.width > 1 ? get_ranges(get, until, pace.width, err) : get_stream(get, until, err);
        if (rc < 0)
            return -1;
        pace_learn(&pace, get->next - before, now_ms(get->client) - began, latency_of(get->client));
    }
    return 0;
}

_public_ int s3pve_object_get_fd(
    struct s3pve_client *client,
    const char *key,
    int fd,
    uint64_t offset,
    uint64_t len,
    uint64_t *progress,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _free_ char *gathered = malloc(GET_GATHER);
    struct get get = {
        .gathered = gathered, /* without it things are slower, no more */
        .client = client,
        .key = key,
        .fd = fd,
        .next = offset,
        .end = len ? offset + len : UINT64_MAX,
        .progress = progress,
    };
    struct s3pve_error cause = S3PVE_ERROR_INIT; /* of a stretch that may yet be resumed */

    if (object_check_key(client, key, err) < 0)
        return -1;
    if (get.end < offset)
        return error_set(err, S3PVE_E_INVALID, "GetObject %s: the range has no end", key);
    if (call)
        get.call = *call;
    (void)fcntl(fd, F_SETPIPE_SZ, (int)PIPE_BYTES); /* no pipe, no matter */
    if (get_run(&get, engine_has_thread(client->engine), &cause) == 0)
        return 0;
    if (err)
        *err = cause;
    return -1;
}
