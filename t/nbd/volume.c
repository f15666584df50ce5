/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * volume.c - a volume in a bucket behind the NBD server: the whole way of a guest's request
 *
 *     build/t/nbd/volume [-c BYTES] [-n NODE] [-d bucket|node] CONFIG BUCKET DIR SOCKET
 *
 * Opens the volume "disk" (-c: makes it first, that large) with its journal and cache in DIR, says
 * "ready", and serves it until its input ends, or says "back", when it hands the volume back.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "nbd/nbd.h"
#include "volume/runtime.h"

#define FOLDER "images/100/vm-100-disk-0"
#define CACHE_AHEAD MIB(32) /* of what a client would like to have cached */

static struct {
    const char *node, *durability;
    uint64_t create;
    struct s3pve_client *client;
    struct volumes *volumes;
    struct runtime *runtime;
} all = {.node = "n1", .durability = "bucket"};

__attribute__((__noreturn__)) static void die(const char *what) {
    fprintf(stderr, "volume: %s\n", what);
    exit(1);
}

/* ----------------------------------------------------------------- requests */

struct asked {
    struct runtime_request r; /* first */
    struct nbd_request *request;
};

static void done(struct runtime_request *r, const struct s3pve_error *err) {
    struct asked *asked = (struct asked *)r;

    if (err)
        fprintf(stderr, "volume: %s\n", err->message);
    nbd_request_done(asked->request, err ? err->errnum : 0);
    free(asked);
}

static void stretch(struct runtime_request *r, uint64_t len, bool zero) {
    nbd_status_add(((struct asked *)r)->request, len, zero, zero);
}

static void submit(void *ctx, struct nbd_request *request) {
    static const enum volume_request_type types[] = {
        [NBD_READ] = VOLUME_READ,
        [NBD_WRITE] = VOLUME_WRITE,
        [NBD_FLUSH] = VOLUME_FLUSH,
        [NBD_TRIM] = VOLUME_ZERO,
        [NBD_CACHE] = VOLUME_READ,
        [NBD_ZERO] = VOLUME_ZERO,
        [NBD_STATUS] = VOLUME_READ,
    };
    struct asked *asked = calloc(1, sizeof(*asked));

    if (!asked) {
        nbd_request_done(request, ENOMEM);
        return;
    }
    asked->request = request;
    asked->r.request = (struct volume_request){
        .type = types[request->type],
        .offset = request->offset,
        .len = request->len,
        .fua = request->fua,
        .unmap = !request->no_hole,
    };
    asked->r.data = request->data;
    asked->r.done = done;
    asked->r.more = request->more;
    if (request->type == NBD_STATUS)
        asked->r.stretch = stretch;
    if (request->type == NBD_CACHE && request->len > CACHE_AHEAD)
        asked->r.request.len = CACHE_AHEAD;
    runtime_submit(all.runtime, &asked->r);
}

/* ------------------------------------------------------------------ opening */

static void open_client(const char *path, const char *bucket) {
    struct s3pve_config *config = s3pve_config_new();
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (s3pve_config_read_file(config, path, &err) < 0 ||
        s3pve_config_set(config, "bucket", bucket, &err) < 0 ||
        s3pve_client_open(config, NULL, NULL, &all.client, &err) < 0 ||
        s3pve_client_start_thread(all.client, &err) < 0 ||
        s3pve_bucket_create(all.client, NULL, &err) < 0)
        die(err.message);
    s3pve_config_free(config);
}

static void open_volume(const char *dir) {
    struct store store = {.client = all.client, .folder = FOLDER};
    struct runtime_options how = {.bucket = strcmp(all.durability, "bucket") == 0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char cache[4096];
    struct volumes_options options = {
        .state_dir = dir,
        .cache_file = cache,
        .cache_size = GIB(1),
        .journal_size = MIB(256),
        .times = {LEASE_RENEW_MS / 5, LEASE_VALID_MS / 5, LEASE_OBSERVE_MS / 5},
    };

    snprintf(cache, sizeof(cache), "%s/cache", dir);
    snprintf(options.me.name, sizeof(options.me.name), "%s", all.node);
    snprintf(options.me.incarnation, sizeof(options.me.incarnation), "boot-of-%.20s", all.node);
    if (all.create && store_create(&store, all.create, 2048, &err) < 0)
        die(err.message);
    if (volumes_open(all.client, &options, &all.volumes, &err) < 0 ||
        runtime_open(all.volumes, FOLDER, &how, NULL, &all.runtime, &err) < 0)
        die(err.message);
}

static int listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    unlink(path);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
        die("cannot listen");
    return fd;
}

static void serve(const char *path) {
    struct nbd_options options = {.listen_fd = listen_at(path)};
    struct nbd_export_params params = {
        .name = "disk", .size = runtime_size(all.runtime), .submit = submit};
    struct nbd_server *server = NULL;
    struct nbd_export *export = NULL;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char line[100] = "";

    if (nbd_open(&options, &server) < 0 || nbd_export_add(server, &params, &export) < 0)
        die("cannot serve");
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        line[0] = '\0';
    nbd_export_stop(export);
    if (strcmp(line, "back\n") == 0) {
        nbd_export_free(export); /* what is in flight ends well */
        if (runtime_hand_back(all.runtime, &(struct runtime_wait){.timeout_ms = 60000}, &err) < 0)
            die(err.message);
        runtime_close(all.runtime);
    } else {
        runtime_close(all.runtime); /* ... or with an error that nobody hears */
        nbd_export_free(export);
    }
    nbd_close(server);
}

int main(int argc, char **argv) {
    int option;

    while ((option = getopt(argc, argv, "c:n:d:")) > 0) {
        switch (option) {
        case 'c': all.create = strtoull(optarg, NULL, 10); break;
        case 'n': all.node = optarg; break;
        case 'd': all.durability = optarg; break;
        default: die("what?");
        }
    }
    if (argc - optind != 4)
        die("CONFIG BUCKET DIR SOCKET");
    mkdir(argv[optind + 2], 0700);
    open_client(argv[optind], argv[optind + 1]);
    open_volume(argv[optind + 2]);
    serve(argv[optind + 3]);
    volumes_close(all.volumes);
    s3pve_client_close(all.client);
    puts("closed");
    return 0;
}
