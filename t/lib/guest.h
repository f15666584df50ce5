/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* guest.h - open volumes in a test: requests that are waited for */
#ifndef GUEST_H
#define GUEST_H

#include <pthread.h>

#include "volume/runtime.h"

#define WAIT(ms) ((struct runtime_wait){.timeout_ms = (ms)})

#define GUEST_FOLDER "images/100/vm-100-disk-0"

struct guest {
    struct volumes *volumes;
    struct runtime *runtime;
};

/* Volumes of a node of that name, whose state is below @dir; the lease's times are @scale times
 * shorter than in life. */
bool guest_volumes(
    struct guest *guest,
    struct s3pve_client *client,
    const char *dir,
    const char *node,
    uint64_t journal_size,
    unsigned scale
);
bool guest_create(struct s3pve_client *client, uint64_t size, uint32_t segment_blocks);
bool guest_open(struct guest *guest, bool bucket, struct s3pve_error *err);
void guest_close(struct guest *guest); /* the volume and the node's volumes */

/* 0, or the errno. */
int guest_ask(
    struct guest *guest, enum volume_request_type type, void *data, uint64_t offset, uint64_t len
);
#define guest_write(guest, data, offset, len) guest_ask(guest, VOLUME_WRITE, data, offset, len)
#define guest_read(guest, data, offset, len) guest_ask(guest, VOLUME_READ, data, offset, len)
#define guest_zero(guest, offset, len) guest_ask(guest, VOLUME_ZERO, NULL, offset, len)
#define guest_flush(guest) guest_ask(guest, VOLUME_FLUSH, NULL, 0, 0)

/* What a disk should be. */
struct model {
    uint8_t *bytes, *got;
    uint64_t size;
    unsigned seed;
};

void model_init(struct model *model, uint64_t size); /* zeroes */
void model_clear(struct model *model);
/* Write or zero some of both: anywhere, any length, often whole blocks.  0, or the errno. */
int model_change(struct model *model, struct guest *guest);
bool model_is(struct model *model, struct guest *guest);

#endif
