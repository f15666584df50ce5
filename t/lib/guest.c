/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "guest.h"
#include "volume/store.h"

#define SECTOR 512u

struct asked {
    struct runtime_request r;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    int errnum;
};

static void done(struct runtime_request *r, const struct s3pve_error *err) {
    struct asked *asked = (struct asked *)r;

    LOCK_SCOPE(&asked->lock);
    asked->done = true;
    asked->errnum = err ? err->errnum : 0;
    pthread_cond_signal(&asked->changed);
}

/* Memory as runtime.h wants it: whole blocks. */
static uint8_t *blocks_for(uint64_t offset, uint64_t len) {
    return malloc((offset % BLOCK + len + BLOCK - 1) / BLOCK * BLOCK);
}

int guest_ask(
    struct guest *guest, enum volume_request_type type, void *data, uint64_t offset, uint64_t len
) {
    struct asked asked = {
        .r = {.request = {.type = type, .offset = offset, .len = len}, .done = done},
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    uint8_t *blocks = data ? blocks_for(offset, len) : NULL;

    if (data)
        asked.r.data = blocks + offset % BLOCK;
    if (type == VOLUME_WRITE)
        memcpy(asked.r.data, data, len);
    runtime_submit(guest->runtime, &asked.r);
    pthread_mutex_lock(&asked.lock);
    while (!asked.done)
        pthread_cond_wait(&asked.changed, &asked.lock);
    pthread_mutex_unlock(&asked.lock);
    if (type == VOLUME_READ)
        memcpy(data, asked.r.data, len);
    free(blocks);
    return asked.errnum;
}

bool guest_volumes(
    struct guest *guest,
    struct s3pve_client *client,
    const char *dir,
    const char *node,
    uint64_t journal_size,
    unsigned scale
) {
    char state[512], cache[600];
    struct volumes_options options = {
        .state_dir = state,
        .cache_file = cache,
        .cache_size = MIB(256),
        .journal_size = journal_size,
        .times = {LEASE_RENEW_MS / scale, LEASE_VALID_MS / scale, LEASE_OBSERVE_MS / scale},
    };
    struct s3pve_error err = S3PVE_ERROR_INIT;

    guest->runtime = NULL;
    snprintf(state, sizeof(state), "%s/%s", dir, node);
    snprintf(cache, sizeof(cache), "%s.cache", state);
    snprintf(options.me.name, sizeof(options.me.name), "%s", node);
    snprintf(options.me.incarnation, sizeof(options.me.incarnation), "boot-of-%s", node);
    mkdir(state, 0700);
    if (volumes_open(client, &options, &guest->volumes, &err) == 0)
        return true;
    printf("# %s\n", err.message);
    return false;
}

bool guest_create(struct s3pve_client *client, uint64_t size, uint32_t segment_blocks) {
    struct store store = {.client = client, .folder = GUEST_FOLDER};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (store_create(&store, size, segment_blocks, &err) == 0)
        return true;
    printf("# %s\n", err.message);
    return false;
}

bool guest_open(struct guest *guest, bool bucket, struct s3pve_error *err) {
    struct runtime_options options = {.bucket = bucket, .seal_age_ms = 500};

    return runtime_open(guest->volumes, GUEST_FOLDER, &options, NULL, &guest->runtime, err) == 0;
}

void guest_close(struct guest *guest) {
    guest->runtime = runtime_close(guest->runtime);
    guest->volumes = volumes_close(guest->volumes);
}

/* -------------------------------------------------------------------- model */

void model_init(struct model *model, uint64_t size) {
    *model = (struct model){.bytes = calloc(1, size), .got = malloc(size), .size = size, .seed = 1};
}

void model_clear(struct model *model) {
    free(model->bytes);
    free(model->got);
}

static uint32_t chance(struct model *model, uint32_t n) {
    return (uint32_t)rand_r(&model->seed) % n;
}

int model_change(struct model *model, struct guest *guest) {
    uint64_t len = (1 + chance(model, chance(model, 10) ? 64 : 2048)) * (uint64_t)SECTOR;
    uint64_t offset = chance(model, (uint32_t)((model->size - len) / SECTOR + 1)) * SECTOR;

    if (chance(model, 3)) {
        offset = offset / BLOCK * BLOCK;
        len = (len + BLOCK - 1) / BLOCK * BLOCK;
        if (offset + len > model->size)
            offset = model->size - len;
    }
    if (chance(model, 8) == 0) {
        memset(model->bytes + offset, 0, len);
        return guest_zero(guest, offset, len);
    }
    for (uint64_t i = 0; i < len; i += 4)
        *(uint32_t *)(model->bytes + offset + i) = (uint32_t)rand_r(&model->seed);
    return guest_write(guest, model->bytes + offset, offset, len);
}

bool model_is(struct model *model, struct guest *guest) {
    memset(model->got, 0xee, model->size);
    for (uint64_t at = 0; at < model->size; at += MIB(1))
        if (guest_read(guest, model->got + at, at, MIB(1)) != 0)
            return false;
    for (uint64_t at = 0; at < model->size; at += BLOCK)
        if (memcmp(model->got + at, model->bytes + at, BLOCK) != 0) {
            printf("# block %llu differs\n", (unsigned long long)(at / BLOCK));
            return false;
        }
    return true;
}
