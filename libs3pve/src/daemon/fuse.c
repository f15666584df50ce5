/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/fail.h"
#include "daemon/fuse_ops.h"
#include "daemon/kernel.h"
#include "daemon/log.h"
#include "daemon/mountpoint.h"
#include "daemon/session.h"

#define GREETING_MS 10000 /* for the kernel's first request after the mount */

void op_init(void *arg, struct fuse_conn_info *conn) {
    struct session *session = arg;
    /* Splicing costs two system calls a request and saves no copy: parts are built in memory. */
    conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE; /* close(2) could not report failures */
    conn->want |= conn->capable & FUSE_CAP_PARALLEL_DIROPS;
    conn->max_write = FUSE_WRITE;
    conn->max_readahead = FUSE_WRITE;
    conn->max_background = FUSE_BACKGROUND;
    conn->congestion_threshold = FUSE_BACKGROUND * 3 / 4;
    eventfd_write(session->ready_fd, 1);
}

static void fuse_says(enum fuse_log_level level, const char *fmt, va_list args) _printf_(2, 0);
static void fuse_says(enum fuse_log_level level, const char *fmt, va_list args) {
    char text[512];
    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';
    enum s3pve_log_level ours = level <= FUSE_LOG_ERR       ? S3PVE_LOG_ERROR
                                : level <= FUSE_LOG_WARNING ? S3PVE_LOG_WARNING
                                                            : S3PVE_LOG_DEBUG;
    log_say(ours, "fuse", "%s", text);
}

void session_source(const char *name, char *text) {
    snprintf(text, 160, "s3pve:%s", name);
}

static struct session *session_free(struct session *session) {
    if (!session)
        return NULL;
    handles_drop(session);
    images_free(session->images);
    jobs_free(session->jobs);
    if (session->ready_fd >= 0)
        close(session->ready_fd);
    pthread_mutex_destroy(&session->lock);
    free(session->mountpoint);
    free(session);
    return NULL;
}
DEFINE_CLEANUP(struct session *, session_free)

static int session_new(
    const struct session_options *options, struct session **ret_session, struct s3pve_error *err
) {
    _cleanup_(session_freep) struct session *session = calloc(1, sizeof(*session));
    if (!session)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    pthread_mutex_init(&session->lock, NULL);
    session->files = options->files;
    session->ended_fd = options->ended_fd;
    session->ready_fd = eventfd(0, EFD_CLOEXEC);
    session->mountpoint = strdup(options->mountpoint);
    session->jobs = jobs_new();
    if (session->ready_fd < 0 || !session->mountpoint || !session->jobs)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    *ret_session = steal_ptr(&session);
    return 0;
}

/* --- mounting */

static int mount_it(
    struct session *session, const struct session_options *options, struct s3pve_error *err
) {
    char source[160], mount_options[256];
    session_source(options->name, source);
    snprintf(
        mount_options,
        sizeof(mount_options),
        "allow_other,default_permissions,noatime,subtype=s3pve,fsname=%s%s",
        source,
        options->debug ? ",debug" : ""
    );
    char *argv[] = {(char *)"s3pved", (char *)"-o", mount_options, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);

    fuse_set_log_func(fuse_says);
    session->fuse = fuse_session_new(&args, &fuse_operations, sizeof(fuse_operations), session);
    fuse_opt_free_args(&args);
    if (!session->fuse)
        return fail(err, S3PVE_E_IO, "mount: libfuse refuses its options");
    session->kernel = kernel_new(session->fuse);
    if (!session->kernel)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    struct images_options images = {
        .client = options->client,
        .files = options->files,
        .volumes = options->volumes,
        .kernel = session->kernel,
    };
    if (options->volumes && !(session->images = images_new(&images)))
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    if (fuse_session_mount(session->fuse, session->mountpoint) != 0)
        return fail(err, S3PVE_E_IO, "mount %s: %s", session->mountpoint, strerror(errno));
    return 0;
}

/* The kernel reads ahead 128 KiB unless told otherwise, one round trip each. */
static void set_readahead(unsigned major, unsigned minor) {
    char path[64];
    snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major, minor);
    FILE *file = fopen(path, "we");
    if (!file || fprintf(file, "%u", (unsigned)(FUSE_AHEAD >> 10)) < 0)
        log_say(S3PVE_LOG_DEBUG, "mount", "%s: %s", path, strerror(errno));
    if (file)
        fclose(file);
}

static void *loop(void *arg) {
    struct session *session = arg;
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    if (config) {
        fuse_loop_cfg_set_clone_fd(config, 1);
        fuse_loop_cfg_set_max_threads(config, FUSE_THREADS);
        fuse_loop_cfg_set_idle_threads(config, FUSE_THREADS_IDLE);
        fuse_session_loop_mt(session->fuse, config);
        fuse_loop_cfg_destroy(config);
    }
    __atomic_store_n(&session->unmounted, 1, __ATOMIC_RELEASE);
    eventfd_write(session->ended_fd, 1);
    return NULL;
}

static void on_poke(int sig) {
    (void)sig; /* it is enough that a system call ends */
}

static int serve(struct session *session, struct s3pve_error *err) {
    struct sigaction poke = {.sa_handler = on_poke};
    sigaction(SIGUSR1, &poke, NULL);
    if (pthread_create(&session->loop, NULL, loop, session) != 0)
        return fail(err, S3PVE_E_NOMEM, "mount: no thread");
    session->looping = true;

    struct pollfd ready = {.fd = session->ready_fd, .events = POLLIN};
    if (poll(&ready, 1, GREETING_MS) != 1)
        return fail(err, S3PVE_E_IO, "mount %s: no word from the kernel", session->mountpoint);

    struct mount_entry entry;
    if (mountpoint_find(session->mountpoint, &entry) != 1)
        return fail(err, S3PVE_E_IO, "mount %s: it is not there", session->mountpoint);
    session->dev = makedev(entry.major, entry.minor);
    set_readahead(entry.major, entry.minor);
    return 0;
}

int session_open(
    const struct session_options *options, struct session **ret_session, struct s3pve_error *err
) {
    struct session *session = NULL;
    if (session_new(options, &session, err) < 0)
        return -1;
    if (mount_it(session, options, err) < 0 || serve(session, err) < 0) {
        session_close(session);
        return -1;
    }
    struct s3pve_files_notify notify = kernel_notify(session->kernel);
    s3pve_files_set_notify(session->files, &notify);
    *ret_session = session;
    return 0;
}

/* --- unmounting */

int session_leave(struct session *session, bool force) {
    int flags = UMOUNT_NOFOLLOW | (force ? MNT_DETACH : 0);
    if (force)
        __atomic_store_n(&session->stopping, 1, __ATOMIC_RELAXED);
    if (!session_is_mounted(session))
        return 0;
    if (umount2(session->mountpoint, flags) < 0)
        return errno == EINVAL ? 0 : -errno; /* EINVAL: it is not mounted any more */
    __atomic_store_n(&session->unmounted, 1, __ATOMIC_RELEASE);
    return 0;
}

static bool join_within(pthread_t thread, int ms) {
    struct timespec until = clock_in_ms(CLOCK_REALTIME, ms);
    return pthread_timedjoin_np(thread, NULL, &until) == 0;
}

static bool is_changing(struct jobs *jobs) {
    return jobs_count(jobs, JOB_WRITE) > 0 || jobs_count(jobs, JOB_NAME) > 0 ||
           jobs_count(jobs, JOB_VOLUME) > 0;
}

/* The loop ends by itself when nothing is open any more.  Else: a grace for what is being written,
 * then no more waiting, then the loop is told to end and woken until it notices. */
static void end_loop(struct session *session) {
    int64_t until = clock_monotonic_ms() + STOP_GRACE_MS;
    while (is_changing(session->jobs) && clock_monotonic_ms() < until) {
        if (join_within(session->loop, 50))
            return;
    }
    jobs_cancel(session->jobs);
    if (session->images)
        images_stop(session->images);
    if (join_within(session->loop, 200))
        return;
    fuse_session_exit(session->fuse);
    do {
        pthread_kill(session->loop, SIGUSR1);
    } while (!join_within(session->loop, 100));
}

/* Who is still in the kernel's queue gets an error, and no one keeps a lock our thread wants. */
static void abort_connection(struct session *session) {
    char path[64];
    snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", minor(session->dev));
    FILE *file = session->dev ? fopen(path, "we") : NULL;
    if (!file)
        return;
    fputs("1", file);
    fclose(file);
}

struct session *session_close(struct session *session) {
    if (!session)
        return NULL;
    session_leave(session, true);
    if (session->looping)
        end_loop(session);
    abort_connection(session);
    s3pve_files_set_notify(session->files, &(struct s3pve_files_notify){0});
    if (session->kernel)
        kernel_stop(session->kernel);
    if (session->fuse)
        fuse_session_unmount(session->fuse); /* closes the device */
    kernel_free(session->kernel);
    handles_drop(session);
    session->images = images_free(session->images);
    if (session->fuse)
        fuse_session_destroy(session->fuse);
    return session_free(session);
}

bool session_is_mounted(struct session *session) {
    return !__atomic_load_n(&session->unmounted, __ATOMIC_ACQUIRE);
}

unsigned session_n_open(struct session *session) {
    unsigned n_images = session->images ? images_n_open(session->images) : 0;
    LOCK_SCOPE(&session->lock);
    return session->n_handles + n_images;
}

void session_volume_changed(struct session *session, const char *volume) {
    if (!session->images)
        return;
    images_changed(session->images, volume);
    kernel_settle(session->kernel);
}
