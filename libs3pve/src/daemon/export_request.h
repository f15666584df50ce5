/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* export_request.h - what an NBD client wants, said to the volume behind its export */
#ifndef DAEMON_EXPORT_REQUEST_H
#define DAEMON_EXPORT_REQUEST_H

#include "nbd/nbd.h"

/** export_request_submit() - see nbd.h; @volume: a struct s3pve_volume, held */
void export_request_submit(void *volume, struct nbd_request *request);

#endif
