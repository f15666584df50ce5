/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* mount3.h - a storage over a store in memory */
#ifndef MOUNT3_H
#define MOUNT3_H

#include "mem3.h"
#include "steps.h"

static inline void mount3_begin(void) {
    mount_begin(mem3_client());
}

static inline int mount3_end(void) {
    mount_done();
    mem3_clear();
    return done_testing();
}

#endif
