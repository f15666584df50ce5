/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "files/buffers.h"
#include "tap.h"

static bool is_mapped(void *buffer) {
    return msync(buffer, READ_CHUNK, MS_ASYNC) == 0;
}

int main(void) {
    struct buffers buffers;
    void *out[BUFFERS_IDLE + 2];
    unsigned n_mapped = 0;
    void *again;

    buffers_init(&buffers);
    buffer_put(&buffers, NULL);
    is_int(buffers.n_out, 0, "to put nothing changes nothing");
    for (unsigned i = 0; i < BUFFERS_IDLE + 2; i++)
        out[i] = buffer_get(&buffers);
    for (unsigned i = 1; i < BUFFERS_IDLE + 2; i++)
        buffer_put(&buffers, out[i]);
    for (unsigned i = 1; i < BUFFERS_IDLE + 2; i++)
        n_mapped += is_mapped(out[i]);
    is_int(n_mapped, BUFFERS_IDLE, "while one is out, so many are kept");

    again = buffer_get(&buffers);
    is_int(buffers.n_idle, BUFFERS_IDLE - 1, "one of them is used again");
    buffer_put(&buffers, again);
    buffer_put(&buffers, out[0]);
    n_mapped = 0;
    for (unsigned i = 0; i < BUFFERS_IDLE + 2; i++)
        n_mapped += is_mapped(out[i]);
    is_int(n_mapped, 0, "when the last comes back, the kernel has them all");
    buffers_clear(&buffers);
    return done_testing();
}
