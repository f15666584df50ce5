/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "images.h"
#include "images/table.h"
#include "tap.h"

struct s3pve_volumes *node_open(struct s3pve_client *client, const struct node_options *options) {
    char state[512], cache[600], boot[40];
    unsigned scale = options->scale ? options->scale : 1;
    struct lease_times times = {
        LEASE_RENEW_MS / scale, LEASE_VALID_MS / scale, LEASE_OBSERVE_MS / scale};
    struct s3pve_volumes_options how = {
        .state_dir = state,
        .cache_file = cache,
        .cache_size = MIB(256),
        .journal_size = MIB(16),
        .node = options->name,
        .incarnation = options->boot ? options->boot : boot,
        .bucket = !options->local,
        .linger_ms = options->linger_ms,
    };
    struct s3pve_volumes *volumes = NULL;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    snprintf(boot, sizeof(boot), "boot-of-%s", options->name);
    snprintf(state, sizeof(state), "%s/%s", options->dir, options->name);
    snprintf(cache, sizeof(cache), "%s.cache", state);
    mkdir(state, 0700);
    if (table_open(client, &how, &times, &volumes, &err) < 0)
        bail_out("%s", err.message);
    return volumes;
}

/* ----------------------------------------------------------------- requests */

struct asked {
    struct s3pve_volume_request r; /* first */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    int errnum;
};

static void done(struct s3pve_volume_request *r, const struct s3pve_error *err) {
    struct asked *asked = (struct asked *)r;

    LOCK_SCOPE(&asked->lock);
    asked->done = true;
    asked->errnum = err ? err->errnum : 0;
    pthread_cond_signal(&asked->changed);
}

int volume_ask(
    struct s3pve_volume *volume, enum s3pve_volume_op op, void *data, uint64_t offset, uint64_t len
) {
    struct asked asked = {
        .r = {.op = op, .offset = offset, .len = len, .done = done},
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    uint8_t *blocks = data ? malloc((offset % BLOCK + len + BLOCK - 1) / BLOCK * BLOCK) : NULL;

    if (data)
        asked.r.data = blocks + offset % BLOCK;
    if (op == S3PVE_VOLUME_WRITE)
        memcpy(asked.r.data, data, len);
    s3pve_volume_submit(volume, &asked.r);
    pthread_mutex_lock(&asked.lock);
    while (!asked.done)
        pthread_cond_wait(&asked.changed, &asked.lock);
    pthread_mutex_unlock(&asked.lock);
    if (op == S3PVE_VOLUME_READ)
        memcpy(data, asked.r.data, len);
    free(blocks);
    return asked.errnum;
}

/* -------------------------------------------------------------------- bytes */

void fill_bytes(uint8_t *bytes, uint64_t offset, uint64_t len, unsigned seed) {
    for (uint64_t i = 0; i < len; i++) {
        uint64_t word = ((offset + i) / 8 + 1) * (2654435761u + 2 * (uint64_t)seed);

        bytes[i] = (uint8_t)(word >> ((offset + i) % 8));
    }
}

bool has_bytes(struct s3pve_volume *volume, uint64_t offset, uint64_t len, unsigned seed) {
    uint8_t *got = malloc(len), *want = malloc(len);
    bool same;

    fill_bytes(want, offset, len, seed);
    memset(got, 0xee, len);
    same = volume_read(volume, got, offset, len) == 0 && memcmp(got, want, len) == 0;
    free(got);
    free(want);
    return same;
}

bool has_zeroes(struct s3pve_volume *volume, uint64_t offset, uint64_t len) {
    uint8_t *got = malloc(len), *want = calloc(1, len);
    bool same;

    memset(got, 0xee, len);
    same = volume_read(volume, got, offset, len) == 0 && memcmp(got, want, len) == 0;
    free(got);
    free(want);
    return same;
}

int put_bytes(struct s3pve_volume *volume, uint64_t offset, uint64_t len, unsigned seed) {
    uint8_t *bytes = malloc(len);
    int errnum;

    fill_bytes(bytes, offset, len, seed);
    errnum = volume_write(volume, bytes, offset, len);
    free(bytes);
    return errnum;
}

/* -------------------------------------------------------------------- state */

bool stats_of(struct s3pve_volumes *node, const char *name, struct s3pve_volume_stats *ret_stats) {
    for (size_t i = 0; s3pve_volumes_next(node, i, ret_stats) == 0; i++)
        if (strcmp(ret_stats->info.name, name) == 0)
            return true;
    return false;
}

unsigned count_files(const char *dir, const char *node) {
    char command[512];
    unsigned n = 0;
    FILE *pipe;

    snprintf(
        command, sizeof(command), "find '%s/%s' -mindepth 1 ! -name 'spare-*' | wc -l", dir, node
    );
    pipe = popen(command, "re");
    if (!pipe || fscanf(pipe, "%u", &n) != 1)
        bail_out("%s", command);
    pclose(pipe);
    return n;
}
