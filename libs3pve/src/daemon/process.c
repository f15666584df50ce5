/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Only files of /proc are read that take no lock a process may hold while it waits for us.  A close
 * in the middle of execve(2) holds exec_update_lock, which `environ` and `io` wait for on all
 * kernels, and `stat` and the links in `fd` on some (6.18).  `status`, `fdinfo` and `mountinfo` do
 * not.
 */
#include "daemon/process.h"
#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/log.h"

#define PROCESS_EXITING 0x4u  /* PF_EXITING in proc_pid_stat(5)'s flags */
#define JUDGE_S 5             /* far more than it takes on a busy node */
#define DESCRIPTORS_MAX 65536 /* looked at in one process */

static void closedirp(DIR **dir) {
    if (*dir)
        closedir(*dir);
}

static void fclosep(FILE **file) {
    if (*file)
        fclose(*file);
}

static void closep(const int *fd) {
    if (*fd >= 0)
        close(*fd);
}

/* Reads a small file of /proc whole; Return: 0 with a zero-terminated text, or -1 (errno). */
static int read_small(int dir, const char *name, char *text, size_t size) {
    _cleanup_(closep) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (n < 0)
        return -1;
    text[n] = '\0';
    return 0;
}

static int read_proc(pid_t tid, const char *name, char *text, size_t size) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, name);
    return read_small(AT_FDCWD, path, text, size);
}

/* The number after "Name:" in a text like proc_pid_status(5); false when it is not there. */
static bool number_after(
    const char *text, const char *name, int base, unsigned long long *ret_number
) {
    const char *found = strstr(text, name);
    if (!found)
        return false;
    *ret_number = strtoull(found + strlen(name), NULL, base);
    return true;
}

pid_t process_of(pid_t tid) {
    char text[4096];
    unsigned long long tgid = 0;
    if (tid <= 0 || read_proc(tid, "status", text, sizeof(text)) < 0)
        return 0;
    return number_after(text, "\nTgid:", 10, &tgid) ? (pid_t)tgid : 0;
}

/* Any signal that ends a process arrives at each of its threads as SIGKILL. */
static bool has_kill(const char *status) {
    unsigned long long own = 0, shared = 0, kill = 1ull << (SIGKILL - 1);
    number_after(status, "\nSigPnd:", 16, &own);
    number_after(status, "\nShdPnd:", 16, &shared);
    return ((own | shared) & kill) != 0;
}

bool process_is_killed(pid_t tid) {
    char text[4096];
    if (tid <= 0)
        return false;
    if (read_proc(tid, "status", text, sizeof(text)) < 0)
        return errno == ENOENT || errno == ESRCH;
    return strstr(text, "\nState:\tZ") || strstr(text, "\nState:\tX") || has_kill(text);
}

bool process_is_being_killed(pid_t tid) {
    char text[4096];
    return tid > 0 && read_proc(tid, "status", text, sizeof(text)) == 0 && has_kill(text);
}

/* Word number @n, from 0, of a text separated by blanks; "" past its end. */
static const char *word(const char *text, int n) {
    while (n-- > 0) {
        text += strcspn(text, " ");
        text += strspn(text, " ");
    }
    return text;
}

/* Its memory goes before its files do, so one that closes without memory is ending; one that is in
 * execve(2) has memory, old or new. */
static bool is_ending(pid_t tid) {
    char text[4096];
    return read_proc(tid, "status", text, sizeof(text)) == 0 && !strstr(text, "\nVmSize:");
}

/* Of one that is ending: what proc_pid_stat(5) says from the end of "(name)" on, which may contain
 * anything.  NULL when it is not, or cannot be told. */
static const char *last_words(pid_t tid, char *text, size_t size) {
    if (tid <= 0 || !is_ending(tid) || read_proc(tid, "stat", text, size) < 0)
        return NULL;
    return strrchr(text, ')');
}

/* It had children and waited for them: theirs may be anybody's now. */
static bool has_buried(pid_t tid) {
    char text[2048];
    const char *rest = last_words(tid, text, sizeof(text));
    return rest && strtoul(word(rest, 9), NULL, 10) > 0; /* their page faults */
}

bool process_died_of_signal(pid_t tid) {
    char text[2048];
    const char *rest = last_words(tid, text, sizeof(text));
    if (!rest)
        return false;
    /* The state, five numbers, the flags ... */
    unsigned long flags = strtoul(word(rest, 7), NULL, 10);
    /* ... and at the very end the exit code, as waitpid(2) would give it. */
    long code = strtol(strrchr(rest, ' ') ? strrchr(rest, ' ') : "", NULL, 10);
    return (flags & PROCESS_EXITING) && (code & 0x7f) != 0;
}

/* Descriptor @name of a process, by its fdinfo: open for writing, and that inode number?  Linux
 * says the number since 5.14. */
static bool may_be(int infos, const char *name, uint64_t ino, unsigned long long *ret_mount) {
    char text[512];
    unsigned long long flags = 0, number = 0;
    if (read_small(infos, name, text, sizeof(text)) < 0)
        return false;
    if (!number_after(text, "flags:", 8, &flags) || (flags & O_ACCMODE) == O_RDONLY)
        return false;
    return number_after(text, "\nino:", 10, &number) && number == ino &&
           number_after(text, "\nmnt_id:", 10, ret_mount);
}

/* Is mount number @mount, as @pid sees it, one of our device?  Another mount namespace has another
 * number for the same mount. */
static bool is_mount_of(pid_t pid, unsigned long long mount, dev_t dev) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
    _cleanup_(fclosep) FILE *table = fopen(path, "re");
    _free_ char *line = NULL;
    size_t room = 0;
    while (table && getline(&line, &room, table) >= 0) {
        unsigned long long id;
        unsigned major, minor;
        if (sscanf(line, "%llu %*d %u:%u ", &id, &major, &minor) == 3 && id == mount)
            return makedev(major, minor) == dev;
    }
    return false;
}

bool process_can_write(pid_t pid, dev_t dev, uint64_t ino) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
    _cleanup_(closedirp) DIR *infos = pid > 0 ? opendir(path) : NULL;
    unsigned long long mount = 0;
    int n = 0;
    for (struct dirent *d; infos && n < DESCRIPTORS_MAX && (d = readdir(infos)); n++) {
        if (d->d_name[0] == '.')
            continue;
        if (may_be(dirfd(infos), d->d_name, ino, &mount) && is_mount_of(pid, mount, dev))
            return true;
    }
    return false;
}

static pid_t parent_of(pid_t pid, bool *ret_is_dead) {
    char text[4096];
    unsigned long long parent = 0;
    if (read_proc(pid, "status", text, sizeof(text)) < 0)
        return 0;
    *ret_is_dead = strstr(text, "\nState:\tZ");
    return number_after(text, "\nPPid:", 10, &parent) ? (pid_t)parent : 0;
}

static bool is_among(const pid_t pids[], int n, pid_t pid) {
    for (int i = 0; i < n; i++) {
        if (pids[i] == pid)
            return true;
    }
    return false;
}

/* Has a child of theirs it open for writing?  Whoever dies is still the parent while he closes. */
static bool child_can_write(
    const pid_t parents[], int n, const struct closing *file, bool *ret_has_dead
) {
    _cleanup_(closedirp) DIR *processes = opendir("/proc");
    for (struct dirent *d; processes && (d = readdir(processes));) {
        bool is_dead = false;
        pid_t pid = (pid_t)strtol(d->d_name, NULL, 10);
        pid_t parent = pid > 0 ? parent_of(pid, &is_dead) : 0;
        if (!parent || !is_among(parents, n, parent))
            continue;
        if (process_can_write(pid, file->dev, file->ino))
            return true;
        *ret_has_dead |= is_dead;
    }
    return false;
}

static bool anybody_can_write(const struct closing *file) {
    _cleanup_(closedirp) DIR *processes = opendir("/proc");
    for (struct dirent *d; processes && (d = readdir(processes));) {
        if (process_can_write((pid_t)strtol(d->d_name, NULL, 10), file->dev, file->ino))
            return true;
    }
    return false;
}

/* Descendants: the children of a child that has ended are found among all, which takes longer. */
static bool heir_can_write(const pid_t users[], int n, const struct closing *file, pid_t tid) {
    bool has_dead = false;
    if (child_can_write(users, n, file, &has_dead))
        return true;
    return is_ending(tid) && (has_dead || has_buried(tid)) && anybody_can_write(file);
}

/*
 * A child that inherited it and has not written counts when it was given it before anything was
 * written, or when the closing process ends, which hears nothing of how its close went.  Otherwise
 * the child most likely does not know that it has it, and the close keeps its promise.
 */
static enum closing_kind judge(const struct closing *file, pid_t tid) {
    pid_t self = process_of(tid);
    pid_t users[] = {self, file->writer, file->opener};
    for (int i = 0; i < 3; i++) {
        if (users[i] && (i == 0 || users[i] != self) &&
            process_can_write(users[i], file->dev, file->ino))
            return CLOSING_EARLY;
    }
    bool is_killed = process_died_of_signal(tid);
    if (is_killed && self == file->writer) /* what it wrote is not whole, whoever else has it */
        return CLOSING_KILLED;
    if ((!file->writer || is_ending(tid)) && heir_can_write(users, 3, file, tid))
        return CLOSING_EARLY;
    return is_killed ? CLOSING_KILLED : CLOSING_LAST;
}

/* One judgement; freed by the one of the two who is through with it last. */
struct judgement {
    struct closing file;
    pid_t tid;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ready;
    bool is_ready, is_abandoned;
    enum closing_kind kind;
};

static void judgement_free(struct judgement *j) {
    pthread_cond_destroy(&j->ready);
    pthread_mutex_destroy(&j->lock);
    free(j);
}

static void *judge_apart(void *arg) {
    struct judgement *j = arg;
    enum closing_kind kind = judge(&j->file, j->tid);
    pthread_mutex_lock(&j->lock);
    j->kind = kind;
    j->is_ready = true;
    bool is_last = j->is_abandoned;
    pthread_cond_signal(&j->ready);
    pthread_mutex_unlock(&j->lock);
    if (is_last)
        judgement_free(j);
    return NULL;
}

static bool await(struct judgement *j, enum closing_kind *ret_kind) {
    struct timespec until = clock_in_ms(CLOCK_REALTIME, JUDGE_S * 1000);
    LOCK_SCOPE(&j->lock);
    while (!j->is_ready) {
        if (pthread_cond_timedwait(&j->ready, &j->lock, &until) == ETIMEDOUT)
            break;
    }
    *ret_kind = j->is_ready ? j->kind : CLOSING_EARLY;
    j->is_abandoned = !j->is_ready;
    return j->is_ready;
}

enum closing_kind closing_judge(const struct closing *file, pid_t tid) {
    enum closing_kind kind;
    pthread_t thread;
    struct judgement *j = calloc(1, sizeof(*j));
    if (!j)
        return CLOSING_EARLY;
    j->file = *file;
    j->tid = tid;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->ready, NULL);
    if (pthread_create(&thread, NULL, judge_apart, j) != 0) {
        judgement_free(j);
        return CLOSING_EARLY;
    }
    pthread_detach(thread);
    if (await(j, &kind))
        judgement_free(j);
    else
        log_say(S3PVE_LOG_WARNING, "close", "/proc does not tell who closes; at the end, then");
    return kind;
}
