/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/thread.h"
#include "core/client.h"
#include "core/error.h"
#include "volume/lease.h"

#define FORMAT "nodelease"
#define TEXT_MAX 4096 /* bytes of such an object */

const struct lease_times lease_times = {LEASE_RENEW_MS, LEASE_VALID_MS, LEASE_OBSERVE_MS};

struct lease {
    struct s3pve_client *client; /* borrowed */
    struct volume_node me;
    struct lease_times times;

    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t changed;
    pthread_t thread;
    unsigned n_holds;
    bool has_thread, stopping;
    int cancel;       /* atomic: ends a write when we stop */
    int64_t until_ms; /* valid until then */
    uint64_t term;
    struct s3pve_error failure; /* of the last write, if it failed */
    uint64_t n_tries;
};

static void key_of(const char *node, char key[LIMIT_KEY]) {
    snprintf(key, LIMIT_KEY, ".s3pve/nodes/%s.json", node);
}

int lease_incarnation(char incarnation[ROOT_INCARNATION], struct s3pve_error *err) {
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    bool read = file && fgets(incarnation, ROOT_INCARNATION, file);

    if (file)
        fclose(file);
    if (!read)
        return error_set(err, S3PVE_E_IO, "this boot's id cannot be read");
    incarnation[strcspn(incarnation, "\n")] = '\0';
    return 0;
}

/* ------------------------------------------------------------------ waiting */

/* With the lock held, until something changes or @ms are over. */
static void wait_ms(struct lease *lease, int64_t ms) {
    struct timespec until = clock_in_ms(CLOCK_MONOTONIC, ms);

    pthread_cond_timedwait(&lease->changed, &lease->lock, &until);
}

static bool is_cancelled(const int *cancel) {
    return cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED);
}

/* ----------------------------------------------------------------- renewing */

/* The counter is the time since boot: with the incarnation it is never the same twice. */
static int write_lease(struct lease *lease, int64_t counter, struct s3pve_error *err) {
    struct s3pve_call call = {.timeout_ms = lease->times.renew, .cancel = &lease->cancel};
    struct s3pve_put_options options = {.content_type = "application/json"};
    char key[LIMIT_KEY], text[512];
    int len = snprintf(
        text,
        sizeof(text),
        "{\"format\":\"" FORMAT
        "\",\"version\":1,\"node\":\"%s\",\"incarnation\":\"%s\","
        "\"counter\":%" PRId64 "}",
        lease->me.name,
        lease->me.incarnation,
        counter
    );

    key_of(lease->me.name, key);
    return s3pve_object_put(lease->client, key, text, (size_t)len, &options, NULL, &call, err);
}

/* One write, without the lock held.  Return: ms until the next is due. */
static unsigned renew(struct lease *lease) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int64_t began_ms = clock_boottime_ms();
    int rc;

    pthread_mutex_unlock(&lease->lock);
    rc = write_lease(lease, began_ms, &err);
    pthread_mutex_lock(&lease->lock);
    lease->failure = err;
    lease->n_tries++;
    if (rc == 0) {
        if (clock_boottime_ms() >= lease->until_ms)
            lease->term++;
        lease->until_ms = began_ms + lease->times.valid;
    }
    pthread_cond_broadcast(&lease->changed);
    return rc == 0 ? lease->times.renew : lease->times.renew / 10;
}

static void *keep_alive(void *arg) {
    struct lease *lease = arg;

    LOCK_SCOPE(&lease->lock);
    while (!lease->stopping) {
        int64_t due_ms;

        if (!lease->n_holds) {
            pthread_cond_wait(&lease->changed, &lease->lock);
            continue;
        }
        due_ms = clock_boottime_ms();
        due_ms += renew(lease);
        while (!lease->stopping && lease->n_holds && clock_boottime_ms() < due_ms)
            wait_ms(lease, due_ms - clock_boottime_ms());
    }
    return NULL;
}

/* ------------------------------------------------------------------ the face */

struct lease *lease_new(
    struct s3pve_client *client, const struct volume_node *me, const struct lease_times *times
) {
    struct lease *lease = calloc(1, sizeof(*lease));
    pthread_condattr_t attr;

    if (!lease)
        return NULL;
    lease->client = client;
    lease->me = *me;
    lease->times = *times;
    pthread_mutex_init(&lease->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lease->changed, &attr);
    pthread_condattr_destroy(&attr);
    lease->has_thread = thread_start(&lease->thread, "s3-lease", keep_alive, lease) == 0;
    return lease->has_thread ? lease : lease_free(lease);
}

struct lease *lease_free(struct lease *lease) {
    if (!lease)
        return NULL;
    if (lease->has_thread) {
        pthread_mutex_lock(&lease->lock);
        lease->stopping = true;
        __atomic_store_n(&lease->cancel, 1, __ATOMIC_RELAXED);
        pthread_cond_broadcast(&lease->changed);
        pthread_mutex_unlock(&lease->lock);
        pthread_join(lease->thread, NULL);
    }
    pthread_cond_destroy(&lease->changed);
    pthread_mutex_destroy(&lease->lock);
    free(lease);
    return NULL;
}

int lease_hold(struct lease *lease, const int *cancel, struct s3pve_error *err) {
    LOCK_SCOPE(&lease->lock);
    uint64_t failed_tries = lease->n_tries + 3;

    lease->n_holds++;
    pthread_cond_broadcast(&lease->changed);
    while (clock_boottime_ms() >= lease->until_ms) {
        if (is_cancelled(cancel) || lease->n_tries >= failed_tries) {
            lease->n_holds--;
            if (err && lease->failure.code)
                *err = lease->failure;
            else
                error_set(err, S3PVE_E_CANCELLED, "cancelled");
            return error_wrap(err, "this node's lease");
        }
        wait_ms(lease, 100);
    }
    return 0;
}

void lease_drop(struct lease *lease) {
    LOCK_SCOPE(&lease->lock);

    lease->n_holds--;
    pthread_cond_broadcast(&lease->changed);
}

uint64_t lease_term(struct lease *lease) {
    LOCK_SCOPE(&lease->lock);

    return clock_boottime_ms() < lease->until_ms ? lease->term : 0;
}

/* ----------------------------------------------------------- another's life */

struct sighting {
    bool found;
    char incarnation[ROOT_INCARNATION];
    int64_t counter;
};

static int parse(const char *text, size_t len, struct sighting *ret, struct s3pve_error *err) {
    json_t *json = json_loadb(text, len, 0, NULL);
    const char *format = json_string_value(json_object_get(json, "format"));
    const char *incarnation = json_string_value(json_object_get(json, "incarnation"));
    const json_t *counter = json_object_get(json, "counter");
    bool good = format && strcmp(format, FORMAT) == 0 && incarnation &&
                strlen(incarnation) < ROOT_INCARNATION && json_is_integer(counter);

    if (good) {
        strcpy(ret->incarnation, incarnation);
        ret->counter = json_integer_value(counter);
    }
    json_decref(json);
    return good ? 0 : error_set(err, S3PVE_E_CORRUPT, "not a node's lease");
}

static int look(
    struct lease *lease,
    const struct volume_node *node,
    const int *cancel,
    struct sighting *ret,
    struct s3pve_error *err
) {
    struct s3pve_call call = {.timeout_ms = lease->times.renew, .cancel = cancel};
    struct s3pve_error cause = S3PVE_ERROR_INIT;
    _free_ char *text = NULL;
    char key[LIMIT_KEY];
    size_t len;
    int rc;

    *ret = (struct sighting){0};
    key_of(node->name, key);
    rc = s3pve_object_get(lease->client, key, TEXT_MAX, &text, &len, NULL, &call, &cause);
    if (rc == 0) {
        ret->found = true;
        rc = parse(text, len, ret, &cause);
    } else if (cause.code == S3PVE_E_NOT_FOUND) {
        return 0; /* it may be about to write it again */
    }
    if (rc < 0 && err)
        *err = cause;
    return rc < 0 ? error_wrap(err, "the lease of node '%s'", node->name) : 0;
}

static bool same(const struct sighting *a, const struct sighting *b) {
    return a->found == b->found && a->counter == b->counter &&
           strcmp(a->incarnation, b->incarnation) == 0;
}

static bool is_another_boot(const struct sighting *now, const struct volume_node *node) {
    return now->found && strcmp(now->incarnation, node->incarnation) != 0;
}

/* It stood still if a look that began so long after the first one ended shows the same. */
int lease_owner_lives(
    struct lease *lease,
    const struct volume_node *node,
    const struct lease_watch *watch,
    bool *ret_lives,
    struct s3pve_error *err
) {
    const int *cancel = watch->call.cancel;
    int64_t began_ms = clock_boottime_ms(),
            most_ms = watch->call.timeout_ms ? watch->call.timeout_ms : INT64_MAX;
    struct sighting first, now;
    int64_t since_ms, looked_ms;

    if (look(lease, node, cancel, &first, err) < 0)
        return -1;
    since_ms = looked_ms = clock_boottime_ms();
    now = first;
    while (same(&first, &now) && !is_another_boot(&now, node)) {
        if (is_cancelled(cancel))
            return error_set(err, S3PVE_E_CANCELLED, "cancelled");
        if (looked_ms - since_ms >= (int64_t)lease->times.observe) {
            *ret_lives = false;
            return 0;
        }
        if (looked_ms - began_ms >= most_ms)
            return error_set(
                err, S3PVE_E_TIMEOUT, "whether node '%s' lives is not known yet", node->name
            );
        pthread_mutex_lock(&lease->lock);
        wait_ms(lease, lease->times.renew / 4);
        pthread_mutex_unlock(&lease->lock);
        if (watch->has_let_go && watch->has_let_go(watch->ctx)) {
            *ret_lives = true;
            return 0;
        }
        looked_ms = clock_boottime_ms();
        if (look(lease, node, cancel, &now, err) < 0)
            return -1;
    }
    *ret_lives = !is_another_boot(&now, node);
    return 0;
}
