/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* engine.h - the life of the machinery behind request.h; see DESIGN.md, "The engine" */
#ifndef CORE_ENGINE_H
#define CORE_ENGINE_H

#include "core/client.h"

/* Return: 0, or -1 (NOMEM). */
int engine_new(struct s3pve_client *client, struct s3pve_error *err);
int engine_start_thread(struct s3pve_client *client, struct s3pve_error *err);

/* Stops the thread and fails what is still queued.  @forked: free memory only. */
void engine_free(struct engine *engine, bool forked);

/* Bytes a second from the next step on; 0: no limit.  Only the driver may touch the transport. */
void engine_limit(struct engine *engine, uint64_t upload, uint64_t download);

/* Is there a thread, which a slow sink would hold up for everybody? */
bool engine_has_thread(struct engine *engine);

/* Requests on the wire right now. */
unsigned engine_in_flight(struct engine *engine);

#endif
