/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 *     request -> canonical request -> string to sign -> signature
 *
 * Query parameters and headers go through the same table: rewritten into their canonical form, then
 * sorted.  Its texts live in one buffer, so a row holds offsets, not pointers.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "core/sigv4.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define LIFETIME_MAX_S 604800    /* a presigned URL lives at most a week [S3] */
#define PRESIGN_PARAMETERS 6     /* those that presigning adds before the signature */
#define YEAR_9999_S 253402300799 /* the last second a timestamp of four digits can say */

static const char hex_digits[] = "0123456789abcdef";

struct row {
    size_t name, value; /* offsets into text */
    size_t index;       /* where the caller had it: headers of one name keep their order */
};

struct table {
    struct buf text;
    struct row *rows; /* owned */
    size_t n_rows;
};

static void table_clear(struct table *table) {
    buf_clear(&table->text);
    free(table->rows);
}

static const char *name_of(const struct table *table, size_t i) {
    return table->text.data + table->rows[i].name;
}

static const char *value_of(const struct table *table, size_t i) {
    return table->text.data + table->rows[i].value;
}

static int by_name_value(const void *a, const void *b, void *text) {
    const struct row *left = a, *right = b;
    int order = strcmp((char *)text + left->name, (char *)text + right->name);

    return order ? order : strcmp((char *)text + left->value, (char *)text + right->value);
}

static int by_name_index(const void *a, const void *b, void *text) {
    const struct row *left = a, *right = b;
    int order = strcmp((char *)text + left->name, (char *)text + right->name);

    return order ? order : (left->index > right->index) - (left->index < right->index);
}

static bool is_unreserved(unsigned char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

int sigv4_encode(struct buf *out, const char *text, size_t len, bool keep_slash) {
    static const char hex_upper[] = "0123456789ABCDEF";
    const size_t before = out->len;
    size_t start = 0;
    bool good = true;

    for (size_t i = 0; i <= len && good; i++) {
        const unsigned char c = i < len ? (unsigned char)text[i] : '\0';

        if (i < len && (is_unreserved(c) || (c == '/' && keep_slash)))
            continue;
        good = buf_add(out, text + start, i - start) == 0;
        if (good && i < len)
            good = buf_add(out, (char[]){'%', hex_upper[c >> 4], hex_upper[c & 15]}, 3) == 0;
        start = i + 1;
    }
    if (good)
        return 0;

    out->len = before;
    if (out->data)
        out->data[before] = '\0';
    return -1;
}

/* Adds the terminating zero too, so that offsets are strings. */
static int add_encoded(struct buf *text, const char *raw) {
    return sigv4_encode(text, raw, strlen(raw), false) < 0 || buf_add(text, "", 1) < 0 ? -1 : 0;
}

static int add_lower(struct buf *text, const char *name) {
    const size_t len = strlen(name), start = text->len;

    if (buf_add(text, name, len + 1) < 0)
        return -1;
    for (size_t i = start; i < start + len; i++) {
        const char c = text->data[i];

        text->data[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    return 0;
}

/* White space at the ends goes, a run of it inside becomes one space; folded lines as well. */
static int add_trimmed(struct buf *text, const char *value) {
    static const char space[] = " \t\r\n";
    const size_t start = text->len;

    while (*(value += strspn(value, space))) {
        const size_t word = strcspn(value, space);

        if (text->len > start && buf_add(text, " ", 1) < 0)
            return -1;
        if (buf_add(text, value, word) < 0)
            return -1;
        value += word;
    }
    return buf_add(text, "", 1);
}

static int table_fill(
    struct table *table,
    const struct sigv4_pair *pairs,
    size_t n_pairs,
    int (*add_name)(struct buf *, const char *),
    int (*add_value)(struct buf *, const char *)
) {
    table->rows = calloc(n_pairs + 1, sizeof(*table->rows));
    if (!table->rows)
        return -1;

    for (; table->n_rows < n_pairs; table->n_rows++) {
        struct row *row = &table->rows[table->n_rows];
        const struct sigv4_pair *pair = &pairs[table->n_rows];

        row->index = table->n_rows;
        row->name = table->text.len;
        if (add_name(&table->text, pair->name) < 0)
            return -1;
        row->value = table->text.len;
        if (add_value(&table->text, pair->value ? pair->value : "") < 0)
            return -1;
    }
    return 0;
}

static int table_query(struct table *table, const struct sigv4_pair *query, size_t n_query) {
    if (table_fill(table, query, n_query, add_encoded, add_encoded) < 0)
        return -1;

    qsort_r(table->rows, table->n_rows, sizeof(*table->rows), by_name_value, table->text.data);
    return 0;
}

static int table_headers(struct table *table, const struct sigv4_pair *headers, size_t n_headers) {
    if (table_fill(table, headers, n_headers, add_lower, add_trimmed) < 0)
        return -1;

    qsort_r(table->rows, table->n_rows, sizeof(*table->rows), by_name_index, table->text.data);
    return 0;
}

static int add_query(const struct table *query, struct buf *out) {
    for (size_t i = 0; i < query->n_rows; i++) {
        const char *and = i ? "&" : "";

        if (buf_printf(out, "%s%s=%s", and, name_of(query, i), value_of(query, i)) < 0)
            return -1;
    }
    return 0;
}

static bool repeats(const struct table *headers, size_t i) {
    return i && strcmp(name_of(headers, i - 1), name_of(headers, i)) == 0;
}

static int add_headers(const struct table *headers, struct buf *out) {
    for (size_t i = 0; i < headers->n_rows; i++) {
        const char *value = value_of(headers, i);
        int rc;

        if (repeats(headers, i))
            rc = buf_printf(out, ",%s", value);
        else
            rc = buf_printf(out, "%s%s:%s", i ? "\n" : "", name_of(headers, i), value);
        if (rc < 0)
            return -1;
    }
    return headers->n_rows ? buf_str(out, "\n") : 0;
}

static int add_signed_names(const struct table *headers, struct buf *out) {
    for (size_t i = 0; i < headers->n_rows; i++) {
        if (repeats(headers, i))
            continue;
        if (buf_printf(out, "%s%s", i ? ";" : "", name_of(headers, i)) < 0)
            return -1;
    }
    return 0;
}

static int add_canonical(
    const struct sigv4_request *rq,
    const struct table *query,
    const struct table *headers,
    struct buf *out
) {
    const char *path = rq->path && *rq->path ? rq->path : "/";
    const char *hash = rq->payload_hash ? rq->payload_hash : SIGV4_UNSIGNED;

    if (buf_printf(out, "%s\n%s\n", rq->method, path) < 0 || add_query(query, out) < 0)
        return -1;
    if (buf_str(out, "\n") < 0 || add_headers(headers, out) < 0 || buf_str(out, "\n") < 0)
        return -1;
    return add_signed_names(headers, out) < 0 || buf_printf(out, "\n%s", hash) < 0 ? -1 : 0;
}

int sigv4_canonical(const struct sigv4_request *rq, struct buf *out) {
    _cleanup_(table_clear) struct table query = {0}, headers = {0};

    if (table_query(&query, rq->query, rq->n_query) < 0 ||
        table_headers(&headers, rq->headers, rq->n_headers) < 0)
        return -1;
    return add_canonical(rq, &query, &headers, out);
}

void sigv4_timestamp(int64_t time_s, char ret_stamp[17]) {
    const int64_t floored = time_s < 0 ? 0 : time_s;
    const time_t t = floored > YEAR_9999_S ? YEAR_9999_S : floored;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(ret_stamp, 17, "%Y%m%dT%H%M%SZ", &tm);
}

static void scope_date(const struct sigv4_scope *scope, char ret_date[9]) {
    char stamp[17];

    sigv4_timestamp(scope->time_s, stamp);
    memcpy(ret_date, stamp, 8);
    ret_date[8] = '\0';
}

static int add_scope(const struct sigv4_scope *scope, struct buf *out) {
    char date[9];

    scope_date(scope, date);
    return buf_printf(out, "%s/%s/%s/aws4_request", date, scope->region, scope->service);
}

static void to_hex(const unsigned char digest[32], char ret_hex[65]) {
    for (size_t i = 0; i < 32; i++) {
        ret_hex[2 * i] = hex_digits[digest[i] >> 4];
        ret_hex[2 * i + 1] = hex_digits[digest[i] & 15];
    }
    ret_hex[64] = '\0';
}

static void digest_freep(EVP_MD_CTX **ctx) {
    EVP_MD_CTX_free(*ctx);
}

int sigv4_hash(const struct iovec *iov, size_t n_iov, char ret_hex[65]) {
    _cleanup_(digest_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char digest[32];

    ret_hex[0] = '\0';
    if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
        return -1;
    for (size_t i = 0; i < n_iov; i++) {
        if (!EVP_DigestUpdate(ctx, iov[i].iov_base, iov[i].iov_len))
            return -1;
    }
    if (!EVP_DigestFinal_ex(ctx, digest, NULL))
        return -1;

    to_hex(digest, ret_hex);
    return 0;
}

int sigv4_string_to_sign(const struct sigv4_scope *scope, const char *canonical, struct buf *out) {
    const struct iovec iov = {(void *)canonical, strlen(canonical)};
    char stamp[17], hash[65];

    sigv4_timestamp(scope->time_s, stamp);
    if (sigv4_hash(&iov, 1, hash) < 0)
        return -1;
    if (buf_printf(out, ALGORITHM "\n%s\n", stamp) < 0 || add_scope(scope, out) < 0)
        return -1;
    return buf_printf(out, "\n%s", hash);
}

static int hmac(const void *key, size_t key_len, const char *text, unsigned char ret_mac[32]) {
    const unsigned char *data = (const unsigned char *)text;
    unsigned len = 32;

    return HMAC(EVP_sha256(), key, (int)key_len, data, strlen(text), ret_mac, &len) ? 0 : -1;
}

/* date -> region -> service -> "aws4_request", each the key of the next */
static int derive(struct sigv4_key *key, const char *seed, size_t seed_len) {
    if (hmac(seed, seed_len, key->date, key->key) < 0 ||
        hmac(key->key, sizeof(key->key), key->region, key->key) < 0 ||
        hmac(key->key, sizeof(key->key), key->service, key->key) < 0)
        return -1;
    return hmac(key->key, sizeof(key->key), "aws4_request", key->key);
}

int sigv4_derive(struct sigv4_key *key, const char *secret, const struct sigv4_scope *scope) {
    char seed[LIMIT_OPTION + sizeof("AWS4")];
    const size_t len = strlen(secret);
    int rc;

    sigv4_key_wipe(key);
    if (len > LIMIT_OPTION || strlen(scope->region) >= sizeof(key->region) ||
        strlen(scope->service) >= sizeof(key->service))
        return -1;

    scope_date(scope, key->date);
    strcpy(key->region, scope->region);
    strcpy(key->service, scope->service);
    memcpy(seed, "AWS4", 4);
    memcpy(seed + 4, secret, len);
    rc = derive(key, seed, len + 4);
    OPENSSL_cleanse(seed, len + 4);
    if (rc < 0)
        sigv4_key_wipe(key);
    return rc;
}

bool sigv4_key_fits(const struct sigv4_key *key, const struct sigv4_scope *scope) {
    char date[9];

    scope_date(scope, date);
    return strcmp(key->date, date) == 0 && strcmp(key->region, scope->region) == 0 &&
           strcmp(key->service, scope->service) == 0;
}

void sigv4_key_wipe(struct sigv4_key *key) {
    OPENSSL_cleanse(key, sizeof(*key));
}

static int sign(
    const char *canonical,
    const struct sigv4_scope *scope,
    const struct sigv4_key *key,
    char ret_signature[65]
) {
    _cleanup_(buf_clear) struct buf text = {0};
    unsigned char mac[32];

    if (!sigv4_key_fits(key, scope) || sigv4_string_to_sign(scope, canonical, &text) < 0)
        return -1;
    if (hmac(key->key, sizeof(key->key), text.data, mac) < 0)
        return -1;

    to_hex(mac, ret_signature);
    return 0;
}

int sigv4_authorization(
    const struct sigv4_request *rq,
    const struct sigv4_scope *scope,
    const char *access_key,
    const struct sigv4_key *key,
    struct buf *out
) {
    _cleanup_(table_clear) struct table query = {0}, headers = {0};
    _cleanup_(buf_clear) struct buf canonical = {0};
    char signature[65];

    if (table_query(&query, rq->query, rq->n_query) < 0 ||
        table_headers(&headers, rq->headers, rq->n_headers) < 0 ||
        add_canonical(rq, &query, &headers, &canonical) < 0 ||
        sign(canonical.data, scope, key, signature) < 0)
        return -1;

    if (buf_printf(out, ALGORITHM " Credential=%s/", access_key) < 0 || add_scope(scope, out) < 0)
        return -1;
    if (buf_str(out, ", SignedHeaders=") < 0 || add_signed_names(&headers, out) < 0)
        return -1;
    return buf_printf(out, ", Signature=%s", signature);
}

/* The caller's parameters and those that say how the URL is signed, canonical. */
static int presign_query(
    const struct sigv4_request *rq,
    const struct sigv4_pair ours[PRESIGN_PARAMETERS],
    size_t n_ours,
    struct table *query
) {
    _free_ struct sigv4_pair *all = calloc(rq->n_query + n_ours, sizeof(*all));

    if (!all)
        return -1;
    if (rq->n_query)
        memcpy(all, rq->query, rq->n_query * sizeof(*all));
    memcpy(all + rq->n_query, ours, n_ours * sizeof(*all));
    return table_query(query, all, rq->n_query + n_ours);
}

int sigv4_presign(
    const struct sigv4_request *rq,
    const struct sigv4_scope *scope,
    const char *access_key,
    const char *token,
    const struct sigv4_key *key,
    unsigned lifetime_s,
    struct buf *out
) {
    _cleanup_(table_clear) struct table query = {0}, headers = {0};
    _cleanup_(buf_clear) struct buf credential = {0}, names = {0}, canonical = {0};
    char stamp[17], lifetime[12], signature[65];

    if (lifetime_s < 1 || lifetime_s > LIFETIME_MAX_S)
        return -1;
    sigv4_timestamp(scope->time_s, stamp);
    snprintf(lifetime, sizeof(lifetime), "%u", lifetime_s);
    if (buf_printf(&credential, "%s/", access_key) < 0 || add_scope(scope, &credential) < 0 ||
        table_headers(&headers, rq->headers, rq->n_headers) < 0 ||
        add_signed_names(&headers, &names) < 0)
        return -1;

    const struct sigv4_pair ours[PRESIGN_PARAMETERS] = {
        {"X-Amz-Algorithm", ALGORITHM},
        {"X-Amz-Credential", buf_text(&credential)},
        {"X-Amz-Date", stamp},
        {"X-Amz-Expires", lifetime},
        {"X-Amz-SignedHeaders", buf_text(&names)},
        {"X-Amz-Security-Token", token},
    };
    const size_t n_ours = PRESIGN_PARAMETERS - (token ? 0 : 1);

    if (presign_query(rq, ours, n_ours, &query) < 0 ||
        add_canonical(rq, &query, &headers, &canonical) < 0 ||
        sign(canonical.data, scope, key, signature) < 0)
        return -1;
    return add_query(&query, out) < 0 ? -1 : buf_printf(out, "&X-Amz-Signature=%s", signature);
}
