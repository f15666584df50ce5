/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "core/client.h"
#include "core/error.h"
#include "files/files.h"
#include "files/keylock.h"
#include "files/local.h"
#include "files/names.h"
#include "files/publish.h"
#include "files/stream.h"

#define STAT_BLKSIZE (1u << 20) /* what cp(1) should write at once */

static __thread const int *thread_cancel;

_public_ void s3pve_files_set_cancel(const int *cancel) {
    thread_cancel = cancel;
}

struct s3pve_call files_call(struct s3pve_files *files, unsigned timeout_ms) {
    return (struct s3pve_call
    ){.timeout_ms = timeout_ms, .cancel = thread_cancel ? thread_cancel : &files->closing};
}

/* The storage's own deadline where that is shorter. */
static struct s3pve_call short_call(struct s3pve_files *files, unsigned timeout_ms) {
    unsigned limit = files->client->config.timeout_ms;

    if (!files_is_online(files))
        timeout_ms = OFFLINE_MS;
    if (limit && limit < timeout_ms)
        timeout_ms = limit;
    return files_call(files, timeout_ms);
}

struct s3pve_call files_read_call(struct s3pve_files *files) {
    return short_call(files, READ_MS);
}

/* Who queues for a directory waits as long as all before him: nobody should for a dead store. */
struct s3pve_call files_name_call(struct s3pve_files *files) {
    struct s3pve_call call = short_call(files, NAME_MS);

    LOCK_SCOPE(&files->lock);
    if (!files->online && files->gave_up_ms &&
        clock_monotonic_ms() - files->gave_up_ms < OFFLINE_NEWS_MS)
        call.timeout_ms = OFFLINE_AGAIN_MS < call.timeout_ms ? OFFLINE_AGAIN_MS : call.timeout_ms;
    return call;
}

/* ---------------------------------------------------------------- failures */

/* What programs make of an errno matters more than what it says: EAGAIN would have them spin. */
static int to_errno(enum s3pve_code code) {
    switch (code) {
    case S3PVE_E_NOT_FOUND: return -ENOENT;
    case S3PVE_E_DENIED: return -EACCES;
    case S3PVE_E_NO_SPACE: return -ENOSPC;
    case S3PVE_E_NOMEM: return -ENOMEM;
    case S3PVE_E_CANCELLED: return -EINTR;
    case S3PVE_E_INVALID: return -EINVAL;
    default: return -EIO;
    }
}

/* A refusal or a lost answer says something of the whole storage only where nothing was asked of
 * a single object, or when nothing else has succeeded since. */
static bool means_offline(struct s3pve_files *files, const char *operation, enum s3pve_code code) {
    struct s3pve_counters counters;
    bool general = strcmp(operation, "check") == 0 || strcmp(operation, "readdir") == 0;

    if (code == S3PVE_E_NO_BUCKET || code == S3PVE_E_DENIED)
        return general;
    if (code != S3PVE_E_IO && code != S3PVE_E_TIMEOUT)
        return false;
    s3pve_client_counters(files->client, &counters);
    if (general || counters.last_ok_s < counters.last_fail_s)
        return true;
    /* an answer that does not come is no failure that could be counted */
    return code == S3PVE_E_TIMEOUT && counters.last_ok_s < clock_wall_s() - OFFLINE_MS / 1000;
}

static bool is_of_name(const char *operation) {
    static const char *const operations[] = {"unlink", "rename", "mkdir", "rmdir", "create"};

    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (strcmp(operation, operations[i]) == 0)
            return true;
    }
    return false;
}

/* The bytes of @text that fit: whole characters, as JSON wants them. */
static int cut(const char *text, size_t room) {
    return (int)utf8_cut(text, strnlen(text, room));
}

int files_fail(
    struct s3pve_files *files, const char *operation, const char *key, const struct s3pve_error *err
) {
    const char *name = key && *key ? key : "the bucket";
    bool offline = means_offline(files, operation, err->code);

    client_log(
        files->client,
        err->code == S3PVE_E_CANCELLED ? S3PVE_LOG_INFO : S3PVE_LOG_ERROR,
        operation,
        key ? key : "",
        "%s",
        err->message
    );
    LOCK_SCOPE(&files->lock);
    if (err->code != S3PVE_E_CANCELLED && err->code != S3PVE_E_NOT_FOUND)
        snprintf(
            files->last_error,
            sizeof(files->last_error),
            "%s %.*s: %.*s",
            operation,
            cut(name, 80),
            name,
            cut(err->message, 150),
            err->message
        );
    if (offline)
        files->online = false;
    if (!files->online && (err->code == S3PVE_E_TIMEOUT || err->code == S3PVE_E_IO) &&
        is_of_name(operation))
        files->gave_up_ms = clock_monotonic_ms();
    return to_errno(err->code);
}

int files_read_fail(struct s3pve_files *files, const char *key, const struct s3pve_error *err) {
    if (err->code == S3PVE_E_CONFLICT || err->code == S3PVE_E_NOT_FOUND)
        return -ESTALE;
    return err->code == S3PVE_E_CANCELLED ? -EINTR : files_fail(files, "read", key, err);
}

void files_mark_online(struct s3pve_files *files) {
    LOCK_SCOPE(&files->lock);
    files->online = true;
}

bool files_is_online(struct s3pve_files *files) {
    LOCK_SCOPE(&files->lock);
    return files->online;
}

/* ---------------------------------------------------------------- nodes */

void files_wait(struct s3pve_files *files, unsigned ms) {
    struct timespec ts = clock_in_ms(CLOCK_MONOTONIC, ms);

    pthread_cond_timedwait(&files->changed, &files->lock, &ts);
}

struct node *files_node(struct s3pve_files *files, uint64_t ino) {
    return tree_node(&files->tree, ino);
}

int files_dir(struct s3pve_files *files, uint64_t ino, struct node **ret_dir) {
    struct node *dir = files_node(files, ino);

    if (!dir || !tree_is_linked(&files->tree, dir))
        return -ENOENT;
    if (!dir->is_dir)
        return -ENOTDIR;
    *ret_dir = dir;
    return 0;
}

int files_check_new_name(struct s3pve_files *files, const struct node *dir, const char *name) {
    _free_ char *path = tree_child_path(dir, name);
    const char *prefix = files->client->config.prefix;
    int rc = name_check(name);

    if (rc < 0)
        return rc;
    if (!path)
        return -ENOMEM;
    /* a directory's marker ends in a slash */
    return strlen(path) + 1 + (prefix ? strlen(prefix) : 0) > LIMIT_KEY ? -ENAMETOOLONG : 0;
}

void files_stat(struct s3pve_files *files, const struct node *node, struct stat *ret_attr) {
    uint64_t size = node->stream ? node->stream->size : node->size;

    *ret_attr = (struct stat){
        .st_ino = node->ino,
        .st_mode = node->mode | (node->is_dir ? S_IFDIR : S_IFREG),
        .st_nlink = node->is_dir   ? 2
                    : node->parent ? 1
                                   : 0,
        .st_uid = node->uid,
        .st_gid = node->gid,
        .st_size = node->is_dir ? 0 : (off_t)size,
        .st_blocks = node->is_dir ? 0 : (blkcnt_t)((size + 511) / 512),
        .st_blksize = STAT_BLKSIZE,
        .st_mtim.tv_sec = node->mtime_s,
        .st_ctim.tv_sec = node->mtime_s,
        .st_atim.tv_sec = node->mtime_s,
    };
}

/* ---------------------------------------------------------------- open and close */

static int make_folder(const char *dir, const char *name, struct s3pve_error *err) {
    char path[4096];

    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
        return error_set(err, S3PVE_E_INVALID, "'%s': too long", dir);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set(err, S3PVE_E_IO, "'%s': %s", path, strerror(errno));
    return 0;
}

static void init_locks(struct s3pve_files *files) {
    pthread_condattr_t attr;

    pthread_mutex_init(&files->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&files->changed, &attr);
    pthread_condattr_destroy(&attr);
    records_init(&files->records);
    buffers_init(&files->buffers);
}

static struct blocks *open_blocks(struct s3pve_files *files, uint64_t cache_size) {
    char folder[4096];

    if (!files->cache_dir || cache_size == 0)
        return blocks_new(files, NULL, 0);
    snprintf(folder, sizeof(folder), "%s/blocks", files->cache_dir);
    return blocks_new(files, folder, cache_size);
}

static int set_up(
    struct s3pve_files *files, const struct s3pve_files_options *options, struct s3pve_error *err
) {
    files->state_dir = strdup(options->state_dir);
    files->cache_dir = options->cache_dir ? strdup(options->cache_dir) : NULL;
    if (!files->state_dir || (options->cache_dir && !files->cache_dir) ||
        tree_init(&files->tree, options->uid, options->gid) < 0)
        return error_set(err, S3PVE_E_NOMEM, "files: out of memory");
    if (make_folder(files->state_dir, "uploads", err) < 0 ||
        make_folder(files->state_dir, "local", err) < 0)
        return -1;

    files->virtual_size = options->virtual_size;
    files->quota = options->quota;
    files->dir_ttl_ms = options->dir_ttl_ms ? options->dir_ttl_ms : DIR_TTL_MS;
    files->listers = pool_new(LISTING_THREADS);
    files->readers = pool_new(READER_THREADS);
    files->blocks = open_blocks(files, options->cache_size);
    if (!files->listers || !files->readers || !files->blocks)
        return error_set(err, S3PVE_E_NOMEM, "files: out of memory");
    return 0;
}

_public_ int s3pve_files_open(
    struct s3pve_client *client,
    const struct s3pve_files_options *options,
    struct s3pve_files **ret_files,
    struct s3pve_error *err
) {
    struct s3pve_files *files = calloc(1, sizeof(*files));

    if (!files)
        return error_set(err, S3PVE_E_NOMEM, "files: out of memory");
    files->client = client;
    init_locks(files);
    if (set_up(files, options, err) < 0) {
        s3pve_files_close(files);
        return -1;
    }
    *ret_files = files;
    return 0;
}

/* What is not in the store yet will never be. */
static void abort_streams(struct s3pve_files *files) {
    struct stream *stream;

    while ((stream = files->streams)) {
        pthread_mutex_lock(&files->lock);
        stream->n_refs = 1;
        pthread_mutex_unlock(&files->lock);
        stream_unref(stream);
    }
}

_public_ struct s3pve_files *s3pve_files_close(struct s3pve_files *files) {
    if (!files)
        return NULL;
    __atomic_store_n(&files->closing, 1, __ATOMIC_RELAXED);
    s3pve_files_set_notify(files, &(struct s3pve_files_notify){0});
    abort_streams(files);
    pool_free(files->listers);
    pool_free(files->readers);
    blocks_free(files->blocks);
    keylock_clear(files);
    tree_clear(&files->tree);
    records_clear(&files->records);
    buffers_clear(&files->buffers);
    pthread_cond_destroy(&files->changed);
    pthread_mutex_destroy(&files->lock);
    free(files->state_dir);
    free(files->cache_dir);
    free(files);
    return NULL;
}

_public_ void s3pve_files_set_notify(
    struct s3pve_files *files, const struct s3pve_files_notify *notify
) {
    LOCK_SCOPE(&files->lock);
    files->notify = *notify;
}

_public_ void s3pve_files_expire(struct s3pve_files *files) {
    LOCK_SCOPE(&files->lock);
    files->epoch++;
}

/* ---------------------------------------------------------------- after a crash */

/* Return: 0, or -1 when it makes no sense to go on. */
static int sweep_below(struct s3pve_files *files, const char *dir, const struct s3pve_call *call) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char prefix[64];
    unsigned n = 0;
    int rc;

    snprintf(prefix, sizeof(prefix), "%s/", dir);
    rc = s3pve_upload_sweep(files->client, prefix, ORPHAN_S, &n, call, &err);
    if (rc < 0)
        client_log(
            files->client, S3PVE_LOG_WARNING, "sweep", prefix, "old uploads stay: %s", err.message
        );
    else if (n)
        client_log(files->client, S3PVE_LOG_INFO, "sweep", prefix, "%u old uploads aborted", n);
    return rc;
}

static void sweep(struct s3pve_files *files, const struct s3pve_call *call) {
    const char *dir;

    for (size_t i = 0; (dir = name_expected_dir(i)); i++) {
        /* virtual disks are not ours to judge, and the lower level is part of the upper */
        if (strcmp(dir, "images") != 0 && !strchr(dir, '/') && sweep_below(files, dir, call) < 0)
            return;
    }
}

_public_ int s3pve_files_recover(
    struct s3pve_files *files, const struct s3pve_call *call, struct s3pve_error *err
) {
    unsigned n_left;

    local_empty(files);
    n_left = records_abort_left(files);
    sweep(files, call);
    if (n_left)
        return error_set(
            err, S3PVE_E_IO, "uploads of an earlier run could not be aborted yet (%u tried)", n_left
        );
    return 0;
}
