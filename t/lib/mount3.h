/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* mount3.h - a storage over a store in memory */
#ifndef MOUNT3_H
#define MOUNT3_H

#include "mem3.h"
#include "steps.h"

static inline void mount3_begin(void) {
    mount_begin(mem3_client());
}

/* Nothing is on its way, in memory or on the node, for any file. */
static inline bool mount3_is_clean(void) {
    struct s3pve_files_stats stats;

    s3pve_files_stats(fs, &stats);
    return mem3_n_uploads() == 0 && stats.uploads == 0 && stats.upload_memory == 0 &&
           atomic_load(&fs->spool_bytes) == 0 && fs->usage.reserved == 0;
}

static inline int mount3_end(void) {
    mount_done();
    mem3_clear();
    return done_testing();
}

#endif
