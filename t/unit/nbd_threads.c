/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Clients that write, are hung up on, reconnect and send again what was not answered, as QEMU does,
 * while an export behind them answers late and in any order, grows, goes and comes back.  Each has
 * sectors of its own, whose last value it knows; a stale twin would put an older one back.
 */
#include <pthread.h>
#include <stddef.h>
#include <sys/un.h>

#include "nbdtest.h"
#include "tap.h"

#define CLIENTS 4
#define WORKERS 3
#define DEPTH 8 /* sectors a client has, each with one write on its way at most */
#define WRITES 1500
#define DROPS 60
#define SIZE (1 << 20)

static struct nbd_server *server;
static struct nbd_export *disk;
static uint32_t values[SIZE / NBD_SECTOR];
static socklen_t address_len;
static struct sockaddr_un address;
static unsigned n_connects, n_failed, n_stale;

/* --- the export's side */

static struct {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t more;
    struct held held;
    unsigned seed;
    bool ended;
} jobs = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER, .seed = 1};

static void submit(void *ctx, struct nbd_request *request) {
    LOCK_SCOPE(&jobs.lock);
    held_submit(&jobs.held, request);
    pthread_cond_signal(&jobs.more);
}

/* Any of them; now and then long after. */
static struct nbd_request *take_job(bool *ret_late) {
    LOCK_SCOPE(&jobs.lock);
    while (jobs.held.n == 0 && !jobs.ended)
        pthread_cond_wait(&jobs.more, &jobs.lock);
    if (jobs.held.n == 0)
        return NULL;
    *ret_late = rand_r(&jobs.seed) % 64 == 0;
    unsigned i = (unsigned)rand_r(&jobs.seed) % jobs.held.n;
    struct nbd_request *request = jobs.held.requests[i];
    jobs.held.requests[i] = jobs.held.requests[--jobs.held.n];
    return request;
}

static void *work(void *arg) {
    bool late;
    for (struct nbd_request *request; (request = take_job(&late));) {
        uint32_t *value = &values[request->offset / NBD_SECTOR], new = get_be32(request->data);
        if (late)
            usleep(3000);
        if (__atomic_exchange_n(value, new, __ATOMIC_RELAXED) > new)
            __atomic_add_fetch(&n_stale, 1, __ATOMIC_RELAXED);
        nbd_request_done(request, 0);
    }
    return arg;
}

/* --- a client */

struct client {
    unsigned number, seed;
    int fd;
    uint32_t last[DEPTH]; /* value written last to each sector; 0: none */
    bool under_way[DEPTH];
};

static bool send_all(struct client *client, const void *bytes, size_t len) {
    return send(client->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool receive_all(struct client *client, void *bytes, size_t len) {
    return recv(client->fd, bytes, len, MSG_WAITALL) == (ssize_t)len;
}

static bool send_write(struct client *client, unsigned i) {
    uint8_t bytes[WIRE_REQUEST_LEN + NBD_SECTOR] = {0};
    say_request(bytes, CMD_WRITE, 0, (client->number * DEPTH + i) * NBD_SECTOR, NBD_SECTOR);
    put_be32(bytes + WIRE_REQUEST_LEN, client->last[i]);
    client->under_way[i] = true;
    return send_all(client, bytes, sizeof(bytes));
}

static bool connect_once(struct client *client) {
    uint8_t bytes[256];
    size_t len = say_go(bytes, "disk", false);
    if (client->fd >= 0)
        close(client->fd);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    __atomic_add_fetch(&n_connects, 1, __ATOMIC_RELAXED);
    return connect(client->fd, (struct sockaddr *)&address, address_len) == 0 &&
           send_all(client, bytes, len) && receive_all(client, bytes, GREETING_LEN + ACK_LEN) &&
           get_be32(bytes + GREETING_LEN + 12) == REP_INFO &&
           receive_all(client, bytes, GO_REPLY_LEN - ACK_LEN);
}

/* As often as it takes; then what was not answered goes first. */
static void reconnect(struct client *client) {
    bool good = false;
    while (!good) {
        good = connect_once(client);
        for (unsigned i = 0; i < DEPTH && good; i++)
            good = !client->under_way[i] || send_write(client, i);
        if (!good)
            usleep(1000);
    }
}

static bool take_reply(struct client *client) {
    uint8_t reply[16];
    if (!receive_all(client, reply, sizeof(reply)))
        return false;
    uint64_t offset = get_be64(reply + 8) ^ 0x5555555555555555;
    unsigned i = (unsigned)(offset / NBD_SECTOR) - client->number * DEPTH;
    if (i >= DEPTH || !client->under_way[i] || get_be32(reply + 4) != 0) {
        __atomic_add_fetch(&n_failed, 1, __ATOMIC_RELAXED);
        return false;
    }
    client->under_way[i] = false;
    return true;
}

/* Return: a sector without a write on its way; DEPTH: there is none. */
static unsigned pick(struct client *client) {
    unsigned i = (unsigned)rand_r(&client->seed) % DEPTH;
    for (unsigned n = 0; n < DEPTH; n++, i = (i + 1) % DEPTH) {
        if (!client->under_way[i])
            return i;
    }
    return DEPTH;
}

static void *write_much(void *arg) {
    struct client *client = arg;
    reconnect(client);
    for (uint32_t n = 1; n <= WRITES;) {
        unsigned i = pick(client);
        bool good = i == DEPTH ? take_reply(client) : true;
        if (i < DEPTH) {
            client->last[i] = n++;
            good = send_write(client, i);
        }
        if (!good)
            reconnect(client);
    }
    for (unsigned i = 0; i < DEPTH;) {
        if (!client->under_way[i])
            i++;
        else if (!take_reply(client))
            reconnect(client);
    }
    close(client->fd);
    return NULL;
}

/* --- all of it */

static void add_disk(void) {
    struct nbd_export_params params = {.name = "disk", .size = SIZE, .submit = submit};
    if (nbd_export_add(server, &params, &disk) < 0)
        bail_out("no export");
}

static void disturb(void) {
    for (int i = 0; i < DROPS; i++) {
        usleep(5000);
        if (i % 4 == 0) {
            disk = nbd_export_free(disk);
            add_disk();
        } else if (i % 4 == 1) {
            nbd_export_stop(disk);
            disk = nbd_export_free(disk);
            usleep(2000);
            add_disk();
        } else {
            nbd_export_resize(disk, SIZE);
        }
    }
}

static void start(pthread_t *threads, unsigned n, void *(*body)(void *), void *args, size_t size) {
    for (unsigned i = 0; i < n; i++) {
        if (pthread_create(&threads[i], NULL, body, args ? (char *)args + i * size : NULL) != 0)
            bail_out("no thread");
    }
}

static void join(pthread_t *threads, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

static void end_jobs(void) {
    LOCK_SCOPE(&jobs.lock);
    jobs.ended = true;
    pthread_cond_broadcast(&jobs.more);
}

static unsigned wrong_sectors(const struct client *client) {
    unsigned n = 0;
    for (unsigned i = 0; i < DEPTH; i++)
        n += values[client->number * DEPTH + i] != client->last[i];
    return n;
}

int main(void) {
    struct nbd_options options = {.listen_fd = listen_nowhere()};
    struct client clients[CLIENTS];
    pthread_t writers[CLIENTS], workers[WORKERS];
    address_len = sizeof(address);
    getsockname(options.listen_fd, (struct sockaddr *)&address, &address_len);
    if (nbd_open(&options, &server) < 0)
        bail_out("no server");
    add_disk();
    for (unsigned i = 0; i < CLIENTS; i++)
        clients[i] = (struct client){.number = i, .seed = i + 1, .fd = -1};
    start(workers, WORKERS, work, NULL, 0);
    start(writers, CLIENTS, write_much, clients, sizeof(clients[0]));
    disturb();
    join(writers, CLIENTS);
    disk = nbd_export_free(disk);
    end_jobs();
    join(workers, WORKERS);
    server = nbd_close(server);

    ok(n_connects > CLIENTS, "clients had to reconnect (%u times)", n_connects - CLIENTS);
    is_int(n_failed, 0, "every write is answered once, and done");
    is_int(n_stale, 0, "none comes after a newer one");
    for (unsigned i = 0; i < CLIENTS; i++)
        is_int(wrong_sectors(&clients[i]), 0, "client %u: all sectors hold what came last", i);
    return done_testing();
}
