/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/engine_private.h"
#include "core/object.h"
#include "script.h"
#include "tap.h"

static void head_says_what_there_is(void) {
    struct script s = {ANSWERS(
        {.status = 200,
         .headers =
             "content-length: 5\netag: W/\"v1\"\nlast-modified: Wed, 15 Nov 2023 00:13:20 GMT\n"
             "content-type: text/plain\nx-amz-meta-a: 1\n"
             "x-amz-meta-s3pve-write: ffff\nx-amz-meta-b: 2\n"}
    )};
    struct s3pve_client *client = script_client(&s, "prefix", "some/where", NULL);
    struct object_marker marker;
    struct s3pve_info info;

    is_int(object_head(client, "key", NULL, &info, &marker, NULL), 0, "an object is there");
    ok(strstr(s.sent[0].url, "/bucket/some/where/key") != NULL, "... below the prefix");
    is_int((long long)info.size, 5, "... of this size");
    is_str(info.etag, "v1", "... this ETag, without quotes and mark");
    is_int(info.mtime, 1700007200, "... this age");
    is_str(info.content_type, "text/plain", "... this type");
    is_int(info.n_meta, 2, "... and metadata without the marker");
    is_str(info.meta[0].name, "a", "... one");
    is_str(info.meta[1].name, "b", "... two");
    is_str(marker.text, "ffff", "the marker is there for who asks");
    s3pve_client_close(client);
    script_clear(&s);
}

static void a_head_without_a_length_is_no_answer(void) {
    struct script s = {ANSWERS({.status = 200, .headers = "etag: \"v1\"\n"})};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info;

    s3pve_object_head(client, "key", &info, NULL, &err);
    is_int(err.code, S3PVE_E_CORRUPT, "a size nobody said is not taken for zero");
    s3pve_client_close(client);
    script_clear(&s);
}

static void an_empty_key_never_names_the_bucket(void) {
    struct script s = {0};
    struct s3pve_client *client = script_client(&s, NULL);
    const char *keys[] = {"a", ""};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char long_key[1100];

    s3pve_object_delete(client, "", NULL, &err);
    is_int(err.code, S3PVE_E_INVALID, "deleting it is refused");
    s3pve_object_delete_many(client, keys, 2, NULL, &err);
    is_int(err.code, S3PVE_E_INVALID, "... among others too");
    memset(long_key, 'a', sizeof(long_key) - 1);
    long_key[sizeof(long_key) - 1] = '\0';
    err = S3PVE_ERROR_INIT;
    s3pve_object_head(client, long_key, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_INVALID, "a key longer than S3's is refused");
    is_int(s.n_sent, 0, "nothing was sent");
    s3pve_client_close(client);
    script_clear(&s);
}

static void encryption_and_class_come_from_the_settings(void) {
    struct script s = {ANSWERS({.status = 200, .headers = "etag: \"x\"\n"})};
    struct s3pve_client *client =
        script_client(&s, "sse", "aws:kms", "sse-kms-key", "k1", "storage-class", "COLD", NULL);

    s3pve_object_put(client, "key", "", 0, NULL, NULL, NULL, NULL);
    is_str(sent_header(&s.sent[0], "x-amz-server-side-encryption"), "aws:kms", "encryption");
    is_str(sent_header(&s.sent[0], "x-amz-server-side-encryption-aws-kms-key-id"), "k1", "its key");
    is_str(sent_header(&s.sent[0], "x-amz-storage-class"), "COLD", "storage class");
    ok(object_etag_is_opaque(client), "with the store's keys ETags are no MD5s");
    s3pve_client_close(client);
    script_clear(&s);
}

static void a_span_shares_its_time_but_leaves_some_to_look(void) {
    struct script s = {0};
    struct s3pve_client *client = script_client(&s, NULL);
    const struct s3pve_call call = {.timeout_ms = 8000}, hasty = {.timeout_ms = 100};
    struct span span;

    span_begin(&span, client, &call, 0);
    is_int(span_call(&span)->timeout_ms, 8000, "the first request has all of it");
    s.now_ms += 2000;
    is_int(span_call(&span)->timeout_ms, 6000, "the next has the rest");
    s.now_ms += 20000;
    is_int(span_call(&span)->timeout_ms, 5000, "after the deadline there is time to look");
    span_begin(&span, client, &hasty, 0);
    s.now_ms += 200;
    is_int(span_call(&span)->timeout_ms, 100, "... but never more than the caller gave");
    span_begin(&span, client, NULL, 0);
    is_int(span_call(&span)->timeout_ms, 10000, "the default is the client's");
    s3pve_client_close(client);
    script_clear(&s);
}

static void nothing_in_the_options_becomes_another_header(void) {
    static const struct s3pve_meta name = {"a: b\r\nX-Evil", "v"}, value = {"a", "v\r\nX-Evil: 1"},
                                   empty = {"", "v"}, good = {"note", "caf\xc3\xa9 au lait"};
    static const struct s3pve_meta many[S3PVE_META_MAX + 1] = {{"a", "b"}};
    static const struct {
        const char *what;
        struct s3pve_put_options options;
    } cases[] = {
        {"a type", {.content_type = "text/plain\r\nx-amz-acl: public-read"}},
        {"a storage class", {.storage_class = "COLD\nX: y"}},
        {"tags", {.tags = "a=1\r\nX: y"}},
        {"a version", {.if_match = "abc\r\nX: y"}},
        {"a name of metadata", {.meta = &name, .n_meta = 1}},
        {"no name of metadata", {.meta = &empty, .n_meta = 1}},
        {"a value of metadata", {.meta = &value, .n_meta = 1}},
        {"more metadata than there may be", {.meta = many, .n_meta = S3PVE_META_MAX + 1}},
    };
    struct script s = {0};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_upload *upload = NULL;
    struct s3pve_put_options fine = {.meta = &good, .n_meta = 1};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct s3pve_put_options *options = &cases[i].options;
        struct s3pve_error err[3] = {0};

        s3pve_object_put(client, "key", "x", 1, options, NULL, NULL, &err[0]);
        is_int(
            err[0].code,
            S3PVE_E_INVALID,
            "%s of two lines is refused: %s",
            cases[i].what,
            err[0].message
        );
        s3pve_upload_open(client, "key", options, &upload, &err[1]);
        is_int(err[1].code, S3PVE_E_INVALID, "... for an upload");
        s3pve_object_copy(client, "a", "b", options, NULL, NULL, &err[2]);
        is_int(err[2].code, S3PVE_E_INVALID, "... and for a copy");
    }
    is_int(s.n_sent, 0, "... before anything is sent");
    is_int(
        s3pve_upload_open(client, "key", &fine, &upload, NULL), 0, "letters of all kinds are fine"
    );
    s3pve_upload_close(upload);
    s3pve_client_close(client);
    script_clear(&s);
}

static void a_missing_bucket_is_not_a_missing_object(void) {
    static const struct answer gone[] =
        {{.status = 404}, {.status = 404, .body = "<Error><Code>NoSuchBucket</Code></Error>"}},
                               there[] = {{.status = 404}, {.status = 403}, {.status = 404}},
                               seen[] = {
                                   {.status = 200, .headers = "content-length: 0\n"},
                                   {.status = 404}};
    struct script s[3] = {
        {.answers = gone, .n_answers = 2},
        {.answers = there, .n_answers = 3},
        {.answers = seen, .n_answers = 2}};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_client *client = script_client(&s[0], NULL);

    s3pve_object_head(client, "a", NULL, NULL, &err);
    is_int(err.code, S3PVE_E_NO_BUCKET, "404 to HEAD may mean the bucket, so that is asked for");
    s3pve_client_close(client);

    client = script_client(&s[1], NULL);
    s3pve_object_head(client, "a", NULL, NULL, &err);
    is_int(err.code, S3PVE_E_NOT_FOUND, "a bucket that may not be looked at is there");
    s3pve_object_head(client, "a", NULL, NULL, &err);
    is_int(err.code, S3PVE_E_NOT_FOUND, "... and need not be asked for again");
    is_int(s[1].n_sent, 3, "... in three requests");
    s3pve_client_close(client);

    client = script_client(&s[2], NULL);
    s3pve_object_head(client, "a", NULL, NULL, NULL);
    s3pve_object_head(client, "b", NULL, NULL, &err);
    is_int(err.code, S3PVE_E_NOT_FOUND, "a bucket that gave something is there");
    is_int(s[2].n_sent, 2, "... without being asked for");
    s3pve_client_close(client);
    for (int i = 0; i < 3; i++)
        script_clear(&s[i]);
}

static void the_region_is_learned_though_a_head_cannot_say_it(void) {
    static const struct answer answers[] = {
        {.status = 400},
        {.status = 400,
         .body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>garage</Region></Error>"},
        {.status = 200, .body = "<ListBucketResult/>"},
        {.status = 200, .headers = "content-length: 7\n"},
        {.status = 400},
    };
    struct script s = {.answers = answers, .n_answers = 5};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_info info = {0};

    is_int(s3pve_object_head(client, "a", &info, NULL, NULL), 0, "a refused HEAD asks with a GET");
    is_int(info.size, 7, "... and then again");
    ok(strstr(sent_header(&s.sent[3], "authorization"), "/garage/s3/"),
       "... in the region it heard");
    is_int(s3pve_object_head(client, "a", &info, NULL, NULL), -1, "another refusal is one");
    is_int(s.n_sent, 5, "... at once");
    s3pve_client_close(client);
    script_clear(&s);
}

static void a_condition_that_is_looked_at_finds_the_region_too(void) {
    static const struct answer answers[] = {
        {.status = 400},
        {.status = 400,
         .body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>garage</Region></Error>"},
        {.status = 200, .body = "<ListBucketResult/>"},
        {.status = 404},
        {.status = 200, .headers = "etag: \"e\"\n"},
    };
    const struct s3pve_put_options options = {.if_absent = true};
    struct script s = {.answers = answers, .n_answers = 5};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    s3pve_object_put(client, "a", "x", 1, &options, NULL, NULL, &err);
    is_int(err.code, S3PVE_OK, "a first conditional PUT in another region succeeds");
    is_int(s.n_sent, 5, "... asking no more than it must");
    s3pve_client_close(client);
    script_clear(&s);
}

/* Each must be refused before it wants a lock.  Return: the number of those that were not. */
static int use_in_child(struct s3pve_client *client) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_upload *upload = NULL;
    struct s3pve_caps caps;
    struct s3pve_info info;
    char *text = NULL, got[8];
    size_t len;
    int n_others = 0;

    alarm(10);
#define REFUSED(call)                                                                              \
    do {                                                                                           \
        err = S3PVE_ERROR_INIT;                                                                    \
        if ((call) >= 0 || err.code != S3PVE_E_INVALID || !strstr(err.message, "fork"))            \
            n_others++;                                                                            \
    } while (0)
    REFUSED(s3pve_object_put(client, "a", "b", 1, NULL, NULL, NULL, &err));
    REFUSED(s3pve_object_get(client, "a", 10, &text, &len, NULL, NULL, &err));
    REFUSED(s3pve_object_pread(client, "a", NULL, got, 8, 0, &len, NULL, NULL, &err));
    REFUSED(s3pve_object_get_fd(client, "a", 1, 0, 0, NULL, NULL, &err));
    REFUSED(s3pve_object_head(client, "a", &info, NULL, &err));
    REFUSED(s3pve_object_copy(client, "a", "b", NULL, NULL, NULL, &err));
    REFUSED(s3pve_object_delete_many(client, (const char *[]){"a", "b"}, 2, NULL, &err));
    REFUSED(s3pve_object_delete(client, "a", NULL, &err));
    REFUSED(s3pve_object_presign(client, "a", 60, &text, &err));
    REFUSED(s3pve_upload_open(client, "a", NULL, &upload, &err));
    REFUSED(s3pve_bucket_check(client, NULL, &err));
    REFUSED(s3pve_bucket_create(client, NULL, &err));
    REFUSED(s3pve_probe(client, &caps, NULL, &err));
#undef REFUSED
    return n_others;
}

static void no_call_in_a_forked_child_waits_for_a_lock(void) {
    struct script s = {0};
    struct s3pve_client *client = script_client(&s, NULL);
    int status = 0;
    pid_t pid;

    pthread_mutex_lock(&client->engine->lock); /* as another thread may hold them */
    pthread_mutex_lock(&client->lock);
    pid = fork();
    if (pid == 0)
        _exit(use_in_child(client));
    pthread_mutex_unlock(&client->lock);
    pthread_mutex_unlock(&client->engine->lock);
    waitpid(pid, &status, 0);
    ok(WIFEXITED(status), "no call in a child of fork() waits for a lock that nobody will give");
    is_int(WEXITSTATUS(status), 0, "... and each is refused as one");
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    a_condition_that_is_looked_at_finds_the_region_too();
    the_region_is_learned_though_a_head_cannot_say_it();
    a_missing_bucket_is_not_a_missing_object();
    nothing_in_the_options_becomes_another_header();
    head_says_what_there_is();
    a_head_without_a_length_is_no_answer();
    an_empty_key_never_names_the_bucket();
    encryption_and_class_come_from_the_settings();
    a_span_shares_its_time_but_leaves_some_to_look();
    no_call_in_a_forked_child_waits_for_a_lock();
    return done_testing();
}
