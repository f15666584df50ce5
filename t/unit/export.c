/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Who may change what is served, what keeps a volume from going, and the end, with volumes that
 * answer when they are told to; then all of it at once, for the thread sanitizer.
 */
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/thread.h"
#include "daemon/export.h"
#include "daemon/log.h"
#include "nbdtest.h"
#include "tap.h"

#define SIZE (UINT64_C(1) << 20)
#define THREADS 4
#define ROUNDS 40

static char dir[] = "/tmp/s3pve-export.XXXXXX";
static struct export_server *server;
static int stop; /* atomic */

/* --- volumes */

static struct {
    pthread_mutex_t lock; /* guards what follows */
    unsigned n_held;
    bool slow; /* requests are not answered */
    struct s3pve_volume_request *waiting;
    uint64_t size;
} volume = {.lock = PTHREAD_MUTEX_INITIALIZER, .size = SIZE};

int s3pve_volume_hold(
    struct s3pve_volumes *volumes,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_volume **ret_volume,
    struct s3pve_error *err
) {
    LOCK_SCOPE(&volume.lock);
    *ret_volume = (struct s3pve_volume *)&volume;
    volume.n_held++;
    return 0;
}

struct s3pve_volume *s3pve_volume_release(struct s3pve_volume *held) {
    LOCK_SCOPE(&volume.lock);
    volume.n_held -= held ? 1 : 0;
    return NULL;
}

uint64_t s3pve_volume_size(struct s3pve_volume *held) {
    LOCK_SCOPE(&volume.lock);
    return volume.size;
}

void s3pve_volume_submit(struct s3pve_volume *held, struct s3pve_volume_request *request) {
    {
        LOCK_SCOPE(&volume.lock);
        if (volume.slow) {
            volume.waiting = request;
            return;
        }
    }
    request->done(request, NULL);
}

void log_say(enum s3pve_log_level level, const char *operation, const char *fmt, ...) {
}

static unsigned n_held(void) {
    LOCK_SCOPE(&volume.lock);
    return volume.n_held;
}

static struct s3pve_volume_request *waiting(void) {
    LOCK_SCOPE(&volume.lock);
    return volume.waiting;
}

static void set_slow(bool slow) {
    LOCK_SCOPE(&volume.lock);
    volume.slow = slow;
}

/* --- a client */

static bool receive(int fd, uint8_t *bytes, size_t len) {
    return recv(fd, bytes, len, MSG_WAITALL) == (ssize_t)len;
}

/* Return: its descriptor, once it may send requests; or -1. */
static int connect_to(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval time = {.tv_sec = 5};
    uint8_t bytes[256];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t len = say_go(bytes, name, false);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/" EXPORT_SOCKET, dir);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len &&
        receive(fd, bytes, GREETING_LEN + ACK_LEN) &&
        get_be32(bytes + GREETING_LEN + 12) == REP_INFO &&
        receive(fd, bytes, GO_REPLY_LEN - ACK_LEN))
        return fd;
    close(fd);
    return -1;
}

static bool can_connect(const char *name) {
    int fd = connect_to(name);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Return: whether it was answered. */
static bool write_sector(int fd) {
    uint8_t bytes[WIRE_REQUEST_LEN + NBD_SECTOR] = {0};
    say_request(bytes, CMD_WRITE, 0, 0, NBD_SECTOR);
    return send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) == (ssize_t)sizeof(bytes) &&
           receive(fd, bytes, 16);
}

/* --- the tests */

static struct export_wait wait_ms(unsigned ms) {
    return (struct export_wait){.until_ms = clock_monotonic_ms() + ms, .cancel = &stop};
}

static struct export *take(const char *name) {
    struct export_wait wait = wait_ms(10000);
    struct export *export = export_take(server, name, &wait, NULL);
    if (!export)
        bail_out("%s cannot be taken", name);
    return export;
}

static void test_take(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct export_wait wait = wait_ms(50);
    struct export *disk = take("1/disk"), *other = take("1/other");
    ok(!export_try(server, "1/disk"), "what is taken cannot be had");
    ok(!export_take(server, "1/disk", &wait, &err), "... nor after a while");
    is_int(err.code, S3PVE_E_TIMEOUT, "... which is said");
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    wait = wait_ms(10000);
    ok(!export_take(server, "1/disk", &wait, &err), "nor is it waited for at the end");
    is_int(err.code, S3PVE_E_CANCELLED, "... which is said");
    __atomic_store_n(&stop, 0, __ATOMIC_RELEASE);
    export_give(other);
    export_give(disk);
    disk = export_try(server, "1/disk");
    ok(disk, "what was given back can");
    export_give(disk);
}

static void test_serve(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct export *disk = take("1/disk");
    ok(!can_connect("1/disk"), "what was not added is not served");
    is_int(export_add(disk, NULL, &err), 0, "it is added");
    is_int(export_add(disk, NULL, &err), 0, "... twice, which does no harm");
    is_int(n_held(), 1, "and holds its volume, once");
    ok(can_connect("1/disk"), "it is served");
    is_int(export_count(server, "1/disk").n_exports, 1, "and counted");
    is_int(export_count(server, "1/other").n_exports, 0, "... under its name");
    export_give(disk);
}

static void test_remove(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct export *disk = take("1/disk");
    struct export_wait wait = wait_ms(300);
    int fd = connect_to("1/disk");
    ok(write_sector(fd), "a client writes");
    is_int(export_remove(disk, &wait, &err), -1, "so it is not removed");
    is_int(err.code, S3PVE_E_CONFLICT, "... for that reason");
    ok(write_sector(fd), "... and the client sees nothing of it");

    set_slow(true);
    uint8_t bytes[WIRE_REQUEST_LEN];
    size_t len = say_request(bytes, CMD_FLUSH, 0, 0, 0);
    if (send(fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
        bail_out("send");
    while (!waiting())
        usleep(1000);
    close(fd);
    wait = wait_ms(500);
    is_int(export_remove(disk, &wait, &err), -1, "a flush that is not answered holds it, too");
    is_int(err.code, S3PVE_E_TIMEOUT, "... for that reason");
    ok(can_connect("1/disk"), "... and it is served again");
    set_slow(false);
    waiting()->done(waiting(), NULL);
    wait = wait_ms(10000);
    is_int(export_remove(disk, &wait, &err), 0, "then it is removed");
    is_int(n_held(), 0, "and has let its volume go");
    ok(!can_connect("1/disk"), "and is not served");
    export_give(disk);
}

static void test_fit(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct export *disk = take("1/disk");
    uint8_t byte;
    export_add(disk, NULL, &err);
    int fd = connect_to("1/disk");
    export_fit(disk);
    ok(write_sector(fd), "a volume of the same size disturbs nobody");
    volume.size = 2 * SIZE;
    export_fit(disk);
    is_int(recv(fd, &byte, 1, 0), 0, "when it has grown clients are hung up on");
    close(fd);
    ok(can_connect("1/disk"), "and may come again");
    export_give(disk);
}

/* --- at once */

static unsigned n_inside[2], n_together;

static void *work(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < ROUNDS; i++) {
        unsigned which = (unsigned)rand_r(&seed) % 2;
        struct export_wait wait = wait_ms(60000);
        struct export *export = export_take(server, which ? "1/a" : "1/b", &wait, NULL);
        if (!export)
            continue;
        if (__atomic_add_fetch(&n_inside[which], 1, __ATOMIC_RELAXED) != 1)
            __atomic_add_fetch(&n_together, 1, __ATOMIC_RELAXED);
        if (rand_r(&seed) % 2)
            export_add(export, NULL, NULL);
        else
            export_remove(export, &wait, NULL);
        export_fit(export);
        export_count(server, NULL);
        __atomic_sub_fetch(&n_inside[which], 1, __ATOMIC_RELAXED);
        export_give(export);
    }
    return NULL;
}

static void *look(void *arg) {
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        struct export *export = export_try(server, "1/a");
        if (export)
            export_give(export);
        int fd = connect_to("1/b");
        if (fd >= 0) {
            write_sector(fd);
            close(fd);
        }
        usleep(20000);
    }
    return arg;
}

static void test_at_once(void) {
    pthread_t threads[THREADS], looker;
    thread_start(&looker, "look", look, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        thread_start(&threads[i], "work", work, (void *)(uintptr_t)(i + 1));
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    pthread_join(looker, NULL);
    __atomic_store_n(&stop, 0, __ATOMIC_RELEASE);
    is_int(n_together, 0, "no two have taken the same");
    is_int(n_held(), export_count(server, NULL).n_exports, "each that is served holds its volume");
}

/* --- the end */

static void test_end(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct export *slow = take("1/slow"), *idle = take("1/idle");
    uint8_t bytes[WIRE_REQUEST_LEN];
    export_add(slow, NULL, &err);
    export_add(idle, NULL, &err);
    export_give(slow);
    export_give(idle);
    int fd = connect_to("1/slow"), others = connect_to("1/idle");
    set_slow(true);
    volume.waiting = NULL;
    size_t len = say_request(bytes, CMD_FLUSH, 0, 0, 0);
    if (send(fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
        bail_out("send");
    while (!waiting())
        usleep(1000);
    export_stop(server);
    is_int(recv(fd, bytes, 1, 0), 0, "at the end a client is hung up on, without an error");
    is_int(recv(others, bytes, 1, 0), 0, "... each");
    close(fd);
    close(others);
    ok(!can_connect("1/idle"), "and nobody comes in");
    export_let_go(server, clock_monotonic_ms() + 100);
    is_int(n_held(), 1, "what is not in use is let go");
    waiting()->done(waiting(), &err);
    server = export_close(server);
    is_int(n_held(), 0, "the rest when it has its answer");
}

int main(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char path[sizeof(dir) + 20];
    if (!mkdtemp(dir) || export_open(dir, NULL, &server, &err) < 0)
        bail_out("no server: %s", err.message);
    test_take();
    test_serve();
    test_remove();
    test_fit();
    test_at_once();
    test_end();
    snprintf(path, sizeof(path), "%s/" EXPORT_SOCKET, dir);
    ok(access(path, F_OK) < 0, "nothing is left of the socket");
    rmdir(dir);
    return done_testing();
}
