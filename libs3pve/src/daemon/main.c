/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * s3pved - one S3 storage, mounted on this node
 *
 * Sees the library through s3pve.h, as any program does.  The main thread opens the daemon, then
 * only waits: for signals, for the end of the mount, and for the time to tell systemd that all is
 * well.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/limits.h"
#include "daemon/daemon.h"
#include "daemon/log.h"

#define TICK_MS 5000
#define MALLOC_LARGE (256 << 10) /* bytes: what a connection or a FUSE request buffers, a block */
#define MALLOC_KEEP (1 << 20)    /* bytes free at the end of the heap */

/* Exit codes the unit knows: after these a restart would not help. */
#define EXIT_USAGE 2
#define EXIT_CONFIG 78 /* sysexits' EX_CONFIG */

static const char usage[] =
    "usage: s3pved NAME [options]\n"
    "  --config FILE       the configuration (/run/s3pve/NAME/config)\n"
    "  --run-dir DIR       lock and control socket (/run/s3pve/NAME)\n"
    "  --storage-cfg FILE  end when the storage is no longer in it (/etc/pve/storage.cfg)\n"
    "  --watch-interval S  seconds between two looks at it (30)\n"
    "  --foreground        accepted for clarity: s3pved never forks\n"
    "  --debug             log every request\n"
    "  --version\n";

struct arguments {
    struct daemon_options daemon;
    char run_dir[PATH_MAX];
    char config_path[PATH_MAX];
};

static int bad_usage(const char *why) {
    fprintf(stderr, "s3pved: %s\n%s", why, usage);
    return EXIT_USAGE;
}

static int bad_name(const char *name) {
    fprintf(
        stderr,
        "s3pved: '%s' is not a storage's name: that has 2 to %d letters, digits, '-', '_' and '.', "
        "begins with a letter and ends with a letter or digit\n%s",
        name,
        NAME_OF_STORAGE,
        usage
    );
    return EXIT_USAGE;
}

enum {
    OPT_CONFIG,
    OPT_RUN_DIR,
    OPT_STORAGE_CFG,
    OPT_WATCH,
    OPT_FOREGROUND,
    OPT_DEBUG,
    OPT_VERSION
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"run-dir", required_argument, NULL, OPT_RUN_DIR},
    {"storage-cfg", required_argument, NULL, OPT_STORAGE_CFG},
    {"watch-interval", required_argument, NULL, OPT_WATCH},
    {"foreground", no_argument, NULL, OPT_FOREGROUND},
    {"debug", no_argument, NULL, OPT_DEBUG},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static int take_watch(struct arguments *args, const char *text) {
    char *end = NULL;
    double seconds = strtod(text, &end);
    if (*end != '\0' || !(seconds >= 0.1 && seconds <= 86400))
        return bad_usage("--watch-interval: not a number of seconds");
    args->daemon.watch_ms = (unsigned)(seconds * 1000);
    return 0;
}

/* Return: 0, or the exit code + 1 (so that success of --version is not taken for "go on"). */
static int take_option(struct arguments *args, int option) {
    switch (option) {
    case OPT_CONFIG: args->daemon.config_path = optarg; return 0;
    case OPT_RUN_DIR: args->daemon.run_dir = optarg; return 0;
    case OPT_STORAGE_CFG: args->daemon.storage_cfg = optarg; return 0;
    case OPT_WATCH: return take_watch(args, optarg) ? EXIT_USAGE + 1 : 0;
    case OPT_FOREGROUND: return 0;
    case OPT_DEBUG: args->daemon.debug = true; return 0;
    case OPT_VERSION: printf("s3pved %s\n", s3pve_version()); return EXIT_SUCCESS + 1;
    default: fputs(usage, stderr); return EXIT_USAGE + 1;
    }
}

static int parse_arguments(int argc, char **argv, struct arguments *args) {
    args->daemon.storage_cfg = "/etc/pve/storage.cfg";
    args->daemon.watch_ms = 30000;
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        int r = take_option(args, option);
        if (r)
            return r;
    }
    if (optind != argc - 1)
        return bad_usage("the name of one storage is needed") + 1;
    if (!config_is_name(argv[optind]))
        return bad_name(argv[optind]) + 1;

    args->daemon.name = argv[optind];
    if (!args->daemon.run_dir) {
        snprintf(args->run_dir, sizeof(args->run_dir), "/run/s3pve/%s", args->daemon.name);
        args->daemon.run_dir = args->run_dir;
    }
    if (!args->daemon.config_path) {
        int n = snprintf(args->config_path, PATH_MAX, "%s/config", args->daemon.run_dir);
        if (n >= PATH_MAX)
            return bad_usage("--run-dir: too long") + 1;
        args->daemon.config_path = args->config_path;
    }
    return 0;
}

/* Keys live in our memory: no core dumps and no ptrace by others.  Memory reclaim may wait for
 * this process to write: then it must not wait for reclaim itself. */
static void harden(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0); /* needs CAP_SYS_RESOURCE; good to have, no more */

    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* Threads pass large buffers on to each other: with an arena each, reading took half as much memory
 * again and a fifth more CPU time.  What is large goes back to the kernel at once, even when much
 * larger things were freed before: malloc's own, moving threshold kept 40 MiB of buffers that no
 * one used.  Below it are the connections' buffers, which come and go with every request. */
static void bound_memory(void) {
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, MALLOC_LARGE);
    mallopt(M_TRIM_THRESHOLD, MALLOC_KEEP);
}

/* Signals are read, in the main thread; all others are born with them blocked. */
static int block_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void reload(struct daemon *daemon) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    sd_notify(0, "RELOADING=1");
    if (daemon_reload(daemon, &err) < 0)
        log_say(S3PVE_LOG_ERROR, "config", "%s; the old one stays", err.message);
    sd_notify(0, "READY=1");
}

static void on_signals(struct daemon *daemon, int fd) {
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            reload(daemon);
        else
            daemon_stop(daemon, true);
    }
}

/* Also the proof that the files layer is not stuck, else the watchdog ends us. */
static void tell_systemd(struct daemon *daemon) {
    struct s3pve_files_stats stats;
    s3pve_files_stats(daemon->files, &stats);
    sd_notifyf(
        0,
        "WATCHDOG=1\nSTATUS=%s, %.1f GiB in %llu objects, %u open, %u uploads%s%s",
        stats.online ? "online" : "offline",
        (double)stats.used_bytes / (double)GIB(1),
        (unsigned long long)stats.used_objects,
        session_n_open(daemon->session),
        stats.uploads,
        stats.online ? "" : ": ",
        stats.online ? "" : stats.last_error
    );
}

static void serve(struct daemon *daemon, int signal_fd) {
    while (!daemon_is_stopping(daemon)) {
        tell_systemd(daemon);
        struct pollfd fds[] = {
            {.fd = signal_fd, .events = POLLIN},
            {.fd = daemon->wake_fd, .events = POLLIN},
        };
        poll(fds, 2, TICK_MS);
        if (fds[0].revents)
            on_signals(daemon, signal_fd);
        if (fds[1].revents && !daemon_is_stopping(daemon)) {
            log_say(S3PVE_LOG_INFO, "mount", "unmounted");
            return;
        }
    }
}

static void on_alarm(int sig) {
    (void)sig;
    static const char text[] = "s3pved: something is stuck; ending without it\n";
    ssize_t ignored = write(2, text, sizeof(text) - 1);
    (void)ignored;
    _exit(EXIT_SUCCESS);
}

static int run(const struct daemon_options *options, int signal_fd) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    _cleanup_(daemon_closep) struct daemon *daemon = NULL;
    if (daemon_open(options, &daemon, &err) < 0) {
        log_say(S3PVE_LOG_ERROR, "start", "%s", err.message);
        sd_notifyf(0, "STATUS=%s", err.message);
        return err.code == S3PVE_E_INVALID ? EXIT_CONFIG : EXIT_FAILURE;
    }
    log_say(S3PVE_LOG_INFO, "start", "s3pved %s, %s", s3pve_version(), daemon->config->mountpoint);
    sd_notify(0, "READY=1");
    serve(daemon, signal_fd);

    sd_notify(0, "STOPPING=1\nSTATUS=ending");
    signal(SIGALRM, on_alarm);
    alarm(STOP_MS / 1000);
    daemon = daemon_close(daemon);
    log_say(S3PVE_LOG_INFO, "stop", "ended");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    static struct arguments args;
    int r = parse_arguments(argc, argv, &args);
    if (r)
        return r - 1;

    umask(0077);
    harden();
    bound_memory();
    log_open(args.daemon.name, args.daemon.debug ? S3PVE_LOG_DEBUG : S3PVE_LOG_INFO);
    int signal_fd = block_signals();
    if (signal_fd < 0) {
        log_say(S3PVE_LOG_ERROR, "start", "signals: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    return run(&args.daemon, signal_fd);
}
