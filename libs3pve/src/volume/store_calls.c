/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* store_calls.c - requests for a volume: how long they may take, and objects by name */
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "volume/store_private.h"

unsigned store_left_ms(const struct store *store) {
    int64_t ms = store->until_ms - clock_monotonic_ms();

    return ms > 1 ? (unsigned)ms : 1;
}

struct s3pve_call store_call(const struct store *store) {
    struct s3pve_call call = {.timeout_ms = VOLUME_CALL_MS, .cancel = store->cancel};

    if (store->until_ms && store_left_ms(store) < call.timeout_ms)
        call.timeout_ms = store_left_ms(store);
    return call;
}

static bool is_cancelled(const struct store *store) {
    return store->cancel && __atomic_load_n(store->cancel, __ATOMIC_RELAXED);
}

bool store_again(const struct store *store, unsigned n) {
    int64_t most = n < 10 ? (int64_t)VOLUME_AGAIN_MS << n : VOLUME_AGAIN_MAX_MS;
    int64_t until;
    uint32_t chance = 0;

    if (most > VOLUME_AGAIN_MAX_MS)
        most = VOLUME_AGAIN_MAX_MS;
    if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) < 0)
        chance = 0;
    until = clock_monotonic_ms() + most / 2 + chance % (most / 2);
    while (!is_cancelled(store) && clock_monotonic_ms() < until)
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    return !is_cancelled(store);
}

int store_put(
    struct store *store, const char *name, const void *data, size_t len, struct s3pve_error *err
) {
    struct s3pve_call call = store_call(store);
    char key[KEY_ROOM];

    snprintf(key, sizeof(key), "%s/%s", store->data, name);
    return s3pve_object_put(store->client, key, data, len, NULL, NULL, &call, err);
}

int store_get(
    struct store *store,
    const char *name,
    uint64_t offset,
    void *data,
    size_t len,
    size_t *ret_len,
    struct s3pve_error *err
) {
    struct s3pve_call call = store_call(store);
    char key[KEY_ROOM];

    snprintf(key, sizeof(key), "%s/%s", store->data, name);
    return s3pve_object_pread(
        store->client, key, NULL, data, len, offset, ret_len, NULL, &call, err
    );
}
