/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* engine_private.h - what engine*.c (queue and drive) and settle.c (judge and repeat) share */
#ifndef CORE_ENGINE_PRIVATE_H
#define CORE_ENGINE_PRIVATE_H

#include "core/engine.h"
#include "core/request.h"

#define WINDOW_UNIT 1024 /* the window is kept in fractions of a request */

struct requests {
    struct request *first, *last;
    unsigned n;
};

struct engine {
    struct s3pve_client *client; /* borrowed */
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t moved; /* a request is done, or nobody drives any more */
    bool driving, stopping;
    int64_t driven_ms; /* when somebody last did */
    bool any_done;     /* in this step: somebody waits for it, so do not sleep */
    struct requests queued, waiting, sent;
    unsigned window;   /* in 1/WINDOW_UNIT requests */
    unsigned n_urgent; /* started since the last one that is not */
    int64_t halved_ms;
    int64_t budget_ms; /* when tokens were last added for the time that passed */
    int budget;        /* retry tokens */
    bool new_limits;
    uint64_t upload_limit, download_limit;
};

int64_t engine_now(const struct engine *engine);

/* --- engine_time.c */

/* Its time begins; the call's timeout is known. */
void engine_begin_time(struct engine *engine, struct request *rq);

/* Nobody has driven from driven_ms until @now, so nobody could hear the store: a reader that stands
 * still, a process that is stopped. */
void engine_skip_time(struct engine *engine, int64_t now);

/* When its time is up, unless something moves before. */
int64_t engine_ends_ms(const struct request *rq);

/* Take notice of what moved in the attempt on the wire, and of an answer. */
void engine_note_moves(struct request *rq);
void engine_note_answer(struct engine *engine, struct request *rq);

/* The store answered, but no more than that it should be asked again, in @wait_ms. */
void engine_note_refusal(struct engine *engine, struct request *rq, unsigned wait_ms);

/* Is there no time for an attempt in @wait_ms? */
bool engine_is_late(struct engine *engine, const struct request *rq, unsigned wait_ms);

/* How long a connection that was kept may leave it without an answer before it is tried over a new
 * one; 0: it may not be sent twice, or need not be. */
unsigned engine_stale_ms(const struct request *rq, int64_t now);

/* When the lists must be looked at again, @due at the latest. */
int64_t engine_due_ms(const struct engine *engine, int64_t now, int64_t due);

/* --- engine_queue.c, all with the lock */

void requests_remove(struct requests *list, struct request *rq);
void requests_append(struct requests *list, struct request *rq);

/* Into the queue; @rq is in no list. */
void engine_queue(struct engine *engine, struct request *rq);

/* Who of the queue may go now; NULL: nobody. */
struct request *engine_next(const struct engine *engine);

/* --- engine.c */

bool engine_cancelled(const struct request *rq);

/* One step, called with the lock by the one who drives; the lock is dropped while polling. */
void engine_step(struct engine *engine, int64_t until_ms);

/* With the lock: who sleeps in a step shall look at what has changed. */
void engine_wake(struct engine *engine);

/* With the lock: into the queue after a while, or back to the caller; @rq is in no list. */
void engine_wait_then_queue(struct engine *engine, struct request *rq, unsigned wait_ms);
void engine_done(struct engine *engine, struct request *rq);

/* With the lock: what becomes of a request whose transfer is over. */
void engine_finish(struct engine *engine, struct transfer *transfer);

void engine_log(
    struct s3pve_client *client,
    const struct request *rq,
    enum s3pve_log_level level,
    const char *text
);

#endif
