/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * mem3.h - a store in memory, in place of the S3 client: for tests of what sits on s3pve.h
 *
 * Include it in the one C file of such a test.  It defines the client's functions itself, so that
 * the linker takes nothing of core/ but its errors.  Faults are switches in `mem3`.
 */
#ifndef MEM3_H
#define MEM3_H

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "core/client.h"
#include "core/error.h"
#include "pattern.h"

#define MEM3_MAX 20000
#define MEM3_PART (16u << 20)

struct mem3_object {
    char *key, *data;
    size_t len;
    char etag[40];
    int64_t mtime;
};

struct s3pve_upload {
    struct s3pve_upload *next;
    char key[1100], id[40];
    struct buf data;
    bool has_id, completed, closed;
    unsigned age_s; /* as the store would tell it */
    size_t sealed_len;
};

struct s3pve_list {
    char prefix[1100], delimiter[4], last[1100];
    unsigned n_made_up;
};

static struct {
    pthread_mutex_t lock;
    struct mem3_object objects[MEM3_MAX]; /* sorted by key */
    size_t n_objects;
    struct s3pve_upload *uploads; /* with an id: what the store knows of */
    unsigned last_no;
    struct s3pve_counters counters;
    unsigned n_copy, n_head, n_aborts;
    atomic_ullong bytes_read;
    struct s3pve_client client;
    char log[4096];

    /* --- faults */
    atomic_uint n_left;  /* so many calls less one work, then the caller is dead; 0: it lives */
    atomic_bool down;    /* nothing answers: every call fails after `down_ms` */
    atomic_uint down_ms; /* at most the call's own deadline */
    const char
        *_Atomic fail; /* this operation fails, "" none: put delete copy complete abort ... */
    _Atomic enum s3pve_code code;    /* ... with this; IO when 0 */
    atomic_bool lost_complete;       /* done, and the answer does not arrive */
    atomic_uint delay_ms;            /* before every answer */
    atomic_uint list_delay_ms;       /* between reading the listing and giving it back */
    void (*_Atomic on_list)(void);   /* called there */
    void (*_Atomic on_delete)(void); /* called between deleting and saying so */
    atomic_uint n_made_up;           /* so many objects more, at the head of every listing */
    atomic_bool no_list_etag;
    atomic_bool no_list_start;   /* a listing begins at the beginning */
    atomic_bool other_copy_etag; /* as of what was put in parts */
    atomic_bool other_list_etag; /* listings have other ETags than everything else */
} mem3 = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline struct s3pve_client *mem3_client(void) {
    mem3.client.config.prefix = (char *)"";
    mem3.client.caps.put_if_absent = mem3.client.caps.put_if_match = S3PVE_YES;
    return &mem3.client;
}

static inline void mem3_sleep(unsigned ms, const int *cancel) {
    int64_t until = clock_monotonic_ms() + ms;

    while (clock_monotonic_ms() < until) {
        if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED))
            return;
        usleep(1000);
    }
}

/* Every call of the network starts here. */
static inline int mem3_enter(
    const char *operation, const struct s3pve_call *call, struct s3pve_error *err
) {
    const int *cancel = call ? call->cancel : NULL;
    unsigned limit = call && call->timeout_ms ? call->timeout_ms : 2000;
    const char *fail = mem3.fail;

    if (mem3.delay_ms)
        mem3_sleep(mem3.delay_ms, cancel);
    if (mem3.down)
        mem3_sleep(mem3.down_ms < limit ? mem3.down_ms : limit, cancel);
    if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED))
        return error_set(err, S3PVE_E_CANCELLED, "%s: cancelled", operation);
    if (mem3.down) {
        LOCK_SCOPE(&mem3.lock);
        mem3.counters.last_fail_s = clock_wall_s();
        return error_set(err, S3PVE_E_TIMEOUT, "%s: nobody answers", operation);
    }
    if (mem3.n_left && --mem3.n_left == 0)
        mem3.n_left = 1;
    if (mem3.n_left == 1)
        return error_set(err, S3PVE_E_CANCELLED, "%s: dead", operation);
    if (fail && strcmp(fail, operation) == 0)
        return error_set(err, mem3.code ? mem3.code : S3PVE_E_IO, "%s: told to fail", operation);
    pthread_mutex_lock(&mem3.lock);
    mem3.counters.last_ok_s = clock_wall_s();
    return 0;
}

static inline size_t mem3_find(const char *key, bool *ret_found) {
    size_t low = 0, high = mem3.n_objects;

    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = strcmp(mem3.objects[mid].key, key);

        if (order == 0) {
            *ret_found = true;
            return mid;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *ret_found = false;
    return low;
}

static inline struct mem3_object *mem3_store(const char *key, const void *data, size_t len) {
    bool found;
    size_t i = mem3_find(key, &found);
    struct mem3_object *object = &mem3.objects[i];

    if (!found) {
        memmove(object + 1, object, (mem3.n_objects - i) * sizeof(*object));
        mem3.n_objects++;
        *object = (struct mem3_object){.key = strdup(key)};
    }
    free(object->data);
    object->data = malloc(len + 1);
    if (len)
        memcpy(object->data, data, len);
    object->data[len] = '\0';
    object->len = len;
    object->mtime = clock_wall_s();
    snprintf(object->etag, sizeof(object->etag), "etag-%u", ++mem3.last_no);
    return object;
}

static inline void mem3_remove(const char *key) {
    bool found;
    size_t i = mem3_find(key, &found);

    if (!found)
        return;
    free(mem3.objects[i].key);
    free(mem3.objects[i].data);
    mem3.n_objects--;
    memmove(&mem3.objects[i], &mem3.objects[i + 1], (mem3.n_objects - i) * sizeof(mem3.objects[0]));
}

/* --- what a test does and asks, as another client of the same store */

static inline void mem3_put(const char *key, const char *text) {
    LOCK_SCOPE(&mem3.lock);
    mem3_store(key, text, strlen(text));
}

static inline void mem3_put_size(const char *key, size_t len) {
    char *data = malloc(len + 1);

    for (size_t i = 0; i < len; i++)
        data[i] = pattern_byte(i);
    pthread_mutex_lock(&mem3.lock);
    mem3_store(key, data, len);
    pthread_mutex_unlock(&mem3.lock);
    free(data);
}

static inline void mem3_delete(const char *key) {
    LOCK_SCOPE(&mem3.lock);
    mem3_remove(key);
}

/* Its bytes as text, or NULL; borrowed. */
static inline const char *mem3_text(const char *key) {
    bool found;
    size_t i;

    LOCK_SCOPE(&mem3.lock);
    i = mem3_find(key, &found);
    return found ? mem3.objects[i].data : NULL;
}

static inline long mem3_size(const char *key) {
    bool found;
    size_t i;

    LOCK_SCOPE(&mem3.lock);
    i = mem3_find(key, &found);
    return found ? (long)mem3.objects[i].len : -1;
}

static inline unsigned mem3_n_uploads(void) {
    unsigned n = 0;

    LOCK_SCOPE(&mem3.lock);
    for (struct s3pve_upload *upload = mem3.uploads; upload; upload = upload->next)
        n++;
    return n;
}

static inline uint64_t mem3_n_requests(void) {
    LOCK_SCOPE(&mem3.lock);
    return mem3.counters.n_put + mem3.counters.n_get + mem3.counters.n_list +
           mem3.counters.n_delete + mem3.counters.n_other;
}

static inline void mem3_clear(void) {
    while (mem3.n_objects)
        mem3_remove(mem3.objects[mem3.n_objects - 1].key);
    while (mem3.uploads) {
        struct s3pve_upload *upload = mem3.uploads;

        mem3.uploads = upload->next;
        free(upload);
    }
}

/* ---------------------------------------------------------------- the client's functions */

void client_log(
    struct s3pve_client *client,
    enum s3pve_log_level level,
    const char *operation,
    const char *key,
    const char *fmt,
    ...
) {
    va_list ap;

    LOCK_SCOPE(&mem3.lock);
    va_start(ap, fmt);
    vsnprintf(mem3.log, sizeof(mem3.log), fmt, ap);
    va_end(ap);
    if (getenv("MEM3_LOG"))
        printf("# %d %s %s: %s\n", level, operation, key, mem3.log);
}

void s3pve_client_counters(struct s3pve_client *client, struct s3pve_counters *ret_counters) {
    LOCK_SCOPE(&mem3.lock);
    *ret_counters = mem3.counters;
}

static inline void mem3_info(const struct mem3_object *object, struct s3pve_info *ret_info) {
    if (!ret_info)
        return;
    *ret_info = (struct s3pve_info){.size = object->len, .mtime = object->mtime};
    strcpy(ret_info->etag, object->etag);
}

int s3pve_object_put(
    struct s3pve_client *client,
    const char *key,
    const void *data,
    size_t len,
    const struct s3pve_put_options *options,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    bool found, may;
    size_t i;

    if (mem3_enter("put", call, err) < 0)
        return -1;
    mem3.counters.n_put++;
    i = mem3_find(key, &found);
    may = !options || !(options->if_absent ? found : options->if_match != NULL) ||
          (!options->if_absent && found && strcmp(mem3.objects[i].etag, options->if_match) == 0);
    if (may)
        mem3_info(mem3_store(key, data, len), ret_info);
    pthread_mutex_unlock(&mem3.lock);
    return may ? 0 : error_set(err, S3PVE_E_CONFLICT, "%s: another version", key);
}

static inline struct mem3_object *mem3_get(
    const char *key, const char *if_match, struct s3pve_error *err
) {
    bool found;
    size_t i = mem3_find(key, &found);

    if (!found) {
        error_set(err, S3PVE_E_NOT_FOUND, "%s: no such key", key);
        return NULL;
    }
    if (if_match && strcmp(if_match, mem3.objects[i].etag) != 0) {
        error_set(err, S3PVE_E_CONFLICT, "%s: another version", key);
        return NULL;
    }
    return &mem3.objects[i];
}

int s3pve_object_head(
    struct s3pve_client *client,
    const char *key,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct mem3_object *object;

    if (mem3_enter("head", call, err) < 0)
        return -1;
    mem3.counters.n_get++;
    mem3.n_head++;
    object = mem3_get(key, NULL, err);
    if (object)
        mem3_info(object, ret_info);
    pthread_mutex_unlock(&mem3.lock);
    return object ? 0 : -1;
}

int s3pve_object_pread(
    struct s3pve_client *client,
    const char *key,
    const char *if_match,
    void *buf,
    size_t len,
    uint64_t offset,
    size_t *ret_len,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct mem3_object *object;

    if (mem3_enter("get", call, err) < 0)
        return -1;
    mem3.counters.n_get++;
    object = mem3_get(key, if_match, err);
    if (object) {
        size_t left = offset < object->len ? object->len - offset : 0;

        *ret_len = len < left ? len : left;
        memcpy(buf, object->data + (left ? offset : 0), *ret_len);
        mem3.bytes_read += *ret_len;
        mem3_info(object, ret_info);
    }
    pthread_mutex_unlock(&mem3.lock);
    return object ? 0 : -1;
}

int s3pve_object_get(
    struct s3pve_client *client,
    const char *key,
    size_t limit,
    char **ret_data,
    size_t *ret_len,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct mem3_object *object;

    if (mem3_enter("get", call, err) < 0)
        return -1;
    mem3.counters.n_get++;
    object = mem3_get(key, NULL, err);
    if (object) {
        *ret_data = malloc(object->len + 1);
        *ret_len = object->len;
        memcpy(*ret_data, object->data, object->len + 1);
        mem3_info(object, ret_info);
    }
    pthread_mutex_unlock(&mem3.lock);
    return object ? 0 : -1;
}

int s3pve_object_get_fd(
    struct s3pve_client *client,
    const char *key,
    int fd,
    uint64_t offset,
    uint64_t len,
    uint64_t *progress,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct mem3_object *object;
    ssize_t n = -1;

    if (mem3_enter("get", call, err) < 0)
        return -1;
    mem3.counters.n_get++;
    object = mem3_get(key, NULL, err);
    if (object) {
        size_t left = offset < object->len ? object->len - offset : 0;

        n = write(fd, object->data + (left ? offset : 0), len && len < left ? len : left);
    }
    pthread_mutex_unlock(&mem3.lock);
    return n < 0 ? -1 : 0;
}

int s3pve_object_delete(
    struct s3pve_client *client,
    const char *key,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    if (mem3_enter("delete", call, err) < 0)
        return -1;
    mem3.counters.n_delete++;
    mem3_remove(key);
    pthread_mutex_unlock(&mem3.lock);
    if (mem3.on_delete)
        mem3.on_delete();
    return 0;
}

int s3pve_object_delete_many(
    struct s3pve_client *client,
    const char *const *keys,
    size_t n_keys,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    int rc = 0;

    for (size_t i = 0; i < n_keys; i++)
        rc |= s3pve_object_delete(client, keys[i], call, err);
    return rc;
}

int s3pve_object_copy(
    struct s3pve_client *client,
    const char *src,
    const char *dst,
    const struct s3pve_put_options *options,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct mem3_object *object;

    if (mem3_enter("copy", call, err) < 0)
        return -1;
    mem3.counters.n_put++;
    mem3.n_copy++;
    object = mem3_get(src, NULL, err);
    if (object) {
        char *data = malloc(object->len + 1), etag[40];
        size_t len = object->len;

        memcpy(data, object->data, len);
        strcpy(etag, object->etag);
        object = mem3_store(dst, data, len);
        if (!mem3.other_copy_etag) /* a sum of the bytes, where they came in one piece */
            strcpy(object->etag, etag);
        mem3_info(object, ret_info);
        free(data);
    }
    pthread_mutex_unlock(&mem3.lock);
    return object ? 0 : -1;
}

/* clang-format off: they need what is above */
#include "mem3_list.h"
#include "mem3_upload.h"
/* clang-format on */

#endif
