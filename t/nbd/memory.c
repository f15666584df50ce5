/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * memory.c - disks in memory behind the NBD server, for tests with real clients
 *
 *     build/t/nbd/memory [-s BYTES] [-t THREADS] [-f FILE] SOCKET NAME[=ro]...
 *
 * Answers at once, or with -t from threads, in any order.  With -f the disks are in a file and
 * survive a kill.  Takes commands from standard input, one a line, and answers each with a line:
 *
 *     hold, release      keep what is submitted from now on; let it go
 *     fail ERRNO         answer so from now on; 0: no more
 *     resize NAME BYTES, stop NAME, free NAME, add NAME, users NAME
 *     flight             most requests and bytes that were in flight at once
 *     order              one line of all writes since the last time: offset:first byte, ...
 *
 * It ends with its input.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/limits.h"
#include "nbd/nbd.h"

#define DISKS 8
#define WRITES_SEEN 4096
#define SIZE_MAX_GROWN 4 /* times the size a disk begins with */

struct disk {
    char name[64];
    bool read_only;
    uint64_t size;
    uint8_t *data;         /* mapped, with room to grow */
    _Atomic uint8_t *used; /* mapped; a byte for each block: requests may share one */
    struct nbd_export *export;
};

static struct {
    struct disk disks[DISKS];
    unsigned n_disks;
    const char *file;
    uint64_t size;
    unsigned threads;
    struct nbd_server *server;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t more;
    struct job {
        struct job *next;
        struct disk *disk;
        struct nbd_request *request;
    } * first, **last;
    bool holding;
    int fail;
    unsigned n_flight, most_flight;
    uint64_t bytes_flight, most_bytes;
    uint64_t writes[WRITES_SEEN][2];
    unsigned n_writes;
} all = {.size = 64 << 20, .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

/* --- a disk */

static void mark(struct disk *disk, const struct nbd_request *request, uint8_t used) {
    uint64_t from = request->offset, to = from + request->len;
    if (!used) { /* whole blocks only */
        from = (from + NBD_BLOCK - 1) / NBD_BLOCK * NBD_BLOCK;
        to = to / NBD_BLOCK * NBD_BLOCK;
    }
    for (uint64_t block = from / NBD_BLOCK; block * NBD_BLOCK < to; block++)
        disk->used[block] = used;
}

static bool is_hole(const struct disk *disk, const struct nbd_request *request) {
    for (uint64_t at = request->offset / NBD_BLOCK * NBD_BLOCK; at < request->offset + request->len;
         at += NBD_BLOCK) {
        if (disk->used[at / NBD_BLOCK])
            return false;
    }
    return true;
}

static void status(const struct disk *disk, struct nbd_request *request) {
    uint64_t at = request->offset, end = request->offset + request->len, next;
    for (bool more = true; at < end && more; at = next) {
        next = (at / NBD_BLOCK + 1) * NBD_BLOCK;
        bool hole = !disk->used[at / NBD_BLOCK];
        more = nbd_status_add(request, next - at, hole, hole);
    }
}

static void note_write(const struct nbd_request *request) {
    LOCK_SCOPE(&all.lock);
    if (all.n_writes == WRITES_SEEN)
        return;
    all.writes[all.n_writes][0] = request->offset;
    all.writes[all.n_writes++][1] = request->type == NBD_WRITE ? request->data[0] : 0;
}

static void perform(struct disk *disk, struct nbd_request *request) {
    uint8_t *data = disk->data + request->offset;
    switch (request->type) {
    case NBD_READ:
        request->hole = is_hole(disk, request);
        if (!request->hole)
            memcpy(request->data, data, request->len);
        break;
    case NBD_WRITE:
        memcpy(data, request->data, request->len);
        mark(disk, request, 1);
        note_write(request);
        break;
    case NBD_TRIM:
    case NBD_ZERO:
        memset(data, 0, request->len);
        mark(disk, request, request->no_hole);
        note_write(request);
        break;
    case NBD_STATUS: status(disk, request); break;
    case NBD_FLUSH:
    case NBD_CACHE: break;
    }
}

/* --- requests */

static int leave_flight(const struct nbd_request *request) {
    LOCK_SCOPE(&all.lock);
    all.n_flight--;
    all.bytes_flight -= request->data ? request->len : 0;
    return all.fail;
}

static void answer(struct disk *disk, struct nbd_request *request) {
    int errnum = leave_flight(request);
    if (!errnum)
        perform(disk, request);
    nbd_request_done(request, errnum);
}

static void enter_flight(const struct nbd_request *request) {
    all.n_flight++;
    all.bytes_flight += request->data ? request->len : 0;
    if (all.n_flight > all.most_flight)
        all.most_flight = all.n_flight;
    if (all.bytes_flight > all.most_bytes)
        all.most_bytes = all.bytes_flight;
}

static bool enqueue(struct disk *disk, struct nbd_request *request) {
    LOCK_SCOPE(&all.lock);
    enter_flight(request);
    if (!all.holding && all.threads == 0)
        return false;
    struct job *job = malloc(sizeof(*job));
    if (!job)
        abort();
    *job = (struct job){NULL, disk, request};
    *all.last = job;
    all.last = &job->next;
    pthread_cond_signal(&all.more);
    return true;
}

static void submit(void *ctx, struct nbd_request *request) {
    if (!enqueue(ctx, request))
        answer(ctx, request);
}

static struct job *dequeue(bool wait) {
    LOCK_SCOPE(&all.lock);
    while (wait && (!all.first || all.holding))
        pthread_cond_wait(&all.more, &all.lock);
    struct job *job = all.first;
    if (job)
        all.first = job->next;
    if (!all.first)
        all.last = &all.first;
    return job;
}

static void run_job(struct job *job) {
    answer(job->disk, job->request);
    free(job);
}

static void *worker(void *arg) {
    for (struct job *job; (job = dequeue(true));)
        run_job(job);
    return arg;
}

static void set_holding(bool holding) {
    LOCK_SCOPE(&all.lock);
    all.holding = holding;
    pthread_cond_broadcast(&all.more);
}

static void release(void) {
    set_holding(false);
    for (struct job *job; all.threads == 0 && (job = dequeue(false));)
        run_job(job);
}

/* --- exports */

static struct disk *find(const char *name) {
    for (unsigned i = 0; i < all.n_disks; i++) {
        if (strcmp(all.disks[i].name, name) == 0)
            return &all.disks[i];
    }
    return NULL;
}

static int add_export(struct disk *disk) {
    struct nbd_export_params params = {
        .name = disk->name,
        .size = disk->size,
        .read_only = disk->read_only,
        .submit = submit,
        .ctx = disk,
    };
    return nbd_export_add(all.server, &params, &disk->export);
}

static void *map(uint64_t len, uint64_t offset) {
    int fd = all.file ? open(all.file, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    int flags = all.file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (fd >= 0 && lseek(fd, 0, SEEK_END) < (off_t)(offset + len) &&
        ftruncate(fd, (off_t)(offset + len)) < 0)
        return MAP_FAILED;
    void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);
    if (fd >= 0)
        close(fd);
    return memory;
}

static bool add_disk(const char *spec) {
    uint64_t most = all.size * SIZE_MAX_GROWN, used = (most / NBD_BLOCK + 4095) / 4096 * 4096;
    struct disk *disk = &all.disks[all.n_disks];
    uint64_t at = all.n_disks * (most + used);
    if (all.n_disks == DISKS || strlen(spec) >= sizeof(disk->name))
        return false;
    *disk = (struct disk){.size = all.size, .data = map(most, at), .used = map(used, at + most)};
    size_t len = strcspn(spec, "=");
    memcpy(disk->name, spec, len);
    disk->read_only = strcmp(spec + len, "=ro") == 0;
    all.n_disks++;
    return disk->data != MAP_FAILED && disk->used != MAP_FAILED;
}

/* --- commands */

static void say_order(void) {
    LOCK_SCOPE(&all.lock);
    for (unsigned i = 0; i < all.n_writes; i++)
        printf(
            "%s%llu:%llu",
            i ? " " : "",
            (unsigned long long)all.writes[i][0],
            (unsigned long long)all.writes[i][1]
        );
    printf("\n");
    all.n_writes = 0;
}

static void say_flight(void) {
    LOCK_SCOPE(&all.lock);
    printf("%u %llu\n", all.most_flight, (unsigned long long)all.most_bytes);
    all.most_flight = 0;
    all.most_bytes = 0;
}

static void set_fail(int errnum) {
    LOCK_SCOPE(&all.lock);
    all.fail = errnum;
}

static int command_disk(const char *verb, struct disk *disk, uint64_t number) {
    if (strcmp(verb, "add") == 0 && !disk->export)
        return add_export(disk);
    if (!disk->export)
        return -ENOENT;
    if (strcmp(verb, "users") == 0)
        return (int)nbd_export_users(disk->export);
    if (strcmp(verb, "stop") == 0)
        nbd_export_stop(disk->export);
    else if (strcmp(verb, "free") == 0)
        disk->export = nbd_export_free(disk->export);
    else if (strcmp(verb, "resize") == 0 && number <= all.size * SIZE_MAX_GROWN)
        nbd_export_resize(disk->export, disk->size = number);
    else
        return -EINVAL;
    return 0;
}

static void command(const char *line) {
    char verb[16] = "", name[64] = "";
    unsigned long long number = 0;
    sscanf(line, "%15s %63s %llu", verb, name, &number);
    struct disk *disk = find(name);
    if (strcmp(verb, "order") == 0) {
        say_order();
    } else if (strcmp(verb, "flight") == 0) {
        say_flight();
    } else if (disk) {
        printf("%d\n", command_disk(verb, disk, number));
    } else {
        if (strcmp(verb, "hold") == 0)
            set_holding(true);
        else if (strcmp(verb, "release") == 0)
            release();
        else if (strcmp(verb, "fail") == 0)
            set_fail((int)strtol(name, NULL, 10));
        printf("0\n");
    }
    fflush(stdout);
}

static void log_line(void *ctx, const char *export, const char *text) {
    (void)ctx;
    fprintf(stderr, "%s: %s\n", export ? export : "-", text);
}

static int listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (strlen(path) >= sizeof(address.sun_path))
        return -1;
    memcpy(address.sun_path, path, strlen(path));
    unlink(path);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 128) < 0)
        return -1;
    return fd;
}

static int begin(const char *path) {
    struct nbd_options options = {.listen_fd = listen_at(path), .log = log_line};
    pthread_t thread;
    all.last = &all.first;
    if (options.listen_fd < 0 || nbd_open(&options, &all.server) < 0)
        return -1;
    for (unsigned i = 0; i < all.n_disks; i++) {
        if (add_export(&all.disks[i]) < 0)
            return -1;
    }
    for (unsigned i = 0; i < all.threads; i++) {
        if (pthread_create(&thread, NULL, worker, NULL) != 0)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv) {
    for (int option; (option = getopt(argc, argv, "s:t:f:")) != -1;) {
        switch (option) {
        case 's': all.size = strtoull(optarg, NULL, 10); break;
        case 't': all.threads = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'f': all.file = optarg; break;
        default: return 2;
        }
    }
    if (optind >= argc)
        return 2;
    for (int i = optind + 1; i < argc; i++) {
        if (!add_disk(argv[i]))
            return 2;
    }
    if (begin(argv[optind]) < 0) {
        perror(argv[optind]);
        return 1;
    }
    printf("ready\n");
    fflush(stdout);

    char line[256];
    while (fgets(line, sizeof(line), stdin))
        command(line);
    release();
    for (unsigned i = 0; i < all.n_disks; i++)
        nbd_export_free(all.disks[i].export);
    nbd_close(all.server);
    return 0;
}
