/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "core/object.h"
#include "script.h"
#include "tap.h"

/* What the scripted world's chance makes of a marker. */
#define OURS "ffffffffffffffffffffffffffffffff"
#define STORED                                                                                     \
    { .status = 200, .headers = "etag: \"new\"\n" }
#define LOST                                                                                       \
    { .failure = HTTP_BROKEN }
#define ABSENT                                                                                     \
    { .status = 404 }
#define REFUSED                                                                                    \
    { .status = 412, .body = "<Error><Code>PreconditionFailed</Code></Error>" }
#define IS_OURS                                                                                    \
    {                                                                                              \
        .status = 200,                                                                             \
        .headers = "content-length: 4\netag: \"new\"\nx-amz-meta-s3pve-write: " OURS "\n"          \
    }
#define IS_THEIRS                                                                                  \
    { .status = 200, .headers = "content-length: 4\netag: \"old\"\nx-amz-meta-s3pve-write: 0000\n" }

static const struct s3pve_put_options if_absent = {.if_absent = true};
static const struct s3pve_put_options if_old = {.if_match = "old"};

struct result {
    int rc;
    struct s3pve_info info;
    struct s3pve_error err;
};

static struct result put_with(
    struct script *s, enum s3pve_support support, const struct s3pve_put_options *options
) {
    struct s3pve_client *client = script_client(s, NULL);
    struct s3pve_caps caps = {.put_if_absent = support, .put_if_match = support};
    struct result r = {0};

    client->caps = caps;
    r.rc = s3pve_object_put(client, "key", "data", 4, options, &r.info, NULL, &r.err);
    s3pve_client_close(client);
    return r;
}

static void an_object_is_one_request(void) {
    struct script s = {ANSWERS(STORED)};
    const struct s3pve_meta meta = {"name", "value"};
    const struct s3pve_put_options options = {
        .content_type = "text/plain",
        .meta = &meta,
        .n_meta = 1,
        .tags = "a=b",
        .storage_class = "COLD"};
    struct result r = put_with(&s, S3PVE_UNKNOWN, &options);

    is_int(r.rc, 0, "a small object is stored");
    is_int(s.n_sent, 1, "... in one request");
    is_str(s.sent[0].body, "data", "... with its bytes");
    is_str(sent_header(&s.sent[0], "content-type"), "text/plain", "... its type");
    is_str(sent_header(&s.sent[0], "x-amz-meta-name"), "value", "... its metadata");
    is_str(sent_header(&s.sent[0], "x-amz-tagging"), "a=b", "... its tags");
    is_str(sent_header(&s.sent[0], "x-amz-storage-class"), "COLD", "... its class");
    ok(!sent_header(&s.sent[0], "x-amz-meta-s3pve-write"), "... and no marker");
    is_str(r.info.etag, "new", "the ETag comes back");
    is_int((long long)r.info.size, 4, "... and the size");
    script_clear(&s);
}

static void a_200_without_an_etag_is_not_believed(void) {
    struct script s = {ANSWERS({.status = 200})};

    is_int(put_with(&s, S3PVE_UNKNOWN, NULL).err.code, S3PVE_E_CORRUPT, "no ETag, no success");
    script_clear(&s);
}

static void nonsense_is_refused_before_the_network(void) {
    struct script s = {0};
    struct s3pve_client *client = script_client(&s, NULL);
    const struct s3pve_put_options both = {.if_absent = true, .if_match = "x"};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    s3pve_object_put(client, "", "", 0, NULL, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_INVALID, "an empty key is no object");
    s3pve_object_put(client, "a/../b", "", 0, NULL, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_INVALID, "nor is one that some servers normalise");
    s3pve_object_put(client, "a", "", 0, &both, NULL, NULL, &err);
    is_int(err.code, S3PVE_E_INVALID, "absent and matching contradict each other");
    is_int(s.n_sent, 0, "nothing was sent");
    s3pve_client_close(client);
    script_clear(&s);
}

static void if_absent_wins_or_loses_on_the_server(void) {
    struct script won = {ANSWERS(STORED)}, lost = {ANSWERS(REFUSED, IS_THEIRS)};
    struct result r = put_with(&won, S3PVE_YES, &if_absent);

    is_int(r.rc, 0, "who is first succeeds");
    is_str(sent_header(&won.sent[0], "if-none-match"), "*", "... with If-None-Match: *");
    is_str(sent_header(&won.sent[0], "x-amz-meta-s3pve-write"), OURS, "... and a marker");
    is_int(won.n_sent, 1, "... in one request");

    r = put_with(&lost, S3PVE_YES, &if_absent);
    is_int(r.err.code, S3PVE_E_CONFLICT, "who comes second gets CONFLICT");
    script_clear(&won);
    script_clear(&lost);
}

static void a_lost_answer_is_resolved_by_reading(void) {
    struct script ours = {ANSWERS(LOST, IS_OURS)}, theirs = {ANSWERS(LOST, IS_THEIRS)};
    struct script absent = {ANSWERS(LOST, ABSENT, STORED)};
    struct script unclear = {ANSWERS(LOST, {.status = 403})};
    struct result r = put_with(&ours, S3PVE_YES, &if_absent);

    is_int(r.rc, 0, "the object there carries our marker: it was written");
    is_int(r.err.code, S3PVE_OK, "... and no error is left behind");
    is_str(r.info.etag, "new", "... and this is its ETag");
    is_int(ours.n_sent, 2, "... known with one HEAD");
    is_str(ours.sent[1].method, "HEAD", "... not by sending it again");

    r = put_with(&theirs, S3PVE_YES, &if_absent);
    is_int(r.err.code, S3PVE_E_CONFLICT, "the object there is another's: CONFLICT");
    is_int(theirs.n_sent, 2, "... and nothing more is sent");

    r = put_with(&absent, S3PVE_YES, &if_absent);
    is_int(r.rc, 0, "nothing there: it is sent again");
    is_int(absent.n_sent, 3, "... after looking");
    is_str(sent_header(&absent.sent[2], "if-none-match"), "*", "... under the same condition");

    r = put_with(&unclear, S3PVE_YES, &if_absent);
    is_int(r.err.code, S3PVE_E_IO, "when nobody lets us look, the lost answer is the error");
    ok(strstr(r.err.message, "not known whether") != NULL, "... and it says so");
    script_clear(&ours);
    script_clear(&theirs);
    script_clear(&absent);
    script_clear(&unclear);
}

static void two_that_write_at_once_are_told_apart(void) {
    static const struct answer raced = {
        .status = 409, .body = "<Error><Code>ConditionalRequestConflict</Code></Error>"};
    struct script absent = {ANSWERS(raced, ABSENT, STORED)}, lost = {ANSWERS(raced, IS_THEIRS)};
    struct result r = put_with(&absent, S3PVE_YES, &if_absent);

    is_int(r.rc, 0, "a 409, and nothing there after all: written");
    is_int(absent.n_sent, 3, "... by sending it again");
    is_str(sent_header(&absent.sent[2], "if-none-match"), "*", "... under the same condition");
    r = put_with(&lost, S3PVE_YES, &if_absent);
    is_int(r.err.code, S3PVE_E_CONFLICT, "a 409, and the other's there: CONFLICT");
    is_int(lost.n_sent, 2, "... and nothing more is sent");
    script_clear(&absent);
    script_clear(&lost);
}

static void losing_against_oneself_is_winning(void) {
    struct script s = {ANSWERS(LOST, ABSENT, REFUSED, IS_OURS)};
    struct result r = put_with(&s, S3PVE_YES, &if_absent);

    is_int(r.rc, 0, "a 412 caused by our own earlier attempt is a success");
    script_clear(&s);
}

static void answers_lost_for_ever_are_an_error(void) {
    struct script s = {ANSWERS(LOST, ABSENT, LOST, ABSENT, LOST, ABSENT, LOST, ABSENT, STORED)};

    is_int(
        put_with(&s, S3PVE_YES, &if_absent).err.code,
        S3PVE_E_IO,
        "answers lost for ever are an error"
    );
    is_int(s.n_sent, 8, "... each of them looked into");
    is_int(s.now_ms, 1000 + 2000 + 4000, "... ever later, as long as there is time");
    script_clear(&s);
}

static void what_a_server_is_not_known_to_keep_is_looked_at_first(void) {
    struct script there = {ANSWERS(IS_THEIRS)}, absent = {ANSWERS(ABSENT, STORED)};
    struct script unable = {ANSWERS(ABSENT, STORED)};
    struct result r = put_with(&there, S3PVE_IGNORED, &if_absent);

    is_int(r.err.code, S3PVE_E_CONFLICT, "an object that exists is a conflict");
    is_int(there.n_sent, 1, "... found by HEAD, so that nothing is overwritten");

    r = put_with(&absent, S3PVE_UNKNOWN, &if_absent);
    is_int(r.rc, 0, "an absent one is written");
    is_str(
        sent_header(&absent.sent[1], "if-none-match"), "*", "... with the condition all the same"
    );

    r = put_with(&unable, S3PVE_NO, &if_absent);
    is_int(r.rc, 0, "a server that refuses conditions is not asked for any");
    ok(!sent_header(&unable.sent[1], "if-none-match"), "... the header stays at home");
    script_clear(&there);
    script_clear(&absent);
    script_clear(&unable);
}

static void a_server_that_refuses_conditions_is_remembered(void) {
    struct script s = {ANSWERS(ABSENT, {.status = 501}, ABSENT, STORED, ABSENT, STORED)};
    struct s3pve_client *client = script_client(&s, NULL);

    is_int(s3pve_object_put(client, "key", "", 0, &if_absent, NULL, NULL, NULL), 0, "written");
    ok(!sent_header(&s.sent[3], "if-none-match"), "... without the condition in the end");
    is_int(s3pve_object_put(client, "key", "", 0, &if_absent, NULL, NULL, NULL), 0, "and again");
    is_int(s.n_sent, 6, "... without trying it first");
    s3pve_client_close(client);
    script_clear(&s);
}

static void the_quotes_that_work_are_remembered(void) {
    struct script s = {ANSWERS(REFUSED, IS_THEIRS, STORED, STORED)};
    struct s3pve_client *client = script_client(&s, NULL);
    int rc;

    client->caps.put_if_match = S3PVE_YES;
    rc = s3pve_object_put(client, "key", "data", 4, &if_old, NULL, NULL, NULL);
    is_int(rc, 0, "a server that wants If-Match quoted gets it");
    is_str(sent_header(&s.sent[0], "if-match"), "old", "... bare first");
    is_str(sent_header(&s.sent[2], "if-match"), "\"old\"", "... quoted when the ETag was right");
    rc = s3pve_object_put(client, "key", "data", 4, &if_old, NULL, NULL, NULL);
    is_int(rc, 0, "the next one succeeds");
    is_str(sent_header(&s.sent[3], "if-match"), "\"old\"", "... quoted at once");
    is_int(s.n_sent, 4, "... in one request");
    s3pve_client_close(client);
    script_clear(&s);
}

static void if_match_loses_when_the_object_is_another(void) {
    struct script changed = {
        ANSWERS(REFUSED, {.status = 200, .headers = "content-length: 1\netag: \"x\"\n"})};
    struct script gone = {
        ANSWERS({.status = 404, .body = "<Error><Code>NoSuchKey</Code></Error>"})};
    struct script neither = {ANSWERS(REFUSED, IS_THEIRS, REFUSED, IS_THEIRS)};

    is_int(put_with(&changed, S3PVE_YES, &if_old).err.code, S3PVE_E_CONFLICT, "changed: CONFLICT");
    is_int(put_with(&gone, S3PVE_YES, &if_old).err.code, S3PVE_E_CONFLICT, "gone: CONFLICT");
    is_int(
        put_with(&neither, S3PVE_YES, &if_old).err.code,
        S3PVE_E_CONFLICT,
        "refused bare and quoted although it matches: CONFLICT, not a loop"
    );
    is_int(neither.n_sent, 4, "... after one try of each");
    script_clear(&changed);
    script_clear(&gone);
    script_clear(&neither);
}

static void cancelling_is_not_resolved(void) {
    struct script s = {ANSWERS({.hang = true})};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int stop = 1;
    const struct s3pve_call call = {.cancel = &stop};

    client->caps.put_if_absent = S3PVE_YES;
    s3pve_object_put(client, "key", "", 0, &if_absent, NULL, &call, &err);
    is_int(err.code, S3PVE_E_CANCELLED, "a cancelled write ends as cancelled");
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    an_object_is_one_request();
    a_200_without_an_etag_is_not_believed();
    nonsense_is_refused_before_the_network();
    if_absent_wins_or_loses_on_the_server();
    a_lost_answer_is_resolved_by_reading();
    two_that_write_at_once_are_told_apart();
    losing_against_oneself_is_winning();
    answers_lost_for_ever_are_an_error();
    what_a_server_is_not_known_to_keep_is_looked_at_first();
    a_server_that_refuses_conditions_is_remembered();
    the_quotes_that_work_are_remembered();
    if_match_loses_when_the_object_is_another();
    cancelling_is_not_resolved();
    return done_testing();
}
