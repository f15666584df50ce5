/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "script.h"
#include "tap.h"

#define EMPTY "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"
#define ERROR(code) "<Error><Code>" code "</Code></Error>"

static const struct {
    const char *what;
    struct answer answers[2];
    enum s3pve_code code;
    unsigned n_sent;
} checks[] = {
    {"an empty bucket is there", {{200, .body = EMPTY}}, S3PVE_OK, 1},
    {"a missing one is not", {{404, .body = ERROR("NoSuchBucket")}}, S3PVE_E_NO_BUCKET, 1},
    {"keys may be wrong", {{403, .body = ERROR("InvalidAccessKeyId")}}, S3PVE_E_DENIED, 1},
    {"a portal is no store", {{200, .body = "<html>login</html>"}}, S3PVE_E_CORRUPT, 0},
    {"a server of version 1 will do",
     {{501, .body = ERROR("NotImplemented")}, {200, .body = EMPTY}},
     S3PVE_OK,
     2},
};

static void buckets_are_checked(void) {
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        struct script script = {.answers = checks[i].answers, .n_answers = 2};
        struct s3pve_client *client = script_client(&script, "prefix", "pve", NULL);
        struct s3pve_error err = S3PVE_ERROR_INIT;
        struct s3pve_call call = {.max_attempts = 1};

        s3pve_bucket_check(client, &call, &err);
        is_int(err.code, checks[i].code, "%s", checks[i].what);
        if (checks[i].n_sent)
            is_int(script.n_sent, checks[i].n_sent, "... in as few requests as can be");
        ok(strstr(script.sent[0].url, "max-keys=1&prefix=pve%2F"), "... below our prefix only");
        s3pve_client_close(client);
        script_clear(&script);
    }
}

static const struct {
    const char *what, *provider, *region;
    struct answer answers[3];
    enum s3pve_code code;
    unsigned n_sent;
    const char *constraint; /* in the last CreateBucket; NULL: no body */
} creations[] = {
    {"AWS is told the region",
     "aws",
     "eu-west-1",
     {{200, .body = NULL}},
     S3PVE_OK,
     1,
     ">eu-west-1<"},
    {"... but not its first one", "aws", "us-east-1", {{200, .body = NULL}}, S3PVE_OK, 1, NULL},
    {"others are not", "ceph", "eu", {{200, .body = NULL}}, S3PVE_OK, 1, NULL},
    {"... unless they insist",
     "generic",
     "eu",
     {{400, .body = ERROR("IllegalLocationConstraintException")}, {200, .body = NULL}},
     S3PVE_OK,
     2,
     ">eu<"},
    {"one who knows no such region takes it without",
     "aws",
     "eu-west-1",
     {{400, .body = ERROR("InvalidLocationConstraint")}, {200, .body = NULL}},
     S3PVE_OK,
     2,
     NULL},
    {"what is ours already is fine",
     "aws",
     "us-east-1",
     {{409, .body = ERROR("BucketAlreadyOwnedByYou")}},
     S3PVE_OK,
     1,
     NULL},
    {"what exists and answers is ours",
     "generic",
     "us-east-1",
     {{409, .body = ERROR("BucketAlreadyExists")}, {200, .body = EMPTY}},
     S3PVE_OK,
     2,
     NULL},
    {"so is what Google calls unavailable",
     "google",
     "auto",
     {{409, .body = ERROR("BucketNameUnavailable")}, {200, .body = EMPTY}},
     S3PVE_OK,
     2,
     NULL},
    {"another's bucket is not",
     "generic",
     "us-east-1",
     {{409, .body = ERROR("BucketAlreadyExists")}, {403, .body = ERROR("AccessDenied")}},
     S3PVE_E_CONFLICT,
     2,
     NULL},
    {"a key may not create",
     "generic",
     "us-east-1",
     {{403, .body = ERROR("AccessDenied")}},
     S3PVE_E_DENIED,
     1,
     NULL},
};

static void buckets_are_created(void) {
    for (size_t i = 0; i < sizeof(creations) / sizeof(creations[0]); i++) {
        struct script script = {.answers = creations[i].answers, .n_answers = 3};
        struct s3pve_client *client = script_client(
            &script, "provider", creations[i].provider, "region", creations[i].region, NULL
        );
        struct s3pve_error err = S3PVE_ERROR_INIT;
        const struct sent *last = NULL;

        s3pve_bucket_create(client, NULL, &err);
        is_int(err.code, creations[i].code, "%s", creations[i].what);
        is_int(script.n_sent, creations[i].n_sent, "... in so many requests");
        for (unsigned n = 0; n < script.n_sent; n++)
            last = strcmp(script.sent[n].method, "PUT") == 0 ? &script.sent[n] : last;
        if (creations[i].constraint)
            ok(strstr(last->body, creations[i].constraint), "... naming it: %s", last->body);
        else
            is_int((long long)last->body_len, 0, "... naming none");
        if (err.code == S3PVE_E_CONFLICT)
            ok(strstr(err.message, "choose another name"), "... %s", err.message);
        s3pve_client_close(client);
        script_clear(&script);
    }
}

#define LOCATION(x) "<LocationConstraint xmlns=\"http://s3\">" x "</LocationConstraint>"

static const struct {
    const char *what;
    struct answer answers[2];
    const char *region; /* NULL: fails */
} locations[] = {
    {"a region", {{200, .body = LOCATION("eu-central-1")}}, "eu-central-1"},
    {"none, as AWS's first has", {{200, .body = "<LocationConstraint/>"}}, "us-east-1"},
    {"AWS's oldest name", {{200, .body = LOCATION("EU")}}, "eu-west-1"},
    {"what RGW says", {{200, .body = LOCATION("default")}}, "us-east-1"},
    {"wrapped",
     {{200, .body = "<CreateBucketConfiguration>" LOCATION("r") "</CreateBucketConfiguration>"}},
     "r"},
    {"refused, but told by a header",
     {{403, .body = ERROR("AccessDenied")}, {403, .headers = "x-amz-bucket-region: ap-1\n"}},
     "ap-1"},
    {"unknown to the server",
     {{501, .body = ERROR("NotImplemented")}, {200, .body = NULL}},
     "us-east-1"},
    {"refused", {{403, .body = ERROR("AccessDenied")}, {403, .body = NULL}}, NULL},
    {"missing", {{404, .body = ERROR("NoSuchBucket")}}, NULL},
};

static void locations_are_found(void) {
    for (size_t i = 0; i < sizeof(locations) / sizeof(locations[0]); i++) {
        struct script script = {.answers = locations[i].answers, .n_answers = 2};
        struct s3pve_client *client = script_client(&script, NULL);
        char region[64] = "untouched";
        int rc = s3pve_bucket_location(client, region, NULL, NULL);

        is_int(rc, locations[i].region ? 0 : -1, "a location: %s", locations[i].what);
        is_str(region, locations[i].region ? locations[i].region : "untouched", "... is told");
        s3pve_client_close(client);
        script_clear(&script);
    }
}

static void usage_is_counted(void) {
    const struct answer answers[] = {
        {200,
         .body = "<ListBucketResult><IsTruncated>true</IsTruncated>"
                 "<NextContinuationToken>t</NextContinuationToken>"
                 "<Contents><Key>a</Key><Size>5497558138880</Size></Contents>"
                 "</ListBucketResult>"},
        {200,
         .body = "<ListBucketResult><Contents><Key>b</Key><Size>7</Size></Contents>"
                 "<Contents><Key>c/</Key><Size>0</Size></Contents></ListBucketResult>"},
        {403, .body = ERROR("AccessDenied")},
    };
    struct script script = {.answers = answers, .n_answers = 3};
    struct s3pve_client *client = script_client(&script, NULL);
    uint64_t objects = 0, bytes = 0;

    is_int(s3pve_bucket_usage(client, &objects, &bytes, NULL, NULL), 0, "a bucket is counted");
    is_int((long long)objects, 3, "... its objects");
    is_int((long long)bytes, 5497558138887, "... and bytes");
    is_int(s3pve_bucket_usage(client, &objects, &bytes, NULL, NULL), -1, "... or it is not");
    is_int((long long)objects, 3, "and then nothing is returned");
    s3pve_client_close(client);
    script_clear(&script);
}

/* In a child: everything that would talk is refused, whatever the parent's threads held. */
static bool child_is_refused(struct s3pve_client *client) {
    struct s3pve_caps caps = {0};
    struct s3pve_entry entry;
    struct s3pve_list *list = NULL;
    char region[64];
    uint64_t objects, bytes;

    alarm(10);
    s3pve_client_use_caps(client, &caps);
    return s3pve_bucket_check(client, NULL, NULL) < 0 &&
           s3pve_bucket_create(client, NULL, NULL) < 0 &&
           s3pve_bucket_location(client, region, NULL, NULL) < 0 &&
           s3pve_bucket_usage(client, &objects, &bytes, NULL, NULL) < 0 &&
           s3pve_probe(client, &caps, NULL, NULL) < 0 &&
           s3pve_list_open(client, "", NULL, NULL, &list, NULL, NULL) == 0 &&
           s3pve_list_next(list, &entry, NULL) < 0 && !s3pve_list_close(list);
}

static void a_child_of_fork_is_refused(void) {
    struct script script = {0};
    struct s3pve_client *client = script_client(&script, NULL);
    int status = 0;
    pid_t pid;

    pthread_mutex_lock(&client->lock); /* as another thread might */
    fflush(stdout);
    pid = fork();
    if (pid == 0)
        _exit(child_is_refused(client) ? 0 : 1);
    pthread_mutex_unlock(&client->lock);
    ok(pid > 0 && waitpid(pid, &status, 0) == pid, "a child comes and goes");
    is_int(status, 0, "... refused, and without waiting for a lock");
    s3pve_client_close(client);
    script_clear(&script);
}

int main(void) {
    buckets_are_checked();
    buckets_are_created();
    locations_are_found();
    usage_is_counted();
    a_child_of_fork_is_refused();
    return done_testing();
}
