/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* mem3_upload.h - uploads to the store in memory, and what is left of them; mem3.h includes it */
#ifndef MEM3_UPLOAD_H
#define MEM3_UPLOAD_H

#include "mem3.h"

int s3pve_upload_open(
    struct s3pve_client *client,
    const char *key,
    const struct s3pve_put_options *options,
    struct s3pve_upload **ret_upload,
    struct s3pve_error *err
) {
    struct s3pve_upload *upload = calloc(1, sizeof(*upload));

    snprintf(upload->key, sizeof(upload->key), "%s", key);
    *ret_upload = upload;
    return 0;
}

int s3pve_upload_begin(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
) {
    if (mem3_enter("begin", call, err) < 0)
        return -1;
    mem3.counters.n_put++;
    snprintf(upload->id, sizeof(upload->id), "upload-%u", ++mem3.last_no);
    upload->has_id = true;
    upload->next = mem3.uploads;
    mem3.uploads = upload;
    pthread_mutex_unlock(&mem3.lock);
    return 0;
}

int s3pve_upload_write(
    struct s3pve_upload *upload,
    const void *data,
    size_t len,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    size_t before = upload->data.len;

    if (before / MEM3_PART != (before + len) / MEM3_PART) {
        if (mem3_enter("part", call, err) < 0)
            return -1;
        mem3.counters.n_put++;
        pthread_mutex_unlock(&mem3.lock);
    }
    buf_add(&upload->data, data, len);
    return 0;
}

int s3pve_upload_read_fd(
    struct s3pve_upload *upload, int fd, const struct s3pve_call *call, struct s3pve_error *err
) {
    char data[65536];
    ssize_t n;

    while ((n = read(fd, data, sizeof(data))) > 0) {
        if (s3pve_upload_write(upload, data, (size_t)n, call, err) < 0)
            return -1;
    }
    return 0;
}

int s3pve_upload_seal(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
) {
    if (!upload->has_id || upload->sealed_len == upload->data.len)
        return 0;
    if (mem3_enter("part", call, err) < 0)
        return -1;
    mem3.counters.n_put++;
    upload->sealed_len = upload->data.len;
    pthread_mutex_unlock(&mem3.lock);
    return 0;
}

static inline void mem3_forget_upload(struct s3pve_upload *upload) {
    struct s3pve_upload **p = &mem3.uploads;

    while (*p && *p != upload)
        p = &(*p)->next;
    if (*p)
        *p = upload->next;
    upload->has_id = false;
}

int s3pve_upload_complete(
    struct s3pve_upload *upload,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    if (s3pve_upload_seal(upload, call, err) < 0 || mem3_enter("complete", call, err) < 0)
        return -1;
    mem3.counters.n_put++;
    mem3_info(mem3_store(upload->key, buf_text(&upload->data), upload->data.len), ret_info);
    mem3_forget_upload(upload);
    upload->completed = true;
    pthread_mutex_unlock(&mem3.lock);
    return mem3.lost_complete ? error_set(err, S3PVE_E_CANCELLED, "complete: cancelled") : 0;
}

void s3pve_upload_abort(struct s3pve_upload *upload, const struct s3pve_call *call) {
    if (!upload->has_id || mem3_enter("abort", call, NULL) < 0)
        return;
    mem3.counters.n_delete++;
    mem3.n_aborts++;
    mem3_forget_upload(upload);
    pthread_mutex_unlock(&mem3.lock);
}

/* One that was neither completed nor aborted stays in the store, as parts do. */
struct s3pve_upload *s3pve_upload_close(struct s3pve_upload *upload) {
    if (!upload)
        return NULL;
    buf_clear(&upload->data);
    upload->closed = true;
    if (!upload->has_id)
        free(upload);
    return NULL;
}

uint64_t s3pve_upload_size(const struct s3pve_upload *upload) {
    return upload->data.len;
}

uint64_t s3pve_upload_stored(const struct s3pve_upload *upload) {
    return upload->data.len / MEM3_PART * MEM3_PART;
}

const char *s3pve_upload_id(const struct s3pve_upload *upload) {
    return upload->id;
}

static inline void mem3_abort(struct s3pve_upload *upload) {
    mem3_forget_upload(upload);
    mem3.n_aborts++;
    if (upload->closed)
        free(upload);
}

int s3pve_upload_sweep(
    struct s3pve_client *client,
    const char *prefix,
    unsigned older_s,
    unsigned *n_aborted,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_upload *upload, *next;

    if (mem3_enter("sweep", call, err) < 0)
        return -1;
    mem3.counters.n_list++;
    *n_aborted = 0;
    for (upload = mem3.uploads; upload; upload = next) {
        next = upload->next;
        if (strncmp(upload->key, prefix, strlen(prefix)) != 0 || upload->age_s < older_s)
            continue;
        mem3_abort(upload);
        ++*n_aborted;
    }
    pthread_mutex_unlock(&mem3.lock);
    return 0;
}

int s3pve_upload_abort_id(
    struct s3pve_client *client,
    const char *key,
    const char *upload_id,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    if (mem3_enter("abort", call, err) < 0)
        return -1;
    mem3.counters.n_delete++;
    for (struct s3pve_upload *upload = mem3.uploads; upload; upload = upload->next) {
        if (strcmp(upload->id, upload_id) == 0 && strcmp(upload->key, key) == 0) {
            mem3_abort(upload);
            break;
        }
    }
    pthread_mutex_unlock(&mem3.lock);
    return 0;
}

#endif
