/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "script.h"
#include "tap.h"

#define PAGE(x) "<ListBucketResult><KeyCount>1</KeyCount>" x "</ListBucketResult>"
#define PAGE_V1(x) "<ListBucketResult><Marker></Marker>" x "</ListBucketResult>"
#define OBJECT(key) "<Contents><Key>" key "</Key><Size>1</Size></Contents>"
#define PREFIX(key) "<CommonPrefixes><Prefix>" key "</Prefix></CommonPrefixes>"
#define MORE(token)                                                                                \
    "<IsTruncated>true</IsTruncated><NextContinuationToken>" token "</NextContinuationToken>"
#define TRUNCATED "<IsTruncated>true</IsTruncated>"

/* Everything a listing says, as "a b c "; "!CODE" at a failure. */
static void walk(
    struct s3pve_client *client,
    const char *prefix,
    const char *delimiter,
    const char *start,
    struct buf *out
) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_entry entry;
    struct s3pve_list *list = NULL;
    int rc = s3pve_list_open(client, prefix, delimiter, start, &list, NULL, &err);

    buf_clear(out);
    while (rc == 0 && (rc = s3pve_list_next(list, &entry, &err)) == 1) {
        buf_printf(out, "%s%s ", entry.key, entry.is_prefix ? "|" : "");
        rc = 0;
    }
    if (rc < 0)
        buf_printf(out, "!%s", s3pve_code_name(err.code));
    s3pve_list_close(list);
}

static void pages_follow_each_other(void) {
    const struct answer answers[] = {
        {200, .body = PAGE(MORE("t/1+=") OBJECT("pve/a") OBJECT("pve/b"))},
        {200, .body = PAGE(MORE("t2"))},
        {200, .body = PAGE(OBJECT("pve/c"))},
    };
    struct script script = {.answers = answers, .n_answers = 3};
    struct s3pve_client *client = script_client(&script, "prefix", "pve", NULL);
    _cleanup_(buf_clear) struct buf got = {0};

    walk(client, "", NULL, NULL, &got);
    is_str(buf_text(&got), "a b c ", "three pages, one of them empty, are one listing");
    is_int(script.n_sent, 3, "... in three requests");
    ok(strstr(script.sent[0].url, "list-type=2") && strstr(script.sent[0].url, "prefix=pve%2F"),
       "the client's prefix is asked for");
    ok(strstr(script.sent[0].url, "encoding-type=url"), "... and names that XML can carry");
    ok(!strstr(script.sent[0].url, "delimiter"), "... flat");
    ok(strstr(script.sent[1].url, "continuation-token=t%2F1%2B%3D"), "a token is sent encoded");
    ok(strstr(script.sent[2].url, "continuation-token=t2"), "... each once");
    s3pve_client_close(client);
    script_clear(&script);
}

static void one_level(void) {
    const struct answer answers[] = {
        {200, .body = PAGE(OBJECT("pve/dump/") OBJECT("pve/dump/a") PREFIX("pve/dump/x/"))},
    };
    struct script script = {.answers = answers, .n_answers = 1};
    struct s3pve_client *client = script_client(&script, "prefix", "pve", NULL);
    _cleanup_(buf_clear) struct buf got = {0};

    walk(client, "dump/", "/", "dump/0", &got);
    is_str(buf_text(&got), "dump/ dump/a dump/x/| ", "objects and prefixes, relative to ours");
    ok(strstr(script.sent[0].url, "delimiter=%2F"), "the delimiter is sent");
    ok(strstr(script.sent[0].url, "prefix=pve%2Fdump%2F"), "... with the whole prefix");
    ok(strstr(script.sent[0].url, "start-after=pve%2Fdump%2F0"), "... and where to start");
    s3pve_client_close(client);
    script_clear(&script);
}

static void the_next_page_is_under_way(void) {
    const struct answer answers[] = {
        {200, .body = PAGE(MORE("t1") OBJECT("a"))},
        {501, .take_ms = 3000},
        {200, .body = PAGE(OBJECT("b"))},
    };
    struct script script = {.answers = answers, .n_answers = 3};
    struct s3pve_client *client = script_client(&script, NULL);
    struct s3pve_list *list = NULL;
    struct s3pve_entry entry;

    s3pve_list_open(client, "", NULL, NULL, &list, NULL, NULL);
    is_int(s3pve_list_next(list, &entry, NULL), 1, "the first name");
    is_int(script.n_sent, 2, "... and the second page is being made");
    is_int(s3pve_list_next(list, &entry, NULL), 1, "a page asked for ahead may fail");
    is_str(entry.key, "b", "... and is asked for again");
    is_int(s3pve_list_next(list, &entry, NULL), 0, "then it is over");
    is_int(s3pve_list_next(list, &entry, NULL), 0, "... and stays so");
    s3pve_list_close(list);
    s3pve_client_close(client);
    script_clear(&script);
}

static void a_page_has_one_timeout(void) {
    static const unsigned late_ms[] = {0, 4000, 60000};
    const struct answer answers[] = {
        {200, .body = PAGE(MORE("t1") OBJECT("a"))}, {.hang = true}, {.hang = true}};

    for (size_t i = 0; i < sizeof(late_ms) / sizeof(late_ms[0]); i++) {
        struct script script = {.answers = answers, .n_answers = 3};
        struct s3pve_client *client = script_client(&script, NULL);
        struct s3pve_error err = S3PVE_ERROR_INIT;
        struct s3pve_list *list = NULL;
        struct s3pve_entry entry;
        int64_t began;

        s3pve_list_open(client, "", NULL, NULL, &list, NULL, NULL);
        s3pve_list_next(list, &entry, NULL);
        began = script.now_ms += late_ms[i];
        s3pve_list_next(list, &entry, &err);
        is_int(
            err.code, S3PVE_E_TIMEOUT, "a page that does not come, asked %u ms late", late_ms[i]
        );
        is_int(script.now_ms - began, 10000, "... is waited for no longer than one timeout");
        s3pve_list_close(list);
        s3pve_client_close(client);
        script_clear(&script);
    }
}

static void serve_endless(
    struct script *script, const struct sent *sent, struct answer *ret_answer
) {
    static char pages[2][200];
    char *page = pages[script->n_sent % 2];

    snprintf(page, sizeof(pages[0]), PAGE(MORE("t%u")), script->n_sent);
    *ret_answer = (struct answer){.status = 200, .body = page};
}

static void a_listing_without_end_ends(void) {
    struct script script = {.serve = serve_endless};
    struct s3pve_client *client = script_client(&script, NULL);
    _cleanup_(buf_clear) struct buf got = {0};

    walk(client, "", NULL, NULL, &got);
    is_str(buf_text(&got), "!CORRUPT", "a server that always has more is not heard for ever");
    is_int(script.n_sent, LIMIT_LIST_PAGES, "... but long");
    s3pve_client_close(client);
    script_clear(&script);
}

static void a_listing_can_be_left(void) {
    const struct answer answers[] = {
        {200, .body = PAGE(MORE("t1") OBJECT("a"))},
        {.hang = true},
    };
    struct script script = {.answers = answers, .n_answers = 2};
    struct s3pve_client *client = script_client(&script, NULL);
    struct s3pve_list *list = NULL;
    struct s3pve_entry entry;

    s3pve_list_open(client, "", NULL, NULL, &list, NULL, NULL);
    is_int(s3pve_list_next(list, &entry, NULL), 1, "one name is enough for some");
    ok(!s3pve_list_close(list), "the page under way is dropped");
    is_int(script.n_active, 0, "... and off the wire");
    ok(!s3pve_list_close(NULL), "nothing can be closed");
    s3pve_client_close(client);
    script_clear(&script);
}

static void servers_of_version_1(void) {
    const struct answer says_so[] = {
        {501, .body = "<Error><Code>NotImplemented</Code></Error>"},
        {200, .body = PAGE_V1(TRUNCATED OBJECT("a") OBJECT("b"))},
        {200, .body = PAGE_V1(OBJECT("c"))},
        {200, .body = PAGE_V1(OBJECT("z"))},
    };
    const struct answer ignores[] = {
        {200, .body = PAGE_V1(TRUNCATED OBJECT("0"))},
        {200, .body = PAGE_V1(TRUNCATED OBJECT("a") PREFIX("b/"))},
        {200, .body = PAGE_V1(OBJECT("c"))},
    };
    struct script script = {.answers = says_so, .n_answers = 4};
    struct s3pve_client *client = script_client(&script, NULL);
    _cleanup_(buf_clear) struct buf got = {0};

    walk(client, "", NULL, NULL, &got);
    is_str(buf_text(&got), "a b c ", "a server that refuses version 2 is asked in version 1");
    ok(strstr(script.sent[2].url, "marker=b"), "... which goes on after the last name");
    ok(!strstr(script.sent[2].url, "list-type"), "... and says nothing of version 2");
    walk(client, "", NULL, NULL, &got);
    is_int(script.n_sent, 4, "the next listing remembers");
    ok(!strstr(script.sent[3].url, "list-type"), "... and begins so");
    s3pve_client_close(client);
    script_clear(&script);

    script = (struct script){.answers = ignores, .n_answers = 3};
    client = script_client(&script, NULL);
    walk(client, "", "/", "0", &got);
    is_str(buf_text(&got), "a b/| c ", "one that ignores version 2 is noticed");
    ok(strstr(script.sent[1].url, "marker=0"), "... before it ignores where to start");
    ok(strstr(script.sent[2].url, "marker=b%2F"), "... and goes on after a prefix");
    s3pve_client_close(client);
    script_clear(&script);
}

static const struct {
    const char *what;
    struct answer answers[3];
    const char *want;
} failures[] = {
    {"a loop",
     {{200, .body = PAGE(MORE("t") OBJECT("a"))}, {200, .body = PAGE(MORE("t") OBJECT("b"))}},
     "a !CORRUPT"},
    {"a missing bucket", {{404, .body = "<Error><Code>NoSuchBucket</Code></Error>"}}, "!NO_BUCKET"},
    {"a bare 404", {{404, .body = NULL}}, "!NO_BUCKET"},
    {"a refusal", {{403, .body = "<Error><Code>AccessDenied</Code></Error>"}}, "!DENIED"},
    {"a wrong prefix", {{200, .body = PAGE(OBJECT("a"))}}, ""},
    {"an error within 200", {{200, .body = "<Error><Code>AccessDenied</Code></Error>"}}, "!DENIED"},
    {"a broken page in the middle",
     {{200, .body = PAGE(MORE("t") OBJECT("a"))},
      {200, .body = "<ListBucketResult><Contents/></ListBucketResult>"}},
     "a !CORRUPT"},
};

static void failures_are_told(void) {
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        struct script script = {.answers = failures[i].answers, .n_answers = 3};
        bool wrong_prefix = !*failures[i].want;
        struct s3pve_client *client = script_client(&script, NULL);
        _cleanup_(buf_clear) struct buf got = {0};

        walk(client, wrong_prefix ? "x/" : "", NULL, NULL, &got);
        is_str(
            buf_text(&got), wrong_prefix ? "!CORRUPT" : failures[i].want, "%s", failures[i].what
        );
        s3pve_client_close(client);
        script_clear(&script);
    }
}

static void questions_are_checked(void) {
    struct script script = {0};
    struct s3pve_client *client = script_client(&script, NULL);
    struct s3pve_list *list = NULL;
    char longest[1100];

    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    is_int(s3pve_list_open(client, "\xff", NULL, NULL, &list, NULL, NULL), -1, "a prefix is UTF-8");
    is_int(s3pve_list_open(client, longest, NULL, NULL, &list, NULL, NULL), -1, "... and no novel");
    ok(!list, "... or there is no listing");
    s3pve_client_close(client);
    script_clear(&script);
}

static void count_warnings(void *ctx, const struct s3pve_log_record *record) {
    *(int *)ctx += record->level == S3PVE_LOG_WARNING;
}

static void odd_names_are_left_out_and_told(void) {
    const struct answer answers[] = {
        {200, .body = PAGE("<EncodingType>url</EncodingType>" MORE("t") OBJECT("%ff") OBJECT("a"))},
        {200, .body = PAGE("<EncodingType>url</EncodingType>" OBJECT("%00") OBJECT("b"))},
    };
    struct script script = {.answers = answers, .n_answers = 2};
    int n_warnings = 0;
    struct s3pve_client *client = script_client_log(&script, count_warnings, &n_warnings);
    _cleanup_(buf_clear) struct buf got = {0};

    walk(client, "", NULL, NULL, &got);
    is_str(buf_text(&got), "a b ", "names that are no text do not spoil a listing");
    is_int(n_warnings, 1, "... but the log hears of them, once");
    s3pve_client_close(client);
    script_clear(&script);
}

int main(void) {
    pages_follow_each_other();
    one_level();
    the_next_page_is_under_way();
    a_page_has_one_timeout();
    a_listing_can_be_left();
    a_listing_without_end_ends();
    servers_of_version_1();
    failures_are_told();
    questions_are_checked();
    odd_names_are_left_out_and_told();
    return done_testing();
}
