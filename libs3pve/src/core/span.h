/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * span.h - one call's time, shared by all the requests it needs
 *
 * Every request gets what the earlier ones left.  A write that ran into the deadline still has to
 * be resolved by reading (C3), so a request never gets less than RESOLVE_MS or the call's whole
 * time, whichever is less.
 */
#ifndef CORE_SPAN_H
#define CORE_SPAN_H

#include "core/client.h"

struct span {
    struct s3pve_client *client; /* borrowed */
    struct s3pve_call call;
    int64_t until_ms;
    unsigned least_ms;
};

/* @call may be NULL.  @extra_ms: what moving the bytes may take on top. */
void span_begin(
    struct span *span, struct s3pve_client *client, const struct s3pve_call *call, uint64_t extra_ms
);

/* It turns out to need so much more. */
void span_extend(struct span *span, uint64_t extra_ms);

/* Is the call's time up?  What is still asked then is for the record. */
bool span_is_over(const struct span *span);

/*
 * Round @n (0 is the first) of a write whose lost answers are resolved by reading: how long to wait
 * before it, as a server in trouble needs a while.  Return: false when there will be none.
 */
bool span_round(const struct span *span, unsigned n, unsigned *ret_wait_ms);

/* For the next request; borrowed until the next call. */
const struct s3pve_call *span_call(struct span *span);

#endif
