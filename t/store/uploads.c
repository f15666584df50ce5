/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Uploads to a real server, with a network thread and without: parts, ends, and what is left. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "core/client.h"
#include "live.h"
#include "tap.h"

#define PART MIB(5)
#define SIZE (7 * PART + 99)

static char *bytes;

static struct s3pve_client *open_client(bool threaded) {
    struct s3pve_config *config = live_config();
    struct s3pve_client *client = NULL;

    s3pve_config_set(config, "part-size", "5", NULL);
    s3pve_config_set(config, "prefix", "p", NULL);
    s3pve_client_open(config, NULL, NULL, &client, NULL);
    if (threaded)
        s3pve_client_start_thread(client, NULL);
    is_int(s3pve_bucket_create(client, NULL, NULL), 0, "a bucket");
    s3pve_config_free(config);
    return client;
}

/* Uploads that are neither completed nor aborted. */
static unsigned n_left(struct s3pve_client *client) {
    unsigned n = 99;

    is_int(s3pve_upload_sweep(client, "", 0, &n, NULL, NULL), 0, "swept");
    return n;
}

static bool is_whole(struct s3pve_client *client, const char *key, size_t len) {
    size_t got = 0;
    char *data = malloc(len + 1);
    int rc = s3pve_object_pread(client, key, NULL, data, len + 1, 0, &got, NULL, NULL, NULL);
    bool same = rc == 0 && got == len && memcmp(data, bytes, len) == 0;

    free(data);
    return same;
}

static struct s3pve_upload *begin(struct s3pve_client *client, const char *key) {
    struct s3pve_upload *upload = NULL;

    s3pve_upload_open(client, key, NULL, &upload, NULL);
    return upload;
}

static void a_stream_becomes_an_object(struct s3pve_client *client) {
    struct s3pve_upload *upload = begin(client, "stream");
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info = {0};

    for (size_t at = 0; at < SIZE; at += 65536)
        s3pve_upload_write(upload, bytes + at, SIZE - at < 65536 ? SIZE - at : 65536, NULL, &err);
    is_int(s3pve_upload_seal(upload, NULL, &err), 0, "sealed %s", err.message);
    is_int((long long)s3pve_upload_stored(upload), (long long)SIZE, "... every byte is stored");
    ok(s3pve_object_head(client, "stream", &info, NULL, NULL) < 0, "... and nothing to be seen");
    is_int(s3pve_upload_complete(upload, &info, NULL, &err), 0, "complete %s", err.message);
    is_int((long long)info.size, (long long)SIZE, "... of this size");
    ok(strstr(info.etag, "-8") != NULL, "... made of eight parts");
    ok(is_whole(client, "stream", SIZE), "... byte by byte");
    s3pve_upload_close(upload);
    is_int(n_left(client), 0, "... and nothing is left behind");
}

static void a_sealed_stream_grows(struct s3pve_client *client) {
    struct s3pve_upload *upload = begin(client, "grows");

    s3pve_upload_write(upload, bytes, PART + 10, NULL, NULL);
    s3pve_upload_seal(upload, NULL, NULL);
    s3pve_upload_write(upload, bytes + PART + 10, PART, NULL, NULL);
    is_int(s3pve_upload_complete(upload, NULL, NULL, NULL), 0, "sealed too early and completed");
    ok(is_whole(client, "grows", 2 * PART + 10), "... whole all the same");
    s3pve_upload_close(upload);
}

static void an_aborted_stream_leaves_nothing(struct s3pve_client *client) {
    struct s3pve_upload *upload = begin(client, "aborted");

    s3pve_upload_write(upload, bytes, 4 * PART + 5, NULL, NULL);
    ok(*s3pve_upload_id(upload), "an upload with parts in flight");
    s3pve_upload_close(upload);
    ok(s3pve_object_head(client, "aborted", NULL, NULL, NULL) < 0, "is never seen when closed");
    is_int(n_left(client), 0, "... and leaves no parts");
}

static void a_left_stream_is_resumed(struct s3pve_client *client) {
    struct s3pve_upload *upload = begin(client, "resumed");
    uint64_t offset = 0;
    char id[256];

    s3pve_upload_write(upload, bytes, 3 * PART + 7, NULL, NULL);
    s3pve_upload_seal(upload, NULL, NULL);
    snprintf(id, sizeof(id), "%s", s3pve_upload_id(upload));
    s3pve_upload_leave(upload);
    upload = NULL;
    is_int(
        s3pve_upload_resume(client, "resumed", id, NULL, &upload, &offset, NULL, NULL), 0, "resumed"
    );
    is_int((long long)offset, 3 * (long long)PART, "... after the full parts");
    s3pve_upload_write(upload, bytes + offset, SIZE - offset, NULL, NULL);
    is_int(s3pve_upload_complete(upload, NULL, NULL, NULL), 0, "... and completed");
    ok(is_whole(client, "resumed", SIZE), "... whole");
    s3pve_upload_close(upload);
}

static void orphans_are_swept_by_age_and_prefix(struct s3pve_client *client) {
    struct s3pve_upload *upload = begin(client, "dump/orphan");
    unsigned n = 99;
    char id[256];

    s3pve_upload_begin(upload, NULL, NULL);
    snprintf(id, sizeof(id), "%s", s3pve_upload_id(upload));
    s3pve_upload_leave(upload);
    s3pve_upload_sweep(client, "dump/", 3600, &n, NULL, NULL);
    is_int(n, 0, "an upload that is young stays");
    s3pve_upload_sweep(client, "other/", 0, &n, NULL, NULL);
    is_int(n, 0, "so does one elsewhere");
    s3pve_upload_sweep(client, "dump/", 0, &n, NULL, NULL);
    is_int(n, 1, "the others go");
    is_int(s3pve_upload_abort_id(client, "dump/orphan", id, NULL, NULL), 0, "gone is gone");
}

static void a_pipe_becomes_an_object(struct s3pve_client *client) {
    struct s3pve_upload *upload = begin(client, "pipe");
    int fds[2], status = -1;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        ok(false, "pipe and fork");
        return;
    }
    if (pid == 0) {
        close(fds[0]);
        for (size_t at = 0; at < SIZE;) {
            ssize_t n = write(fds[1], bytes + at, SIZE - at);

            if (n < 0)
                _exit(1);
            at += (size_t)n;
        }
        _exit(0);
    }
    close(fds[1]);
    is_int(s3pve_upload_read_fd(upload, fds[0], NULL, NULL), 0, "a pipe is read");
    is_int(s3pve_upload_complete(upload, NULL, NULL, NULL), 0, "... and published");
    ok(is_whole(client, "pipe", SIZE), "... whole");
    waitpid(pid, &status, 0);
    close(fds[0]);
    s3pve_upload_close(upload);
}

struct job {
    struct s3pve_client *client;
    char key[16];
    int rc;
};

static void *upload_one(void *ctx) {
    struct job *job = ctx;
    struct s3pve_upload *upload = begin(job->client, job->key);

    job->rc = s3pve_upload_write(upload, bytes, SIZE, NULL, NULL);
    if (job->rc == 0)
        job->rc = s3pve_upload_complete(upload, NULL, NULL, NULL);
    s3pve_upload_close(upload);
    return NULL;
}

static void streams_do_not_mix(struct s3pve_client *client) {
    struct job jobs[4];
    pthread_t threads[4];

    for (int i = 0; i < 4; i++) {
        jobs[i] = (struct job){.client = client, .rc = -1};
        snprintf(jobs[i].key, sizeof(jobs[i].key), "thread%d", i);
        pthread_create(&threads[i], NULL, upload_one, &jobs[i]);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++)
        ok(jobs[i].rc == 0 && is_whole(client, jobs[i].key, SIZE), "stream %d of four", i);
    is_int((long long)client->part_memory, 0, "all memory is given back");
}

int main(void) {
    bytes = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 31 + i / 777);
    for (int threaded = 0; threaded < 2; threaded++) {
        struct s3pve_client *client = open_client(threaded);

        a_stream_becomes_an_object(client);
        a_sealed_stream_grows(client);
        an_aborted_stream_leaves_nothing(client);
        a_left_stream_is_resumed(client);
        orphans_are_swept_by_age_and_prefix(client);
        a_pipe_becomes_an_object(client);
        streams_do_not_mix(client);
        s3pve_client_close(client);
    }
    free(bytes);
    return done_testing();
}
