/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "core/xml.h"
#include "tap.h"

static int collect(void *ctx, const char *path, const char *text) {
    return buf_printf(ctx, "%s=%s;", path, text);
}

static const struct {
    const char *file, *why;
} hostile[] = {
    {"billion-laughs.xml", ""},
    {"laughs-in-attribute.xml", ""},
    {"xxe-file.xml", "document type"},
    {"xxe-net.xml", "document type"},
    {"parameter-entity.xml", "document type"},
    {"undeclared-entity.xml", ""},
    {"deep.xml", "nested too deeply"},
    {"huge-text.xml", "too much text"},
    {"long-name.xml", "odd name"},
    {"nul.xml", "not text"},
    {"utf16.xml", "not text"},
    {"bad-utf8.xml", "not well-formed"},
    {"unknown-encoding.xml", "not well-formed"},
    {"control.xml", "not well-formed"},
    {"control-reference.xml", "not well-formed"},
    {"truncated.xml", "not well-formed"},
    {"trailing.xml", "not well-formed"},
    {"empty.xml", "empty"},
    {"html.xml", ""},
    {"prose.xml", "not well-formed"},
    {"json.xml", "not well-formed"},
};

static void hostile_documents_are_refused(void) {
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        _cleanup_(buf_clear) struct buf seen = {0};
        struct s3pve_error err = S3PVE_ERROR_INIT;
        char root[64] = "untouched";
        size_t len;
        _free_ char *data = tap_data("xml", hostile[i].file, &len);

        is_int(
            xml_walk(data, len, root, collect, &seen, &err), -1, "%s is refused", hostile[i].file
        );
        is_int(err.code, S3PVE_E_CORRUPT, "... as CORRUPT");
        ok(strstr(err.message, hostile[i].why), "... %s", err.message);
        is_str(root, "untouched", "... and nothing is returned");
        ok(!strstr(buf_text(&seen), "root:"), "... nor read from elsewhere");
        ok(seen.len < 64 << 10, "... nor blown up");
    }
}

static void harmless_documents_are_read(void) {
    _cleanup_(buf_clear) struct buf seen = {0};
    char root[64];
    size_t len;
    _free_ char *deep = tap_data("xml", "deep-16.xml", &len);

    is_int(xml_walk(deep, len, root, collect, &seen, NULL), 0, "16 levels are fine");
    buf_clear(&seen);
    free(deep);
    deep = tap_data("xml", "latin1.xml", &len);
    is_int(xml_walk(deep, len, root, collect, &seen, NULL), 0, "a declared encoding is understood");
    is_str(buf_text(&seen), "a/b=caf\xc3\xa9;a=;", "... and turned into UTF-8");
}

static const struct {
    const char *what, *xml, *want;
} documents[] = {
    {"nested elements", "<a><b>1</b><c><d>2</d></c></a>", "a/b=1;a/c/d=2;a/c=;a=;"},
    {"namespaces", "<x:a xmlns:x='urn:x'><x:b>1</x:b></x:a>", "a/b=1;a=;"},
    {"a default namespace", "<a xmlns='http://s3/'><b>1</b></a>", "a/b=1;a=;"},
    {"empty elements", "<a><b/><c></c></a>", "a/b=;a/c=;a=;"},
    {"white space between elements", "<a>\n <b>1</b>\n</a>\n", "a/b=1;a=;"},
    {"white space in text", "<a><b> 1 \n</b></a>", "a/b= 1 \n;a=;"},
    {"only white space", "<a><b>  </b></a>", "a/b=  ;a=;"},
    {"white space before the declaration's document", "\n\n<a><b>1</b></a>", "a/b=1;a=;"},
    {"the five built-in entities", "<a>&lt;&gt;&amp;&quot;&apos;</a>", "a=<>&\"';"},
    {"character references",
     "<a>&#x20ac;&#65;</a>",
     "a=\xe2\x82\xac"
     "A;"},
    {"CDATA", "<a><![CDATA[<b>&x;]]></a>", "a=<b>&x;;"},
    {"comments and instructions", "<?p x?><a><!-- c --><b>1<!-- d -->2</b></a>", "a/b=12;a=;"},
    {"attributes", "<a x='1'><b y='2'>3</b></a>", "a/b=3;a=;"},
};

static void documents_are_walked(void) {
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        _cleanup_(buf_clear) struct buf seen = {0};
        struct s3pve_error err = S3PVE_ERROR_INIT;
        const char *xml = documents[i].xml;
        char root[64];

        is_int(
            xml_walk(xml, strlen(xml), root, collect, &seen, &err),
            0,
            "%s: %s",
            documents[i].what,
            err.message
        );
        is_str(buf_text(&seen), documents[i].want, "... element by element");
        is_str(root, "a", "... below the root");
        is_int(xml_walk(xml, strlen(xml), NULL, NULL, NULL, NULL), 0, "... also unwatched");
    }
}

static int stop_at_b(void *ctx, const char *path, const char *text) {
    ++*(int *)ctx;
    return strcmp(path, "a/b") == 0;
}

static void a_walk_can_be_stopped(void) {
    const char *xml = "<a><b>1</b><b>2</b></a>";
    int n = 0;

    is_int(xml_walk(xml, strlen(xml), NULL, stop_at_b, &n, NULL), 0, "stopping is no failure");
    is_int(n, 1, "... and nothing more is told");
}

static void size_is_bounded(void) {
    size_t len = LIMIT_REPLY + 1;
    _free_ char *xml = malloc(len);

    memset(xml, ' ', len);
    memcpy(xml, "<a>", 3);
    memcpy(xml + len - 4, "</a>", 4);
    is_int(
        xml_walk(xml, len, NULL, NULL, NULL, NULL), -1, "a document beyond LIMIT_REPLY is refused"
    );
    memcpy(xml + 3, "<b>", 3);
    memcpy(xml + 6 + LIMIT_XML_TEXT, "</b>", 4);
    is_int(xml_walk(xml, 1000, NULL, NULL, NULL, NULL), -1, "a cut document is refused");
    memcpy(xml + 10 + LIMIT_XML_TEXT, "</a>", 4);
    is_int(
        xml_walk(xml, 14 + LIMIT_XML_TEXT, NULL, NULL, NULL, NULL),
        0,
        "text of LIMIT_XML_TEXT is fine"
    );
}

static void errors_are_read(void) {
    struct xml_error error;
    size_t len;
    _free_ char *data = tap_data("xml", "error.xml", &len);

    ok(xml_error_parse(data, len, &error), "an error document is one");
    is_str(error.code, "AuthorizationHeaderMalformed", "... its code");
    is_str(error.region, "garage", "... the region it wants");
    is_str(error.request_id, "tx0000-1", "... its request id");
    ok(!strchr(error.message, '\n'), "... a message of one line");
    is_str(error.endpoint, "", "... what is missing is \"\"");

    free(data);
    data = tap_data("xml", "error-truncated.xml", &len);
    ok(xml_error_parse(data, len, &error), "a cut error document still counts");
    is_str(error.code, "SlowDown", "... with what came");

    free(data);
    data = tap_data("xml", "error-response.xml", &len);
    ok(xml_error_parse(data, len, &error), "so does IAM's wrapping");
    is_str(error.code, "AccessDenied", "... with its code");
    is_str(error.request_id, "r-2", "... and the id outside");

    free(data);
    data = tap_data("xml", "html.xml", &len);
    ok(!xml_error_parse(data, len, &error), "a proxy's page is not an error document");
    ok(!xml_error_parse("<Error", 6, &error), "nor is a fragment");
    ok(!xml_error_parse("", 0, &error), "nor is nothing");
    free(data);
    data = tap_data("xml", "xxe-file.xml", &len);
    ok(!xml_error_parse(data, len, &error), "nor is one with a document type");
}

static void long_fields_are_cut(void) {
    _cleanup_(buf_clear) struct buf xml = {0};
    struct xml_error error;

    buf_str(&xml, "<Error><Code>");
    for (int i = 0; i < 500; i++)
        buf_str(&xml, "C");
    buf_str(&xml, "</Code></Error>");
    ok(xml_error_parse(xml.data, xml.len, &error), "a long code is read");
    is_int((long long)strlen(error.code), sizeof(error.code) - 1, "... and cut");
}

static void roots_are_told(void) {
    char root[64] = "untouched";
    const char *xml = "<?xml version='1.0'?><s3:CopyObjectResult xmlns:s3='u'><ETag>";

    is_int(xml_root(xml, strlen(xml), root), 0, "a document has a root before it has an end");
    is_str(root, "CopyObjectResult", "... without its namespace");
    is_int(xml_root("text", 4, root), -1, "text has none");
    is_int(xml_root("<!DOCTYPE a><a/>", 16, root), -1, "nor has one with a document type");
    is_str(root, "CopyObjectResult", "... and nothing is returned");
}

static void text_is_escaped(void) {
    _cleanup_(buf_clear) struct buf out = {0}, seen = {0};
    const char *text = "a<b>&\"c\"\t\n\xe2\x82\xac";

    is_int(xml_escape(&out, text), 0, "text is escaped");
    is_str(out.data, "a&lt;b&gt;&amp;&quot;c&quot;&#x9;&#xA;\xe2\x82\xac", "... as it should");
    buf_clear(&out);
    buf_str(&out, "<a>");
    xml_escape(&out, text);
    buf_str(&out, "</a>");
    xml_walk(out.data, out.len, NULL, collect, &seen, NULL);
    ok(strncmp(seen.data + 2, text, strlen(text)) == 0, "... and reads back the same");
}

int main(void) {
    hostile_documents_are_refused();
    harmless_documents_are_read();
    documents_are_walked();
    a_walk_can_be_stopped();
    size_is_bounded();
    errors_are_read();
    long_fields_are_cut();
    roots_are_told();
    text_is_escaped();
    return done_testing();
}
