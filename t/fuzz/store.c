/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A store that says anything, to whole operations.  The first line names some (see operations[]);
 * then come the answers, in the order they are asked for, each ended by a line "%%":
 *
 *     STATUS FAILURE       (enum http_failure)
 *     header: value
 *                          (empty line)
 *     body
 *
 * After the last answer nobody answers any more.  Time passes only where somebody waits, so every
 * operation has to end, well or with a reason, and leave nothing behind.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "s3pve.h"
#include "script.h"

#define SECRET "TheSecretKey"
#define OPERATIONS_MAX 6
#define ENTRIES_MAX 5000

struct store {
    char *next;
    char *end;
    bool knows_secret; /* the fuzzer sees what we compare with, and tells */
};

static struct script script; /* large, and mostly a record that nobody reads here */

static void serve(struct script *s, const struct sent *sent, struct answer *ret_answer) {
    struct store *store = s->ctx;
    char *answer = store->next, *end, *headers, *body;
    unsigned failure = 0;

    ret_answer->take_ms = 50;
    if (!answer || answer >= store->end)
        return; /* connection refused */
    end = memmem(answer, (size_t)(store->end - answer), "\n%%\n", 4);
    store->next = end ? end + 4 : store->end;
    end = end ? end : store->end;
    *end = '\0';

    sscanf(answer, "%d %u", &ret_answer->status, &failure);
    ret_answer->failure = (enum http_failure)(failure % (HTTP_LOCAL + 1));
    headers = strchr(answer, '\n');
    if (!headers)
        return;
    body = strstr(headers, "\n\n");
    if (body)
        *body = '\0';
    ret_answer->headers = headers + 1;
    ret_answer->body = body && body + 2 < end ? body + 2 : NULL;
    ret_answer->body_len = ret_answer->body ? (size_t)(end - body - 2) : 0;
}

static void do_get(struct s3pve_client *client, struct s3pve_error *err) {
    char *data = NULL;
    size_t len = 0;

    if (s3pve_object_get(client, "key", 4096, &data, &len, NULL, NULL, err) == 0)
        must(len <= 4096 && data[len] == '\0');
    free(data);
}

static void do_read(struct s3pve_client *client, struct s3pve_error *err) {
    char *data = malloc(100);
    size_t len = 0;

    if (s3pve_object_pread(client, "key", NULL, data, 100, 50, &len, NULL, NULL, err) == 0)
        must(len <= 100);
    free(data);
}

static void do_get_fd(struct s3pve_client *client, struct s3pve_error *err) {
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    s3pve_object_get_fd(client, "key", fd, 0, 0, NULL, NULL, err);
    close(fd);
}

static void do_head(struct s3pve_client *client, struct s3pve_error *err) {
    struct s3pve_info info;

    if (s3pve_object_head(client, "key", &info, NULL, err) == 0)
        must(memchr(info.etag, 0, sizeof(info.etag)) && info.n_meta <= S3PVE_META_MAX);
}

static void do_list(struct s3pve_client *client, struct s3pve_error *err) {
    struct s3pve_list *list = NULL;
    struct s3pve_entry entry;

    if (s3pve_list_open(client, "dump/", "/", NULL, &list, NULL, err) < 0)
        return;
    for (unsigned i = 0; i < ENTRIES_MAX && s3pve_list_next(list, &entry, err) == 1; i++)
        must(strncmp(entry.key, "dump/", 5) == 0);
    s3pve_list_close(list);
}

static void do_put(struct s3pve_client *client, struct s3pve_error *err) {
    const struct s3pve_put_options options = {.if_absent = true};

    s3pve_object_put(client, "key", "data", 4, &options, NULL, NULL, err);
}

static void do_delete(struct s3pve_client *client, struct s3pve_error *err) {
    static const char *const keys[] = {"a", "b & c", "d"};

    s3pve_object_delete_many(client, keys, 3, NULL, err);
}

static void do_copy(struct s3pve_client *client, struct s3pve_error *err) {
    s3pve_object_copy(client, "src", "dst", NULL, NULL, NULL, err);
}

static void do_tags(struct s3pve_client *client, struct s3pve_error *err) {
    char *tags = NULL;

    if (s3pve_object_tags(client, "key", &tags, NULL, err) == 0)
        must(tags && !strpbrk(tags, " \n\r"));
    free(tags);
}

static void do_upload(struct s3pve_client *client, struct s3pve_error *err) {
    struct s3pve_upload *upload = NULL;

    if (s3pve_upload_open(client, "key", NULL, &upload, err) == 0 &&
        s3pve_upload_begin(upload, NULL, err) == 0 &&
        s3pve_upload_write(upload, "data", 4, NULL, err) == 0 &&
        s3pve_upload_complete(upload, NULL, NULL, err) == 0)
        must(s3pve_upload_size(upload) == 4);
    s3pve_upload_close(upload);
}

static void do_resume(struct s3pve_client *client, struct s3pve_error *err) {
    struct s3pve_upload *upload = NULL;
    uint64_t offset = 0;

    if (s3pve_upload_resume(client, "key", "id", NULL, &upload, &offset, NULL, err) == 0)
        must(offset == s3pve_upload_size(upload));
    s3pve_upload_leave(upload);
}

static void do_sweep(struct s3pve_client *client, struct s3pve_error *err) {
    unsigned n;

    s3pve_upload_sweep(client, "", 60, &n, NULL, err);
}

static void do_bucket(struct s3pve_client *client, struct s3pve_error *err) {
    char region[64];

    if (s3pve_bucket_check(client, NULL, err) == 0 && s3pve_bucket_create(client, NULL, err) == 0 &&
        s3pve_bucket_location(client, region, NULL, err) == 0)
        must(memchr(region, 0, sizeof(region)));
}

static void do_usage(struct s3pve_client *client, struct s3pve_error *err) {
    uint64_t objects, bytes;

    s3pve_bucket_usage(client, &objects, &bytes, NULL, err);
}

static void do_probe(struct s3pve_client *client, struct s3pve_error *err) {
    struct s3pve_caps caps;

    if (s3pve_probe(client, &caps, NULL, err) == 0)
        s3pve_client_use_caps(client, &caps);
}

static const struct {
    char letter;
    void (*run)(struct s3pve_client *client, struct s3pve_error *err);
} operations[] = {
    {'g', do_get},
    {'r', do_read},
    {'f', do_get_fd},
    {'h', do_head},
    {'l', do_list},
    {'p', do_put},
    {'d', do_delete},
    {'c', do_copy},
    {'t', do_tags},
    {'u', do_upload},
    {'R', do_resume},
    {'s', do_sweep},
    {'b', do_bucket},
    {'U', do_usage},
    {'P', do_probe},
};

static void run_operation(const struct store *store, struct s3pve_client *client, char letter) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (operations[i].letter == letter)
            operations[i].run(client, &err);
    }
    if (err.code == S3PVE_OK)
        return;
    must(err.errnum > 0 && err.message[0] && memchr(err.message, 0, sizeof(err.message)));
    must(!strpbrk(err.message, "\r\n"));
    must(store->knows_secret || !strstr(err.message, SECRET));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = strndup((const char *)data, size), *next = text, *names;
    struct store store = {.end = text + strlen(text)};
    struct s3pve_client *client;

    store.knows_secret = memmem(data, size, SECRET, strlen(SECRET));
    names = strsep(&next, "\n");
    store.next = next;
    script.serve = serve;
    script.ctx = &store;
    script.n_sent = script.n_active = 0;
    script.now_ms = script.wall_s = 0;
    client = script_client(&script, "secret-key", SECRET, NULL);
    for (unsigned i = 0; names[i] && i < OPERATIONS_MAX; i++)
        run_operation(&store, client, names[i]);
    s3pve_client_close(client);
    script_clear(&script);
    free(text);
    return 0;
}
