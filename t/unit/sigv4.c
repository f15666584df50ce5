/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The signer against three sets of vectors (t/data/sigv4/SOURCE.txt), which are read into one
 * struct of facts; then what no vector says.
 */
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "core/sigv4.h"
#include "tap.h"

#define DATA "t/data/sigv4/"
#define PAIRS 24
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define MAY_24_2013 1369353600

struct facts {
    struct sigv4_request rq;
    struct sigv4_scope scope;
    struct sigv4_pair query[PAIRS], headers[PAIRS];
    const char *access_key, *secret, *token;
    char stamp[17], hash[65];
};

static json_t *load_json(const char *path) {
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);

    if (!json)
        bail_out("%s: %s", path, error.text);
    return json;
}

static const char *text_of(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

/* A whole small file; the test ends when there is none. */
static char *load_text(const char *folder, const char *name) {
    char path[512], *data = calloc(1, 65536);
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "re");
    if (!file || fread(data, 1, 65535, file) == 0)
        bail_out("cannot read %s", path);
    fclose(file);
    return data;
}

static void add_header(struct facts *f, const char *name, const char *value) {
    f->headers[f->rq.n_headers++] = (struct sigv4_pair){name, value};
}

static void finish_facts(struct facts *f) {
    f->rq.query = f->query;
    f->rq.headers = f->headers;
    sigv4_timestamp(f->scope.time_s, f->stamp);
}

static char *authorization(const struct facts *f) {
    struct sigv4_key key;
    struct buf out = {0};

    if (sigv4_derive(&key, f->secret, &f->scope) < 0 ||
        sigv4_authorization(&f->rq, &f->scope, f->access_key, &key, &out) < 0)
        buf_clear(&out);
    return buf_steal(&out);
}

static char *canonical(const struct facts *f) {
    struct buf out = {0};

    sigv4_canonical(&f->rq, &out);
    return buf_steal(&out);
}

static char *string_to_sign(const struct facts *f) {
    _free_ char *text = canonical(f);
    struct buf out = {0};

    sigv4_string_to_sign(&f->scope, text, &out);
    return buf_steal(&out);
}

static const char *signature_in(const char *text) {
    const char *found = text ? strstr(text, "Signature=") : NULL;

    return found ? found + strlen("Signature=") : "(none)";
}

/* ---- aws-c-auth: the request as text, the path raw */

static void percent_decode(char *text) {
    char *to = text, hex[3] = "";

    for (const char *from = text; *from; from++) {
        if (*from == '%') {
            memcpy(hex, from + 1, 2);
            from += 2;
            *to++ = (char)strtol(hex, NULL, 16);
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

static void parse_query(struct facts *f, char *query) {
    for (char *pair; (pair = strsep(&query, "&"));) {
        char *value = pair;
        const char *name = strsep(&value, "=");

        percent_decode(pair);
        if (value)
            percent_decode(value);
        f->query[f->rq.n_query++] = (struct sigv4_pair){name, value};
    }
}

/* "GET /path?query HTTP/1.1"; the path may hold spaces. */
static void parse_request_line(struct facts *f, char *line, struct buf *path) {
    char *target, *query, *version = strrchr(line, ' ');

    *version = '\0';
    target = strchr(line, ' ');
    *target++ = '\0';
    query = strchr(target, '?');
    if (query)
        *query++ = '\0';
    f->rq.method = line;
    sigv4_encode(path, target, strlen(target), true);
    f->rq.path = path->data;
    if (query)
        parse_query(f, query);
}

/* Consumes @text: names and values point into it.  Returns the body. */
static char *parse_request(struct facts *f, char *text, struct buf *path) {
    char *line = strsep(&text, "\n");

    parse_request_line(f, line, path);
    while ((line = strsep(&text, "\n")) && *line) {
        char *value = line;

        if (*line == ' ') { /* folded: join it to the line before */
            line[-1] = '\n';
            continue;
        }
        strsep(&value, ":");
        add_header(f, line, value);
    }
    return text ? text : "";
}

static void apply_context(struct facts *f, const json_t *context, char *body) {
    const json_t *creds = json_object_get(context, "credentials");
    const bool omit = json_is_true(json_object_get(context, "omit_session_token"));
    const struct iovec iov = {body, strlen(body)};

    f->access_key = text_of(creds, "access_key_id");
    f->secret = text_of(creds, "secret_access_key");
    f->token = omit ? NULL : text_of(creds, "token");
    f->scope.region = text_of(context, "region");
    f->scope.service = text_of(context, "service");
    clock_parse_iso8601(text_of(context, "timestamp"), &f->scope.time_s);
    finish_facts(f);
    sigv4_hash(&iov, 1, f->hash);
    f->rq.payload_hash = f->hash;
}

static char *presigned(const struct facts *f) {
    struct sigv4_key key;
    struct buf out = {0};

    sigv4_derive(&key, f->secret, &f->scope);
    sigv4_presign(&f->rq, &f->scope, f->access_key, f->token, &key, 3600, &out);
    return buf_steal(&out);
}

static void compare(const struct facts *f, const char *folder, const char *name, bool want) {
    _free_ char *creq = canonical(f), *sts = string_to_sign(f), *authz = authorization(f);
    _free_ char *want_creq = load_text(folder, "header-canonical-request.txt");
    _free_ char *want_sts = load_text(folder, "header-string-to-sign.txt");
    _free_ char *want_signature = load_text(folder, "header-signature.txt");

    if (!want) {
        ok(strcmp(signature_in(authz), want_signature) != 0, "%s: the path stays as it is", name);
        return;
    }
    is_str(creq, want_creq, "%s: canonical request", name);
    is_str(sts, want_sts, "%s: string to sign", name);
    is_str(signature_in(authz), want_signature, "%s: signature", name);
}

static void aws_case(const char *folder, const char *name, bool want) {
    _cleanup_(buf_clear) struct buf path = {0}, context_path = {0};
    _free_ char *text = load_text(folder, "request.txt");
    _free_ char *query_signature = load_text(folder, "query-signature.txt");
    struct facts f = {0};
    json_t *context;

    buf_printf(&context_path, "%s/context.json", folder);
    context = load_json(context_path.data);
    apply_context(&f, context, parse_request(&f, text, &path));

    _free_ char *url = presigned(&f);
    const bool same = strcmp(signature_in(url), query_signature) == 0;

    is_int(same, want, "%s: signature of the URL %s", name, want ? "matches" : "differs");
    add_header(&f, "X-Amz-Date", f.stamp);
    if (f.token)
        add_header(&f, "X-Amz-Security-Token", f.token);
    if (json_is_true(json_object_get(context, "sign_body")))
        add_header(&f, "x-amz-content-sha256", f.hash);
    compare(&f, folder, name, want);
    json_decref(context);
}

/* Is @name a line of its own in @list? */
static bool is_listed(const char *list, const char *name) {
    const size_t len = strlen(name);

    for (const char *p = list; (p = strstr(p, name)); p += len) {
        if ((p == list || p[-1] == '\n') && p[len] == '\n')
            return true;
    }
    return false;
}

static void aws_test_suite(void) {
    _free_ char *differ = load_text(DATA "aws-c-auth", "S3-MODE.txt");
    DIR *dir = opendir(DATA "aws-c-auth");
    unsigned n_same = 0, n_differ = 0;

    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        _cleanup_(buf_clear) struct buf folder = {0};
        const bool want = !is_listed(differ, entry->d_name);

        if (strncmp(entry->d_name, "get-", 4) != 0 && strncmp(entry->d_name, "post-", 5) != 0)
            continue;
        buf_printf(&folder, DATA "aws-c-auth/%s", entry->d_name);
        aws_case(folder.data, entry->d_name, want);
        want ? n_same++ : n_differ++;
    }
    closedir(dir);
    is_int(n_same, 32, "32 vectors of AWS's suite were to match");
    is_int(n_differ, 6, "6 of them normalise the path and were not to match");
}

/* ---- the examples of the S3 reference */

static void compare_json(const struct facts *f, const json_t *want, const char *name) {
    _free_ char *creq = canonical(f), *sts = string_to_sign(f), *authz = authorization(f);

    is_str(creq, text_of(want, "canonical_request"), "%s: canonical request", name);
    is_str(sts, text_of(want, "string_to_sign"), "%s: string to sign", name);
    is_str(signature_in(authz), text_of(want, "signature"), "%s: signature", name);
}

/* The table gives the query in canonical form only. */
static void doc_query(struct facts *f, const char *name) {
    if (strcmp(name, "get-bucket-lifecycle") == 0)
        f->query[f->rq.n_query++] = (struct sigv4_pair){"lifecycle", NULL};
    if (strcmp(name, "list-objects-v1") == 0) {
        f->query[f->rq.n_query++] = (struct sigv4_pair){"prefix", "J"};
        f->query[f->rq.n_query++] = (struct sigv4_pair){"max-keys", "2"};
    }
}

static void doc_presigned(struct facts *f, const json_t *want, const char *name) {
    struct sigv4_key key;
    _cleanup_(buf_clear) struct buf out = {0};
    const char *query = strchr(text_of(want, "url"), '?') + 1;

    sigv4_derive(&key, SECRET, &f->scope);
    f->rq.payload_hash = NULL;
    is_int(
        sigv4_presign(&f->rq, &f->scope, f->access_key, NULL, &key, 86400, &out),
        0,
        "%s: can be signed",
        name
    );
    is_str(buf_text(&out), query, "%s: the whole query string", name);
}

static void doc_case(const char *name, json_t *want) {
    struct facts f = {.scope = {"us-east-1", "s3", MAY_24_2013}, .secret = SECRET};
    const char *header;
    json_t *value;

    f.access_key = "AKIAIOSFODNN7EXAMPLE";
    f.rq.method = text_of(want, "method");
    f.rq.path = text_of(want, "canonical_uri");
    f.rq.payload_hash = text_of(want, "payload_hash");
    json_object_foreach(json_object_get(want, "headers"), header, value)
        add_header(&f, header, json_string_value(value));
    doc_query(&f, name);
    finish_facts(&f);

    if (strcmp(name, "presigned-get") == 0)
        doc_presigned(&f, want, name);
    else
        compare_json(&f, want, name);
}

static void s3_reference(void) {
    json_t *cases = load_json(DATA "aws-s3-docs/s3-doc-examples.json"), *value;
    const char *name;
    unsigned n = 0;

    json_object_foreach(cases, name, value) {
        if (*name == '_')
            continue;
        doc_case(name, value);
        n++;
    }
    is_int(n, 7, "7 examples of the S3 reference");
    json_decref(cases);
}

/* ---- ports, hostile keys, tokens: raw path and raw query */

static void edge_facts(struct facts *f, const json_t *want, char host[256], struct buf *path) {
    const char *raw = text_of(want, "raw_path"), *header;
    json_t *value;
    size_t i;

    sscanf(strstr(text_of(want, "url"), "//") + 2, "%255[^/?]", host);
    sigv4_encode(path, raw, strlen(raw), true);
    f->rq.path = path->data;
    f->rq.method = text_of(want, "method");
    f->rq.payload_hash = text_of(want, "payload_hash");
    f->token = text_of(want, "session_token");
    json_array_foreach(json_object_get(want, "raw_query"), i, value) {
        f->query[f->rq.n_query++] = (struct sigv4_pair
        ){json_string_value(json_array_get(value, 0)), json_string_value(json_array_get(value, 1))};
    }
    json_object_foreach(json_object_get(want, "extra_headers"), header, value)
        add_header(f, header, json_string_value(value));
    add_header(f, "Host", host);
    add_header(f, "X-Amz-Content-SHA256", f->rq.payload_hash);
    if (f->token)
        add_header(f, "X-Amz-Security-Token", f->token);
}

static void edge_case(const char *name, json_t *want) {
    struct facts f = {.secret = SECRET, .access_key = "AKIAIOSFODNN7EXAMPLE"};
    _cleanup_(buf_clear) struct buf path = {0};
    char host[256] = "";

    f.scope = (struct sigv4_scope){text_of(want, "region"), "s3", MAY_24_2013};
    edge_facts(&f, want, host, &path);
    finish_facts(&f);
    add_header(&f, "X-Amz-Date", f.stamp);

    _free_ char *authz = authorization(&f);

    compare_json(&f, want, name);
    is_str(authz, text_of(want, "authorization"), "%s: the whole Authorization header", name);
}

static void edge_cases(void) {
    json_t *cases = load_json(DATA "s3-edge/s3-edge-cases.json"), *value;
    const char *name;
    unsigned n = 0;

    json_object_foreach(cases, name, value) {
        if (*name == '_')
            continue;
        edge_case(name, value);
        n++;
    }
    is_int(n, 15, "15 edge cases");
    json_decref(cases);
}

/* ---- what no vector says */

static void encoding(void) {
    _cleanup_(buf_clear) struct buf out = {0}, small = {.max = 8};
    char all[256];
    size_t n_plain = 0;

    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    sigv4_encode(&out, all, sizeof(all), false);
    for (size_t i = 0; i < out.len; i++)
        n_plain += out.data[i] == '%' ? 0 : 1;
    is_int(out.len, 66 + 190 * 3, "66 bytes of 256 go as they are, 190 are encoded");
    is_str(out.data + 66 + 190 * 3 - 6, "%FE%FF", "... in upper case, bytes above 127 too");
    is_int(n_plain, 66 + 190 * 2, "... each once");

    buf_clear(&out);
    sigv4_encode(&out, "a/b", 3, false);
    is_str(buf_text(&out), "a%2Fb", "a slash in a query is encoded");
    buf_clear(&out);
    is_int(sigv4_encode(&out, "", 0, true), 0, "nothing encodes to nothing");
    is_str(buf_text(&out), "", "... indeed");

    buf_str(&small, "abc");
    is_int(sigv4_encode(&small, "de  ", 4, true), -1, "a bounded buffer may be too small");
    is_str(buf_text(&small), "abc", "... and is as it was then");
}

static void hashing(void) {
    char data[] = "The quick brown fox jumps over the lazy dog";
    const struct iovec whole = {data, strlen(data)};
    const struct iovec pieces[] = {{data, 1}, {data + 1, 0}, {data + 1, 20}, {data + 21, 22}};
    char one[65], four[65];

    sigv4_hash(NULL, 0, one);
    is_str(one, SIGV4_EMPTY, "no data at all has the empty hash");
    sigv4_hash(&whole, 1, one);
    is_str(
        one, "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592", "a known digest"
    );
    sigv4_hash(pieces, 4, four);
    is_str(four, one, "pieces hash like the whole");
}

static void timestamps(void) {
    char stamp[17];

    sigv4_timestamp(MAY_24_2013, stamp);
    is_str(stamp, "20130524T000000Z", "a timestamp");
    sigv4_timestamp(MAY_24_2013 - 1, stamp);
    is_str(stamp, "20130523T235959Z", "the second before is the day before");
    sigv4_timestamp(INT64_MAX, stamp);
    is_str(stamp, "99991231T235959Z", "a mad clock gives a timestamp still");
    sigv4_timestamp(INT64_MIN, stamp);
    is_str(stamp, "19700101T000000Z", "... in both directions");
}

static void keys(void) {
    const struct sigv4_scope scope = {"us-east-1", "s3", MAY_24_2013};
    const struct sigv4_scope later = {"us-east-1", "s3", MAY_24_2013 + 86399};
    const struct sigv4_scope tomorrow = {"us-east-1", "s3", MAY_24_2013 + 86400};
    const struct sigv4_scope elsewhere = {"us-east-2", "s3", MAY_24_2013};
    static const unsigned char published[32] = {0xdb, 0xb8, 0x93, 0xac, 0xc0, 0x10, 0x96, 0x49,
                                                0x18, 0xf1, 0xfd, 0x43, 0x3a, 0xdd, 0x87, 0xc7,
                                                0x0e, 0x8b, 0x0d, 0xb6, 0xbe, 0x30, 0xc1, 0xfb,
                                                0xea, 0xfe, 0xfa, 0x5e, 0xc6, 0xba, 0x83, 0x78};
    struct sigv4_key key, zero = {0};

    is_int(sigv4_derive(&key, SECRET, &scope), 0, "a key can be derived");
    ok(memcmp(key.key, published, 32) == 0, "... and is the one AWS published");
    ok(sigv4_key_fits(&key, &scope), "it fits the scope it was derived for");
    ok(sigv4_key_fits(&key, &later), "... until the day ends");
    ok(!sigv4_key_fits(&key, &tomorrow), "... not the next day");
    ok(!sigv4_key_fits(&key, &elsewhere), "... nor another region");
    sigv4_key_wipe(&key);
    ok(memcmp(&key, &zero, sizeof(key)) == 0, "a wiped key is all zeroes");
    ok(!sigv4_key_fits(&key, &scope), "... and fits nothing");
}

static void refusals(void) {
    const struct sigv4_scope scope = {"us-east-1", "s3", MAY_24_2013};
    const struct sigv4_scope tomorrow = {"us-east-1", "s3", MAY_24_2013 + 86400};
    const struct sigv4_pair host = {"host", "h"};
    const struct sigv4_request rq = {.method = "GET", .path = "", .headers = &host, .n_headers = 1};
    char region[65] = "", secret[4098] = "";
    const struct sigv4_scope far = {region, "s3", MAY_24_2013};
    _cleanup_(buf_clear) struct buf out = {0};
    struct sigv4_key key;

    memset(region, 'r', 64);
    memset(secret, 's', 4097);
    is_int(sigv4_derive(&key, SECRET, &far), -1, "a region of 64 characters is refused");
    is_int(sigv4_derive(&key, secret, &scope), -1, "a secret of 4097 characters is refused");
    secret[4096] = '\0';
    is_int(sigv4_derive(&key, secret, &scope), 0, "one of 4096 is not");
    is_int(sigv4_authorization(&rq, &tomorrow, "AK", &key, &out), -1, "yesterday's key is refused");
    is_int(sigv4_presign(&rq, &scope, "AK", NULL, &key, 0, &out), -1, "so is a URL for 0 s");
    is_int(sigv4_presign(&rq, &scope, "AK", NULL, &key, 604801, &out), -1, "... or over a week");
    is_int(sigv4_presign(&rq, &scope, "AK", NULL, &key, 604800, &out), 0, "a week is possible");
    is_int(out.data && strncmp(out.data, "X-Amz-Algorithm=", 16), 0, "... and starts as expected");
}

int main(void) {
    aws_test_suite();
    s3_reference();
    edge_cases();
    encoding();
    hashing();
    timestamps();
    keys();
    refusals();
    return done_testing();
}
