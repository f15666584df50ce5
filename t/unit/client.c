/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/config_private.h"
#include "core/engine_private.h"
#include "core/request.h"
#include "script.h"
#include "tap.h"

#define HANGS_S 5 /* a child that waits for its parent's lock would do so for ever */

enum { REFUSED = 1, REFUSED_EARLIER = 2 };

/* In the child: what is submitted here, and what the parent had submitted. */
static int use_in_child(struct s3pve_client *client, struct request *earlier) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_counters counters;
    struct request rq;
    int result = 0;

    alarm(HANGS_S);
    request_init(&rq, "GetObject", "GET", "a", NULL);
    if (request_send(client, &rq, &err) < 0 && err.code == S3PVE_E_INVALID &&
        strstr(err.message, "fork"))
        result |= REFUSED;
    request_clear(&rq);
    if (request_wait(client, &earlier, 1, 1000) == 0 && earlier->error.code == S3PVE_E_INVALID)
        result |= REFUSED_EARLIER;
    request_cancel(client, earlier);
    request_clear(earlier);
    s3pve_client_counters(client, &counters);
    s3pve_client_close(client);
    return result;
}

static void a_forked_child_is_refused_whatever_its_parent_was_doing(void) {
    static const struct answer late = {.status = 200, .take_ms = 1000};
    struct script s = {.answers = &late, .n_answers = 1};
    struct s3pve_client *client = script_client(&s, NULL);
    struct request rq;
    int status = 0;
    pid_t pid;

    request_init(&rq, "GetObject", "GET", "a", NULL);
    request_submit(client, &rq);
    pthread_mutex_lock(&client->engine->lock); /* as another thread may hold them */
    pthread_mutex_lock(&client->lock);
    pid = fork();
    if (pid == 0)
        _exit(use_in_child(client, &rq));
    pthread_mutex_unlock(&client->lock);
    pthread_mutex_unlock(&client->engine->lock);

    waitpid(pid, &status, 0);
    ok(WIFEXITED(status), "a child of fork() does not hang on a lock its parent held");
    ok(WEXITSTATUS(status) & REFUSED, "... a request there is refused");
    ok(WEXITSTATUS(status) & REFUSED_EARLIER, "... and one that the parent had begun");
    while (request_wait(client, (struct request *[]){&rq}, 1, 1000) < 0)
        ;
    is_int(rq.error.code, S3PVE_OK, "... while the parent goes on");
    request_clear(&rq);
    s3pve_client_close(client);
    script_clear(&s);
}

/* ---------------------------------------------------------------- locks */

static struct {
    struct transfer *(*poll)(void *ctx, int timeout_ms);
    struct engine *engine;
    unsigned n_polls, n_locked;
} watched;

static struct transfer *watched_poll(void *ctx, int timeout_ms) {
    watched.n_polls++;
    if (pthread_mutex_trylock(&watched.engine->lock) == 0)
        pthread_mutex_unlock(&watched.engine->lock);
    else
        watched.n_locked++;
    return watched.poll(ctx, timeout_ms);
}

static void no_lock_is_held_while_bytes_move(void) {
    static const struct answer fine[] = {{.status = 200}, {.status = 200}, {.status = 200}};
    struct script s = {.answers = fine, .n_answers = 3};
    struct s3pve_client *client = script_client(&s, NULL);
    struct request rqs[3];

    watched.poll = client->transport.poll;
    watched.engine = client->engine;
    client->transport.poll = watched_poll;
    for (int i = 0; i < 3; i++) {
        request_init(&rqs[i], "GetObject", "GET", "a", NULL);
        request_submit(client, &rqs[i]);
    }
    for (int i = 0; i < 3; i++) {
        while (request_wait(client, (struct request *[]){&rqs[i]}, 1, 1000) < 0)
            ;
        request_clear(&rqs[i]);
    }
    ok(watched.n_polls > 0, "the network is polled");
    is_int(watched.n_locked, 0, "... without a lock that others wait for");
    s3pve_client_close(client);
    script_clear(&s);
}

/* ---------------------------------------------------------------- credentials */

static void write_keys(const char *path, const char *access_key) {
    FILE *file = fopen(path, "w");

    fprintf(file, "access-key = %s\nsecret-key = SK\n", access_key);
    fclose(file);
    chmod(path, 0600);
}

static const char *key_sent(struct script *s, struct s3pve_client *client) {
    static char key[32];
    const char *at;
    struct request rq;

    request_init(&rq, "HeadObject", "HEAD", "a", NULL);
    request_send(client, &rq, NULL);
    request_clear(&rq);
    at = sent_header(&s->sent[s->n_sent - 1], "authorization");
    at = at ? strstr(at, "Credential=") : NULL;
    snprintf(key, sizeof(key), "%.*s", at ? (int)strcspn(at + 11, "/") : 0, at ? at + 11 : "");
    return key;
}

static void serve_fine(struct script *s, const struct sent *sent, struct answer *ret_answer) {
    *ret_answer = (struct answer){.status = 200};
}

static void keys_are_renewed_before_they_expire(void) {
    char path[] = "/tmp/s3pve-client.XXXXXX";
    struct script s = {.serve = serve_fine};
    struct s3pve_client *client;

    close(mkstemp(path));
    write_keys(path, "FIRST");
    client = script_client(
        &s,
        "access-key",
        "",
        "secret-key",
        "",
        "credentials",
        "file",
        "credentials-file",
        path,
        NULL
    );
    write_keys(path, "SECOND");
    client->creds.expires_s = s.wall_s + 3600;
    is_str(key_sent(&s, client), "FIRST", "keys that are good for an hour are used");
    s.wall_s += 3400;
    is_str(key_sent(&s, client), "SECOND", "... and renewed when few minutes are left");

    client->creds.expires_s = s.wall_s + 100;
    unlink(path);
    is_str(key_sent(&s, client), "SECOND", "keys that cannot be renewed are used while they last");
    write_keys(path, "THIRD");
    is_str(key_sent(&s, client), "SECOND", "... without trying at every request");
    s.now_ms += 60000; /* whatever the clock on the wall does */
    is_str(key_sent(&s, client), "THIRD", "... but again after a while");
    unlink(path);
    s3pve_client_close(client);
    script_clear(&s);
}

static struct s3pve_config *file_config(const char *path) {
    const char *const options[][2] = {
        {"endpoint", "http://s3.test"},
        {"bucket", "bucket"},
        {"region", "r1"},
        {"timeout", "10"},
        {"credentials", "file"},
        {"credentials-file", path}};
    struct s3pve_config *config = s3pve_config_new();

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        s3pve_config_set(config, options[i][0], options[i][1], NULL);
    return config;
}

static void renewal_follows_the_configuration(void) {
    char path[] = "/tmp/s3pve-client.XXXXXX";
    struct script s = {.serve = serve_fine};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_config *config = file_config(path);

    close(mkstemp(path));
    s3pve_config_set(config, "credentials-file", path, NULL);
    write_keys(path, "FIRST");
    is_int(s3pve_client_reconfigure(client, config, NULL), 0, "keys are to come from a file now");
    is_str(key_sent(&s, client), "FIRST", "... and do");
    write_keys(path, "SECOND");
    client->creds.expires_s = s.wall_s + 100;
    is_str(key_sent(&s, client), "SECOND", "... also when they are renewed");
    s3pve_config_free(config);
    unlink(path);
    s3pve_client_close(client);
    script_clear(&s);
}

/* Everything but SECOND's requests is refused. */
static void serve_second(struct script *s, const struct sent *sent, struct answer *ret_answer) {
    const char *header = sent_header(sent, "authorization");

    if (strstr(header, "Credential=SECOND/"))
        *ret_answer = (struct answer){.status = 200};
    else
        *ret_answer =
            (struct answer){.status = 400, .body = "<Error><Code>ExpiredToken</Code></Error>"};
}

struct loads {
    struct s3pve_client *client;
    unsigned n_failed, n_locked;
};

static void count_loads(void *ctx, const struct s3pve_log_record *record) {
    struct loads *loads = ctx;

    if (strcmp(record->operation, "credentials") != 0)
        return;
    loads->n_failed++;
    if (pthread_mutex_trylock(&loads->client->engine->lock) == 0)
        pthread_mutex_unlock(&loads->client->engine->lock);
    else
        loads->n_locked++;
}

static int codes_of_two(struct s3pve_client *client) {
    struct request rqs[2];
    int n_fine = 0;

    for (int i = 0; i < 2; i++) {
        request_init(&rqs[i], "GetObject", "GET", "a", NULL);
        request_submit(client, &rqs[i]);
    }
    for (int i = 0; i < 2; i++) {
        while (request_wait(client, (struct request *[]){&rqs[i]}, 1, 1000) < 0)
            ;
        n_fine += rqs[i].error.code == S3PVE_OK;
        request_clear(&rqs[i]);
    }
    return n_fine;
}

static void expired_keys_are_fetched_again_once_for_all(void) {
    char path[] = "/tmp/s3pve-client.XXXXXX";
    struct script s = {.serve = serve_second};
    struct loads loads = {0};
    struct s3pve_client *client = script_client_log(&s, count_loads, &loads);
    struct s3pve_config *config;

    loads.client = client;
    close(mkstemp(path));
    write_keys(path, "FIRST");
    config = file_config(path);
    s3pve_client_reconfigure(client, config, NULL);
    unlink(path);
    is_int(codes_of_two(client), 0, "keys that expired and cannot be had again are refused");
    is_int(loads.n_failed, 1, "... after one attempt for all requests");
    is_int(loads.n_locked, 0, "... in which nobody else had to wait");

    s.now_ms += 60000; /* whatever the clock on the wall does */
    write_keys(path, "SECOND");
    is_int(codes_of_two(client), 2, "those that can be had are used");
    is_int(client->creds_serial, 2, "... and fetched once");
    s3pve_config_free(config);
    unlink(path);
    s3pve_client_close(client);
    script_clear(&s);
}

static void signature_sent(struct script *s, struct s3pve_client *client, char ret_text[256]) {
    const char *at;

    key_sent(s, client);
    at = strstr(sent_header(&s->sent[s->n_sent - 1], "authorization"), "Signature=");
    snprintf(ret_text, 256, "%s", at);
}

static void a_signing_key_is_derived_once_a_day(void) {
    struct script s = {.serve = serve_fine};
    struct s3pve_client *client = script_client(&s, NULL);
    char first[256], second[256], next_day[256];

    signature_sent(&s, client, first);
    client->creds.secret_key[0] = 'X'; /* as if nobody needed it any more */
    signature_sent(&s, client, second);
    is_str(second, first, "the key derived from the secret is kept");
    s.wall_s += 86400;
    signature_sent(&s, client, second);
    client->creds.secret_key[0] = 'S';
    sigv4_key_wipe(&client->signing_key);
    signature_sent(&s, client, next_day);
    ok(strcmp(second, next_day) != 0, "... until the next day, when it is derived anew");
    s3pve_client_close(client);
    script_clear(&s);
}

/* In place of the C library's, fortified or not: what was wiped, as far as we look for it. */
static const char *looked_for;
static unsigned n_wiped;

static void note_wiped(uintptr_t at, size_t len) {
    if (looked_for && len && memmem((const void *)at, len, looked_for, strlen(looked_for)))
        n_wiped++;
}

void __explicit_bzero_chk(void *data, size_t len, size_t room);
void __explicit_bzero_chk(void *data, size_t len, size_t room) {
    note_wiped((uintptr_t)data, len);
    memset(data, 0, len);
    __asm__ volatile("" : : "r"(data) : "memory");
}

void explicit_bzero(void *data, size_t len) {
    uintptr_t at = (uintptr_t)data;

    __asm__ volatile("" : "+r"(at)); /* or the compiler would know that nobody reads it */
    note_wiped(at, len);
    memset(data, 0, len);
    __asm__ volatile("" : : "r"(data) : "memory");
}

static unsigned wiped_at_close(const char *secret) {
    struct script s = {.serve = serve_fine};
    struct s3pve_client *client =
        script_client(&s, "secret-key", "TOPSECRET", "session-token", "THETOKEN", NULL);

    key_sent(&s, client);
    looked_for = secret, n_wiped = 0;
    s3pve_client_close(client);
    looked_for = NULL;
    script_clear(&s);
    return n_wiped;
}

static void secrets_are_wiped_at_the_end(void) {
    is_int(wiped_at_close("TOPSECRET"), 2, "the secret is wiped where it was set and where used");
    is_int(wiped_at_close("THETOKEN"), 2, "... and a token");
}

/* ---------------------------------------------------------------- reconfiguration */

static char keys_path[] = "/tmp/s3pve-client.XXXXXX";

enum { TAKEN, RESTART, NEVER = -1 }; /* what s3pve_client_reconfigure() returns */
static const struct {
    const char *name, *value;
    int result;
} changes[] = {
    {"endpoint", "https://other.test", NEVER},
    {"bucket", "other", NEVER},
    {"prefix", "p/", NEVER},
    {"region", "r2", RESTART},
    {"provider", "ceph", RESTART},
    {"addressing", "virtual", NEVER},
    {"access-key", "OTHER", TAKEN},
    {"secret-key", "OTHER", TAKEN},
    {"session-token", "OTHER", TAKEN},
    {"credentials", "anonymous", TAKEN},
    {"credentials-file", keys_path, TAKEN},
    {"fingerprint", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", RESTART},
    {"ca-file", "/ca.pem", RESTART},
    {"proxy", "http://proxy.test:1", RESTART},
    {"connections", "8", RESTART},
    {"part-size", "20", RESTART},
    {"upload-limit", "7", TAKEN},
    {"download-limit", "7", TAKEN},
    {"storage-class", "GLACIER_IR", RESTART},
    {"sse", "aws:kms:dsse", RESTART},
    {"sse-kms-key", "k", RESTART},
    {"payload-signing", "always", RESTART},
    {"storage", "other", RESTART},
    {"timeout", "20", RESTART},
    {"lock-dir", "/locks", RESTART},
};
_Static_assert(sizeof(changes) / sizeof(changes[0]) == N_OPTIONS, "a row for each option");

static struct s3pve_config *changed_config(const char *name, const char *value) {
    const char *const options[][2] = {
        {"endpoint", "https://s3.test"},
        {"bucket", "bucket"},
        {"region", "r1"},
        {"timeout", "10"},
        {"sse", "aws:kms"},
        {"access-key", "NEW"},
        {"secret-key", "SK"},
        {name, value}};
    struct s3pve_config *config = s3pve_config_new();
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (s3pve_config_set(config, options[i][0], options[i][1], NULL) < 0)
            bail_out("%s", options[i][0]);
    return config;
}

static void every_option_is_taken_or_said_not_to_be(void) {
    close(mkstemp(keys_path));
    write_keys(keys_path, "FILE");
    for (size_t i = 0; i < N_OPTIONS; i++) {
        struct script s = {.serve = serve_fine};
        struct s3pve_client *client =
            script_client(&s, "endpoint", "https://s3.test", "sse", "aws:kms", NULL);
        struct s3pve_config *config = changed_config(changes[i].name, changes[i].value);
        struct s3pve_error err = S3PVE_ERROR_INIT;
        int result = s3pve_client_reconfigure(client, config, &err);

        is_int(result, changes[i].result, "a new %s: %s", changes[i].name, err.message);
        is_int(config_option(changes[i].name), i, "... which is an option");
        if (changes[i].result == NEVER)
            is_str(key_sent(&s, client), "AK", "... nor is the key sent there");
        if (changes[i].result == RESTART)
            is_str(key_sent(&s, client), "NEW", "... while a new key is");
        is_int(s3pve_client_reconfigure(client, config, NULL), result, "... also when asked again");
        s3pve_config_free(config);
        s3pve_client_close(client);
        script_clear(&s);
    }
    unlink(keys_path);
}

static void new_limits_are_in_force(void) {
    struct script s = {.serve = serve_fine};
    struct s3pve_client *client =
        script_client(&s, "endpoint", "https://s3.test", "sse", "aws:kms", NULL);
    struct s3pve_config *config = changed_config("upload-limit", "7");

    s3pve_config_set(config, "download-limit", "3", NULL);
    is_int(s3pve_client_reconfigure(client, config, NULL), TAKEN, "new limits are taken over");
    key_sent(&s, client);
    is_int(s.upload_limit, 7 << 20, "... upwards");
    is_int(s.download_limit, 3 << 20, "... and downwards");
    s3pve_config_free(config);
    s3pve_client_close(client);
    script_clear(&s);
}

/* ---------------------------------------------------------------- log */

static bool is_line(const char *text) {
    return text[strcspn(text, "\n\r\x1b")] == '\0';
}

static void check_record(void *ctx, const struct s3pve_log_record *record) {
    unsigned *n = ctx;

    (*n)++;
    ok(is_line(record->key) && is_line(record->message) && is_line(record->request_id) &&
           is_line(record->s3_code),
       "a log record of %s is one line",
       record->operation);
}

static void nothing_from_outside_breaks_the_log(void) {
    static const struct answer hostile = {
        .status = 403,
        .headers = "x-amz-request-id: \x1b[2J\rforged\n",
        .body = "<Error><Code>Access&#10;Denied</Code><Message>no&#13;way</Message></Error>",
    };
    struct script s = {.answers = &hostile, .n_answers = 1};
    unsigned n = 0;
    struct s3pve_client *client = script_client_log(&s, check_record, &n);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct request rq;

    request_init(&rq, "GetObject", "GET", "a\nERROR forged", NULL);
    request_send(client, &rq, &err);
    client_log(client, S3PVE_LOG_WARNING, "mount", "a\nb", "cannot read %s", "a\nb");
    ok(n >= 2, "there were records");
    ok(is_line(err.message) && is_line(err.request_id), "... and the error is one line, too");
    request_clear(&rq);
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    no_lock_is_held_while_bytes_move();
    nothing_from_outside_breaks_the_log();
    keys_are_renewed_before_they_expire();
    renewal_follows_the_configuration();
    expired_keys_are_fetched_again_once_for_all();
    a_signing_key_is_derived_once_a_day();
    secrets_are_wiped_at_the_end();
    every_option_is_taken_or_said_not_to_be();
    new_limits_are_in_force();
    a_forked_child_is_refused_whatever_its_parent_was_doing();
    return done_testing();
}
