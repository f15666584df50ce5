/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "core/list_page.h"
#include "tap.h"

static void a_page_of_aws(void) {
    _cleanup_(list_page_clear) struct list_page page = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    size_t len;
    _free_ char *data = tap_data("list", "aws.xml", &len);

    is_int(
        list_page_parse(data, len, "p/", &page, &err), 0, "AWS's answer is read %s", err.message
    );
    is_int((long long)page.n_entries, 3, "... two objects and a prefix");
    is_str(page.entries[0].key, "p/a b+c%41.iso", "a name is decoded once, and '+' stays");
    is_int((long long)page.entries[0].size, 5497558138880, "a size has 64 bits");
    is_int(page.entries[0].mtime, 1255369830, "a time is one");
    is_str(page.entries[0].etag, "fba9dede5f27731c9771645a39863328", "an ETag has no quotes");
    is_str(page.entries[0].storage_class, "STANDARD_IA", "a storage class");
    is_str(page.entries[1].key, "p/\xe2\x82\xac", "a name is UTF-8");
    is_str(page.entries[1].storage_class, "", "a missing class is \"\"");
    ok(page.entries[2].is_prefix && !page.entries[0].is_prefix, "a common prefix is marked");
    is_str(page.entries[2].key, "p/dump/", "... and named");
    ok(page.more, "there is more");
    is_str(page.token, "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=+", "the token is untouched");
    ok(!page.is_v1, "this is version 2");
}

static void the_least_there_can_be(void) {
    _cleanup_(list_page_clear) struct list_page page = {0};
    size_t len;
    _free_ char *data = tap_data("list", "minimal.xml", &len);

    is_int(list_page_parse(data, len, "", &page, NULL), 0, "Key and Size alone will do");
    is_str(page.entries[0].key, "p/a%20b", "names are decoded only when that was said");
    is_int(page.entries[0].mtime, 0, "no time");
    is_str(page.entries[0].etag, "", "no ETag");
    ok(!page.more, "without IsTruncated and a token this is all");
    ok(!page.is_v1, "and nobody said version 1");
    list_page_clear(&page);
    is_int(list_page_parse("<ListBucketResult/>", 19, "", &page, NULL), 0, "nothing is fine");
    is_int((long long)page.n_entries, 0, "... no entries");
    ok(!page.more && !*page.token && !*page.marker, "... and no more");
}

static void version_1(void) {
    _cleanup_(list_page_clear) struct list_page page = {0};
    const char *with_next =
        "<ListBucketResult><Marker/><IsTruncated>true</IsTruncated>"
        "<EncodingType>url</EncodingType><NextMarker>a%2Fb</NextMarker>"
        "</ListBucketResult>";
    size_t len;
    _free_ char *data = tap_data("list", "v1.xml", &len);

    is_int(list_page_parse(data, len, "p/", &page, NULL), 0, "version 1 is read");
    ok(page.is_v1, "... and noticed");
    is_str(page.marker, "p/c", "it goes on after the last name, decoded");
    is_str(page.entries[2].key, "p/b d/", "a prefix is decoded");
    list_page_clear(&page);
    is_int(list_page_parse(with_next, strlen(with_next), "", &page, NULL), 0, "NextMarker is read");
    is_str(page.marker, "a/b", "... and decoded");
}

#define LIST(x) "<ListBucketResult>" x "</ListBucketResult>"
#define OBJECT(key, size) "<Contents><Key>" key "</Key><Size>" size "</Size></Contents>"

static const struct {
    const char *what, *xml, *why;
} bad[] = {
    {"a size with a sign", LIST(OBJECT("p/a", "-1")), "no number"},
    {"an empty size", LIST(OBJECT("p/a", "")), "no number"},
    {"a size with a unit", LIST(OBJECT("p/a", "1k")), "no number"},
    {"a size beyond 63 bits", LIST(OBJECT("p/a", "9223372036854775808")), "no number"},
    {"a size beyond 64 bits", LIST(OBJECT("p/a", "99999999999999999999")), "no number"},
    {"no name", LIST("<Contents><Size>1</Size></Contents>"), "without a name"},
    {"no size", LIST("<Contents><Key>p/a</Key></Contents>"), "without a size"},
    {"a name from elsewhere", LIST(OBJECT("q/a", "1")), "outside of the prefix"},
    {"a prefix from elsewhere",
     LIST("<CommonPrefixes><Prefix>q/</Prefix></CommonPrefixes>"),
     "outside"},
    {"another document", "<Buckets/>", "not a listing"},
    {"a cut document", "<ListBucketResult>" OBJECT("p/a", "1"), "not well-formed"},
    {"nothing", "", "empty"},
    {"a name of the previous object",
     LIST(OBJECT("p/a", "1") "<Contents><Size>1</Size></Contents>"),
     "without a name"},
};

static void bad_pages_are_refused(void) {
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct list_page page = {0};
        struct s3pve_error err = S3PVE_ERROR_INIT;

        is_int(
            list_page_parse(bad[i].xml, strlen(bad[i].xml), "p/", &page, &err),
            -1,
            "%s is refused",
            bad[i].what
        );
        is_int(err.code, S3PVE_E_CORRUPT, "... as CORRUPT");
        ok(strstr(err.message, bad[i].why), "... %s", err.message);
        ok(!page.entries && !page.text, "... and nothing is returned");
    }
}

static const struct {
    const char *xml, *key; /* NULL: left out */
} names[] = {
    {"%41", "A"},
    {"%e2%82%ac", "\xe2\x82\xac"},
    {"%", "%"},
    {"%4", "%4"},
    {"%4x", "%4x"},
    {"%zz%41", "%zzA"},
    {"%2", "%2"},
    {"%2541", "%41"},
    {"a+b", "a+b"},
    {"%0A", "\n"},
    {"", ""},
    {"a%00b", NULL},
    {"%ff", NULL},
    {"%c0%af", NULL},
};

static void names_are_decoded(void) {
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        _cleanup_(list_page_clear) struct list_page page = {0};
        char xml[256];

        snprintf(
            xml,
            sizeof(xml),
            LIST("<EncodingType>url</EncodingType>" OBJECT("%s", "1")),
            names[i].xml
        );
        is_int(list_page_parse(xml, strlen(xml), "", &page, NULL), 0, "'%s' is read", names[i].xml);
        if (names[i].key)
            is_str(page.n_entries ? page.entries[0].key : NULL, names[i].key, "... as its name");
        else
            ok(page.n_entries == 0 && page.n_odd == 1, "... and left out, being no text");
    }
}

static void pages_are_bounded(void) {
    _cleanup_(buf_clear) struct buf xml = {0};
    _cleanup_(list_page_clear) struct list_page page = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    buf_str(&xml, "<ListBucketResult>");
    for (int i = 0; i < LIMIT_LIST_ENTRIES; i++)
        buf_printf(&xml, OBJECT("%d", "%d"), i, i);
    buf_str(&xml, "</ListBucketResult>");
    is_int(list_page_parse(xml.data, xml.len, "", &page, NULL), 0, "a generous server is heard");
    is_int((long long)page.n_entries, LIMIT_LIST_ENTRIES, "... in full");
    is_str(page.entries[LIMIT_LIST_ENTRIES - 1].key, "19999", "... to the last name");
    ok(page.more, "a full page without IsTruncated may not be the last");

    xml.len -= strlen("</ListBucketResult>");
    buf_str(&xml, OBJECT("x", "1") "</ListBucketResult>");
    list_page_clear(&page);
    is_int(list_page_parse(xml.data, xml.len, "", &page, &err), -1, "an endless one is not");
    ok(strstr(err.message, "far more names"), "... %s", err.message);
}

static void tokens_are_bounded(void) {
    _cleanup_(list_page_clear) struct list_page page = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char token[LIMIT_TOKEN + 2], xml[sizeof(token) + 200];

    for (int more = 0; more < 2; more++) {
        memset(token, 'x', sizeof(token));
        token[LIMIT_TOKEN + more] = '\0';
        snprintf(
            xml,
            sizeof(xml),
            LIST("<IsTruncated>true</IsTruncated>"
                 "<NextContinuationToken>%s</NextContinuationToken>"),
            token
        );
        list_page_clear(&page);
        is_int(
            list_page_parse(xml, strlen(xml), "", &page, &err),
            more ? -1 : 0,
            "%s",
            more ? "... and refused beyond the bound" : "a long token is taken"
        );
    }
    ok(strstr(err.message, "token"), "... %s", err.message);
}

static void truncation(void) {
    static const struct {
        const char *xml;
        bool more;
    } cases[] = {
        {LIST("<IsTruncated>false</IsTruncated><NextContinuationToken>t</NextContinuationToken>"),
         false},
        {LIST("<NextContinuationToken>t</NextContinuationToken>"), true},
        {LIST("<IsTruncated>true</IsTruncated>"), true},
        {LIST("<NextMarker>m</NextMarker>"), true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_(list_page_clear) struct list_page page = {0};

        list_page_parse(cases[i].xml, strlen(cases[i].xml), "", &page, NULL);
        ok(page.more == cases[i].more,
           "%s means %s",
           cases[i].xml,
           cases[i].more ? "more" : "the end");
    }
}

int main(void) {
    a_page_of_aws();
    the_least_there_can_be();
    version_1();
    bad_pages_are_refused();
    names_are_decoded();
    pages_are_bounded();
    tokens_are_bounded();
    truncation();
    return done_testing();
}
