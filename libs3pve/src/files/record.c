/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* record.c - state_dir/uploads/NAME: two lines, "key = ..." and "id = ..." */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "core/client.h"
#include "core/error.h"
#include "files/files.h"

#define RECORD_MAX (LIMIT_KEY + LIMIT_UPLOAD_ID + 64) /* bytes of a record */

struct record {
    struct record *next;
    char name[64];
};

static void close_fd(const int *fd) {
    if (*fd >= 0)
        close(*fd);
}

static void close_dir(DIR **dir) {
    if (*dir)
        closedir(*dir);
}

void records_init(struct records *records) {
    *records = (struct records){0};
    pthread_mutex_init(&records->lock, NULL);
}

void records_clear(struct records *records) {
    for (struct record *record = records->live, *next; record; record = next) {
        next = record->next;
        free(record);
    }
    records->live = NULL;
    pthread_mutex_destroy(&records->lock);
}

static int open_folder(struct s3pve_files *files) {
    char path[4096];

    if (snprintf(path, sizeof(path), "%s/uploads", files->state_dir) >= (int)sizeof(path))
        return -1;
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Return: 0, or -errno. */
static int write_all(int folder, const char *name, const char *text, size_t len) {
    _cleanup_(close_fd) int fd =
        openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    ssize_t n = fd < 0 ? -1 : write(fd, text, len);

    if (n >= 0 && n != (ssize_t)len)
        return -ENOSPC;
    return n < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Half a record must never be read: it gets its name when it is whole.  Return: 0, or -errno. */
static int write_file(int folder, const char *name, const struct buf *text) {
    char temporary[80];
    int rc;

    snprintf(temporary, sizeof(temporary), "%s.new", name);
    rc = write_all(folder, temporary, text->data, text->len);
    if (rc == 0 && renameat(folder, temporary, folder, name) < 0)
        rc = -errno;
    if (rc < 0) {
        unlinkat(folder, temporary, 0);
        return rc;
    }
    return fsync(folder) < 0 ? -errno : 0;
}

int record_new(
    struct s3pve_files *files,
    const char *key,
    const char *upload_id,
    struct record **ret_record,
    struct s3pve_error *err
) {
    struct records *records = &files->records;
    _cleanup_(buf_clear) struct buf text = {0};
    _cleanup_(close_fd) int folder = open_folder(files);
    int rc = folder < 0 ? -errno : 0;
    struct record *record = calloc(1, sizeof(*record));

    if (!record || buf_printf(&text, "key = %s\nid = %s\n", key, upload_id) < 0) {
        free(record);
        return error_set(err, S3PVE_E_NOMEM, "upload record: out of memory");
    }

    pthread_mutex_lock(&records->lock);
    snprintf(
        record->name,
        sizeof(record->name),
        "%lld-%d-%llu",
        (long long)clock_wall_s(),
        (int)getpid(),
        (unsigned long long)++records->last_no
    );
    record->next = records->live;
    records->live = record;
    pthread_mutex_unlock(&records->lock);

    if (rc == 0)
        rc = write_file(folder, record->name, &text);
    if (rc < 0) {
        record_end(files, record, true);
        return error_set(
            err, rc == -ENOSPC ? S3PVE_E_NO_SPACE : S3PVE_E_IO, "upload record: %s", strerror(-rc)
        );
    }
    *ret_record = record;
    return 0;
}

struct record *record_end(struct s3pve_files *files, struct record *record, bool settled) {
    struct records *records = &files->records;
    struct record **p;

    if (!record)
        return NULL;
    if (settled) {
        _cleanup_(close_fd) int folder = open_folder(files);

        if (folder >= 0)
            unlinkat(folder, record->name, 0);
    }

    pthread_mutex_lock(&records->lock);
    for (p = &records->live; *p && *p != record; p = &(*p)->next)
        ;
    if (*p)
        *p = record->next;
    pthread_mutex_unlock(&records->lock);
    free(record);
    return NULL;
}

static bool is_live(struct records *records, const char *name) {
    LOCK_SCOPE(&records->lock);
    for (const struct record *record = records->live; record; record = record->next) {
        size_t len = strlen(record->name);

        if (strncmp(name, record->name, len) == 0 && (!name[len] || name[len] == '.'))
            return true;
    }
    return false;
}

/* The two values, cut out of @text in place.  Return: 0, or -1 when it is not a record. */
static int parse(char *text, char **ret_key, char **ret_id) {
    char *key = text + strlen("key = "), *key_end = strchr(text, '\n'), *id, *id_end;

    if (strncmp(text, "key = ", strlen("key = ")) != 0 || !key_end)
        return -1;
    id = key_end + 1 + strlen("id = ");
    if (strncmp(key_end + 1, "id = ", strlen("id = ")) != 0)
        return -1;
    id_end = strchr(id, '\n');
    if (!id_end || id_end == id || key_end == key)
        return -1;
    *key_end = *id_end = '\0';
    *ret_key = key;
    *ret_id = id;
    return 0;
}

enum abort_outcome {
    ABORT_DONE,  /* it is dealt with and its file removed */
    ABORT_STAYS, /* not now */
    ABORT_DEAD,  /* nor would any other be */
};

static enum abort_outcome abort_one(struct s3pve_files *files, int folder, const char *name) {
    _cleanup_(close_fd) int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = {.timeout_ms = READ_MS, .cancel = &files->closing};
    char text[RECORD_MAX + 1], *key, *id;
    ssize_t len = fd < 0 ? -1 : read(fd, text, RECORD_MAX);

    if (len < 0) /* or somebody else was quicker */
        return fd < 0 && errno == ENOENT ? ABORT_DONE : ABORT_STAYS;
    text[len] = '\0';
    if (parse(text, &key, &id) == 0) {
        if (s3pve_upload_abort_id(files->client, key, id, &call, &err) < 0 &&
            err.code != S3PVE_E_NOT_FOUND) {
            if (err.code != S3PVE_E_CANCELLED)
                files_fail(files, "abort", key, &err);
            return err.code == S3PVE_E_DENIED ? ABORT_STAYS : ABORT_DEAD;
        }
        client_log(files->client, S3PVE_LOG_INFO, "abort", key, "left-over upload aborted");
    }
    return unlinkat(folder, name, 0) < 0 && errno != ENOENT ? ABORT_STAYS : ABORT_DONE;
}

unsigned records_abort_left(struct s3pve_files *files) {
    int folder = open_folder(files);
    _cleanup_(close_dir) DIR *dir = folder < 0 ? NULL : fdopendir(folder);
    enum abort_outcome outcome = ABORT_DONE;
    struct dirent *entry;
    unsigned n_left = 0;

    if (!dir) {
        if (folder >= 0)
            close(folder);
        return 0;
    }
    while (outcome != ABORT_DEAD && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || is_live(&files->records, entry->d_name))
            continue;
        outcome = abort_one(files, folder, entry->d_name);
        n_left += outcome != ABORT_DONE;
    }
    return n_left;
}
