/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* pool.h - a few threads that wait for the network so that others need not; they start when needed
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

struct pool;

/* NULL without memory. */
struct pool *pool_new(unsigned max_threads);

/* Waits until every job has run, also those still queued: have them end quickly.  Returns NULL. */
struct pool *pool_free(struct pool *pool);

/* Have @fn(@arg) run soon, in order of arrival.  Return: 0, or -1 when it never will. */
int pool_run(struct pool *pool, void (*fn)(void *arg), void *arg);

#endif
