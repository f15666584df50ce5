/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "core/multipart.h"
#include "script.h"
#include "tap.h"

#define EMPTY_MD5 "d41d8cd98f00b204e9800998ecf8427e"
#define ETAG "5873dd45edd01f09c1ef2e7819369e8e-2" /* of two empty parts */
#define SIZE "10"                                 /* which we say have five bytes each */

#define COMPLETED(etag)                                                                            \
    {                                                                                              \
        .status = 200, .headers = "date: Wed, 15 Nov 2023 00:13:20 GMT\n",                         \
        .body = "<CompleteMultipartUploadResult><ETag>&quot;" etag                                 \
                "&quot;</ETag></CompleteMultipartUploadResult>"                                    \
    }
#define LOST                                                                                       \
    { .failure = HTTP_BROKEN }
#define ABSENT                                                                                     \
    { .status = 404 }
#define HAS(size, etag, marker)                                                                    \
    {                                                                                              \
        .status = 200, .headers = "content-length: " size "\netag: \"" etag                        \
                                  "\"\nx-amz-meta-s3pve-write: " marker "\n"                       \
    }
#define OURS HAS(SIZE, ETAG, "mark")
#define THEIRS HAS(SIZE, "other", "foreign")
#define CHANGED HAS("9", "other", "mark")
#define NO_UPLOAD                                                                                  \
    { .status = 404, .body = "<Error><Code>NoSuchUpload</Code></Error>" }
#define REFUSED                                                                                    \
    { .status = 412, .body = "<Error><Code>PreconditionFailed</Code></Error>" }

struct result {
    int rc;
    struct s3pve_info info;
    struct s3pve_error err;
};

struct setting {
    const char *part_etag, *sse;
    enum s3pve_support complete_if_absent;
    struct s3pve_put_options options;
    bool unmarked;
};

static struct result complete_with(struct script *s, const struct setting *setting) {
    struct s3pve_client *client = script_client(s, "sse", setting->sse, NULL);
    const char *etag = setting->part_etag ? setting->part_etag : EMPTY_MD5;
    struct multipart mp = {.client = client, .key = "key", .id = strdup("id")};
    struct result r = {0};

    if (!setting->unmarked)
        strcpy(mp.marker.text, "mark");
    client->caps.complete_if_absent = setting->complete_if_absent;
    multipart_note(&mp, 1, 5, etag, NULL);
    multipart_note(&mp, 2, 5, etag, NULL);
    r.rc = multipart_complete(&mp, &setting->options, &r.info, NULL, &r.err);
    multipart_clear(&mp);
    s3pve_client_close(client);
    return r;
}

static const struct setting plain;

static void an_etag_of_our_parts_proves_it_in_one_request(void) {
    struct script s = {ANSWERS(COMPLETED(ETAG))};
    struct result r = complete_with(&s, &plain);

    is_int(r.rc, 0, "published");
    is_int(s.n_sent, 1, "... in one request");
    is_str(
        s.sent[0].body,
        "<CompleteMultipartUpload>"
        "<Part><PartNumber>1</PartNumber><ETag>\"" EMPTY_MD5
        "\"</ETag></Part>"
        "<Part><PartNumber>2</PartNumber><ETag>\"" EMPTY_MD5
        "\"</ETag></Part>"
        "</CompleteMultipartUpload>",
        "... that names every part"
    );
    is_str(r.info.etag, ETAG, "its ETag is known");
    is_int((long long)r.info.size, 10, "... its size");
    is_int(r.info.mtime, 1700007200, "... and its age");
    script_clear(&s);
}

static void an_etag_of_other_parts_is_corrupt(void) {
    struct script s = {ANSWERS(COMPLETED("00000000000000000000000000000000-2"))};
    struct script later = {
        ANSWERS(COMPLETED(""), HAS(SIZE, "00000000000000000000000000000000-2", "mark"))};

    is_int(complete_with(&s, &plain).err.code, S3PVE_E_CORRUPT, "said by Complete");
    is_int(complete_with(&later, &plain).err.code, S3PVE_E_CORRUPT, "or found by HEAD");
    script_clear(&s);
    script_clear(&later);
}

static void other_etags_are_replaced_by_the_size(void) {
    struct script random = {ANSWERS(COMPLETED("random"), HAS(SIZE, "random", "mark"))};
    struct script short_one = {ANSWERS(COMPLETED("random"), HAS("9", "random", "mark"))};
    struct script none = {ANSWERS(COMPLETED(""), OURS)};
    struct result r = complete_with(&random, &plain);

    is_int(r.rc, 0, "an ETag that is no MD5 of MD5s");
    is_int(random.n_sent, 2, "... leads to a HEAD");
    r = complete_with(&short_one, &plain);
    is_int(r.err.code, S3PVE_E_CORRUPT, "a byte is missing: CORRUPT");
    r = complete_with(&none, &plain);
    is_int(r.rc, 0, "a store that leaves the ETag out");
    is_str(r.info.etag, ETAG, "... is asked for it");
    script_clear(&random);
    script_clear(&short_one);
    script_clear(&none);
}

static void etags_that_are_no_md5s_prove_nothing(void) {
    struct script kms = {ANSWERS(COMPLETED(ETAG), HAS(SIZE, ETAG, "mark"))};
    struct script words = {ANSWERS(COMPLETED(ETAG), HAS(SIZE, ETAG, "mark"))};

    is_int(complete_with(&kms, &(struct setting){.sse = "aws:kms"}).rc, 0, "the store's own keys");
    is_int(kms.n_sent, 2, "... need a HEAD");
    is_int(complete_with(&words, &(struct setting){.part_etag = "word"}).rc, 0, "parts' words");
    is_int(words.n_sent, 2, "... too");
    script_clear(&kms);
    script_clear(&words);
}

static void being_overwritten_at_once_is_no_failure(void) {
    struct script told = {ANSWERS(COMPLETED("random"), THEIRS)};
    struct script untold = {ANSWERS(COMPLETED(""), THEIRS)};

    is_int(complete_with(&told, &plain).rc, 0, "another's object there by now, as its ETag shows");
    is_int(complete_with(&untold, &plain).rc, 0, "... or its marker");
    script_clear(&told);
    script_clear(&untold);
}

static void a_lost_answer_is_resolved_by_reading(void) {
    struct script there = {ANSWERS(LOST, OURS)};
    struct script not_there = {ANSWERS(LOST, ABSENT, COMPLETED(ETAG))};
    struct script older = {ANSWERS(LOST, THEIRS, COMPLETED(ETAG))};
    struct script cut = {ANSWERS(LOST, CHANGED, COMPLETED(ETAG))};
    struct script hidden = {ANSWERS(LOST, {.status = 403})};
    struct result r = complete_with(&there, &plain);

    is_int(r.rc, 0, "the object is there and ours");
    is_int(there.n_sent, 2, "... so nothing is sent again");
    is_int(r.err.code, S3PVE_OK, "... and no error is left behind");
    r = complete_with(&not_there, &plain);
    is_int(r.rc, 0, "nothing there: sent again");
    is_int(not_there.n_sent, 3, "... after looking");
    r = complete_with(&older, &plain);
    is_int(r.rc, 0, "another's object there, of our size: sent again too");
    is_int(older.n_sent, 3, "... as its marker is not ours");
    r = complete_with(&cut, &plain);
    is_int(r.rc, 0, "our marker on fewer bytes: sent again");
    is_int(cut.n_sent, 3, "... as that is not what we published");
    r = complete_with(&hidden, &plain);
    is_int(r.err.code, S3PVE_E_IO, "if we may not look, the lost answer is the error");
    ok(strstr(r.err.message, "not known whether") != NULL, "... and it says so");
    script_clear(&there);
    script_clear(&not_there);
    script_clear(&older);
    script_clear(&cut);
    script_clear(&hidden);
}

static void an_error_inside_a_200_is_resolved_too(void) {
    struct script s = {ANSWERS(
        {.status = 200, .body = "   <Error><Code>InternalError</Code></Error>"},
        ABSENT,
        COMPLETED(ETAG)
    )};
    struct script odd = {ANSWERS({.status = 200, .body = "<html/>"}, OURS)};

    is_int(complete_with(&s, &plain).rc, 0, "InternalError with a 200: look, and send again");
    is_int(s.n_sent, 3, "... in three requests");
    is_int(complete_with(&odd, &plain).rc, 0, "a page that is no answer: look");
    script_clear(&s);
    script_clear(&odd);
}

static void an_upload_that_is_gone_was_completed_or_is_lost(void) {
    struct script done = {ANSWERS(LOST, ABSENT, NO_UPLOAD, OURS)};
    struct script gone = {ANSWERS(NO_UPLOAD, ABSENT)};
    struct script replaced = {ANSWERS(NO_UPLOAD, THEIRS)};
    struct result r = complete_with(&done, &plain);

    is_int(r.rc, 0, "NoSuchUpload, and the object is ours: our Complete came through late");
    r = complete_with(&gone, &plain);
    is_int(r.err.code, S3PVE_E_IO, "NoSuchUpload, and no object: lost");
    is_str(r.err.s3_code, "NoSuchUpload", "... in the store's words");
    r = complete_with(&replaced, &plain);
    is_int(r.err.code, S3PVE_E_IO, "NoSuchUpload, and another's object: lost");
    script_clear(&done);
    script_clear(&gone);
    script_clear(&replaced);
}

static void without_a_marker_etag_and_size_tell(void) {
    static const struct setting unmarked = {.unmarked = true};
    struct script same = {ANSWERS(LOST, HAS(SIZE, ETAG, ""))};
    struct script longer = {ANSWERS(LOST, HAS("11", ETAG, ""), COMPLETED(ETAG))};

    is_int(complete_with(&same, &unmarked).rc, 0, "an upload of an earlier process is known");
    is_int(same.n_sent, 2, "... by ETag and size");
    is_int(complete_with(&longer, &unmarked).rc, 0, "another size is another object");
    is_int(longer.n_sent, 3, "... so it is sent again");
    script_clear(&same);
    script_clear(&longer);
}

static void a_server_in_trouble_is_given_some_seconds(void) {
    static const struct answer trouble = {.status = 500};
    struct script s = {ANSWERS(trouble, ABSENT, trouble, ABSENT, COMPLETED(ETAG))};

    is_int(complete_with(&s, &plain).rc, 0, "a 500 for a while does not cost the upload");
    ok(s.now_ms >= 3000, "... which is tried again later, and later still");
    script_clear(&s);
}

static void lost_for_ever_is_an_error(void) {
    struct script s = {ANSWERS(LOST, ABSENT, LOST, ABSENT, LOST, ABSENT, LOST, ABSENT)};

    is_int(complete_with(&s, &plain).err.code, S3PVE_E_IO, "answers lost for ever are an error");
    is_int(s.n_sent, 8, "... each looked into");
    is_int(s.now_ms, 1000 + 2000 + 4000, "... ever later, as long as there is time");
    script_clear(&s);
}

static void a_refusal_is_final(void) {
    struct script s = {ANSWERS({.status = 400, .body = "<Error><Code>InvalidPart</Code></Error>"})};
    struct result r = complete_with(&s, &plain);

    is_str(r.err.s3_code, "InvalidPart", "a part with another ETag is refused by the store");
    is_int(s.n_sent, 1, "... and that is that");
    script_clear(&s);
}

static void a_server_that_keeps_conditions_is_told(void) {
    const struct setting setting = {
        .options = {.if_absent = true}, .complete_if_absent = S3PVE_YES};
    struct script able = {ANSWERS(COMPLETED(ETAG))}, loses = {ANSWERS(REFUSED, THEIRS)};
    struct script wins = {ANSWERS(LOST, ABSENT, REFUSED, OURS)};

    is_int(complete_with(&able, &setting).rc, 0, "published if absent");
    is_str(sent_header(&able.sent[0], "if-none-match"), "*", "... which the server decides");
    is_int(complete_with(&loses, &setting).err.code, S3PVE_E_CONFLICT, "412: CONFLICT");
    is_int(complete_with(&wins, &setting).rc, 0, "unless the object is ours after all");
    script_clear(&able);
    script_clear(&loses);
    script_clear(&wins);
}

static void for_one_that_does_not_we_look_first(void) {
    const struct setting setting = {
        .options = {.if_absent = true}, .complete_if_absent = S3PVE_IGNORED};
    struct script absent = {ANSWERS(ABSENT, COMPLETED(ETAG))}, exists = {ANSWERS(THEIRS)};
    struct script before = {ANSWERS(OURS)};

    is_int(complete_with(&absent, &setting).rc, 0, "published if absent");
    is_str(absent.sent[0].method, "HEAD", "... which we find out");
    ok(!sent_header(&absent.sent[1], "if-none-match"), "... and the server is not told");
    is_int(
        complete_with(&exists, &setting).err.code, S3PVE_E_CONFLICT, "what exists is a CONFLICT"
    );
    is_int(exists.n_sent, 1, "... and not overwritten");
    is_int(complete_with(&before, &setting).rc, 0, "what is ours was completed before");
    is_int(before.n_sent, 1, "... and that is all there is to do");
    script_clear(&absent);
    script_clear(&exists);
    script_clear(&before);
}

int main(void) {
    an_etag_of_our_parts_proves_it_in_one_request();
    an_etag_of_other_parts_is_corrupt();
    other_etags_are_replaced_by_the_size();
    etags_that_are_no_md5s_prove_nothing();
    being_overwritten_at_once_is_no_failure();
    a_lost_answer_is_resolved_by_reading();
    an_error_inside_a_200_is_resolved_too();
    an_upload_that_is_gone_was_completed_or_is_lost();
    without_a_marker_etag_and_size_tell();
    a_server_in_trouble_is_given_some_seconds();
    lost_for_ever_is_an_error();
    a_refusal_is_final();
    a_server_that_keeps_conditions_is_told();
    for_one_that_does_not_we_look_first();
    return done_testing();
}
