/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * convert.h - Perl values in, Perl values out: the plain C behind S3PVE.xs, included there only
 *
 * The numbered rules are at the top of S3PVE.xs.
 */
#ifndef S3PVE_CONVERT_H
#define S3PVE_CONVERT_H

/* in this order */
#include "EXTERN.h"

#include "perl.h"

#include "XSUB.h"

#include <errno.h>
#include <s3pve.h>
#include <stdio.h>
#include <unistd.h>

#define CLASS "S3PVE::Client"
#define LINES_MAX 16          /* warnings kept for the caller; the first ones tell most */
#define INTERRUPTIONS_MAX 100 /* a timer whose handler does not die must not go on for ever */
#define SMALL_MAX (64u << 20) /* bytes of an object that get() returns unless told otherwise */

/* The types of the typemap, each with its check below. */
typedef const char *text;          /* UTF-8, no zero byte */
typedef const char *optional_text; /* the same, or NULL for undef */
typedef struct {
    const char *p;
    STRLEN len;
} bytes;
typedef HV *options;
typedef AV *names;
typedef UV number;

struct handle {
    struct s3pve_config *config; /* owned; for opening again after fork() */
    struct s3pve_client *client; /* owned; NULL when closed */
    pid_t pid;                   /* of the process that opened client */
    unsigned n_lines;            /* may exceed LINES_MAX: the rest was dropped */
    char line[LINES_MAX][640];
};

/* --------------------------------------------------------------- errors */

#define STORE_TEXT(hv, name, value) (void)hv_stores(hv, name, text_new(value, strlen(value)))
#define STORE_INT(hv, name, value) (void)hv_stores(hv, name, newSViv(value))
#define STORE_UINT(hv, name, value) (void)hv_stores(hv, name, newSVuv(value))

/* Text is characters in Perl where it is UTF-8, and bytes where it is not. */
static SV *text_new(const char *p, STRLEN len) {
    SV *sv = newSVpvn(p, len);

    if (!is_utf8_invariant_string((const U8 *)p, len) && is_utf8_string((const U8 *)p, len))
        SvUTF8_on(sv);
    return sv;
}

static void croak_error(const struct s3pve_error *err) __attribute__((noreturn));
static void croak_error(const struct s3pve_error *err) {
    HV *hv = newHV();

    TAINT_NOT;
    STORE_TEXT(hv, "code", s3pve_code_name(err->code));
    STORE_INT(hv, "errno", err->errnum);
    STORE_INT(hv, "http_status", err->http_status);
    STORE_TEXT(hv, "s3_code", err->s3_code);
    STORE_TEXT(hv, "request_id", err->request_id);
    STORE_TEXT(hv, "message", err->message);
    croak_sv(sv_2mortal(sv_bless(newRV_noinc((SV *)hv), gv_stashpvs("S3PVE::Error", GV_ADD))));
}

static void croak_invalid(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void croak_invalid(const char *fmt, ...) {
    struct s3pve_error err = {.code = S3PVE_E_INVALID, .errnum = EINVAL};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(err.message, sizeof(err.message), fmt, ap);
    va_end(ap);
    croak_error(&err);
}

/* Was the call ended by a signal, and has its handler come back?  Then it is to be repeated. */
static bool interrupted(struct s3pve_error *err, unsigned *times) {
    if (err->code != S3PVE_E_CANCELLED || !PL_sig_pending || ++*times > INTERRUPTIONS_MAX)
        return false;
    PERL_ASYNC_CHECK(); /* a handler that dies does not come back */
    *err = S3PVE_ERROR_INIT;
    return true;
}

/* Do @expr, which uses `err`, until it succeeds or fails for good. */
#define CHECK(expr)                                                                                \
    do {                                                                                           \
        unsigned times = 0;                                                                        \
        while ((expr) < 0)                                                                         \
            if (!interrupted(&err, &times))                                                        \
                croak_error(&err);                                                                 \
    } while (0)

/* ------------------------------------------------------------ arguments */

static text text_get(SV *sv, const char *what) {
    STRLEN len;
    text p;

    SvGETMAGIC(sv);
    if (!SvOK(sv) || SvROK(sv))
        croak_invalid("%s must be a string", what);
    p = SvPVutf8_nomg(sv, len);
    if (strlen(p) != len)
        croak_invalid("%s has a zero byte in it", what);
    return p;
}

static bytes bytes_get(SV *sv, const char *what) {
    bytes b;

    SvGETMAGIC(sv);
    if (!SvOK(sv) || SvROK(sv))
        croak_invalid("%s must be a string", what);
    if (SvUTF8(sv)) {
        sv = sv_mortalcopy(sv);
        if (!sv_utf8_downgrade(sv, TRUE))
            croak_invalid("%s has wide characters; encode it first", what);
    }
    b.p = SvPV_nomg(sv, b.len);
    return b;
}

static SV *reference_get(SV *sv, svtype type, const char *complaint) {
    SvGETMAGIC(sv);
    if (!SvROK(sv) || SvTYPE(SvRV(sv)) != type)
        croak_invalid("%s", complaint);
    return SvRV(sv);
}

static number number_get(SV *sv, const char *what) {
    SvGETMAGIC(sv);
    if (!SvOK(sv) || SvROK(sv) || !looks_like_number(sv) || SvNV_nomg(sv) < 0)
        croak_invalid("%s must be a number, not negative", what);
    return SvUV_nomg(sv);
}

/* What may follow a method's own arguments, as name => value. */
struct named {
    struct s3pve_call call;
    struct s3pve_put_options put;
    UV limit, offset, len;
};
enum { NAMED_CALL = 1, NAMED_PUT = 2, NAMED_LIMIT = 4, NAMED_RANGE = 8 };

static bool named_put(text name, SV *value, struct s3pve_put_options *put) {
    if (strEQ(name, "content_type"))
        put->content_type = text_get(value, name);
    else if (strEQ(name, "storage_class"))
        put->storage_class = text_get(value, name);
    else if (strEQ(name, "tags"))
        put->tags = text_get(value, name);
    else if (strEQ(name, "if_match"))
        put->if_match = text_get(value, name);
    else if (strEQ(name, "if_absent"))
        put->if_absent = SvTRUE(value);
    else
        return false;
    return true;
}

static void named_one(text name, SV *value, unsigned allowed, struct named *ret) {
    if (strEQ(name, "timeout_ms"))
        ret->call.timeout_ms = (unsigned)number_get(value, name);
    else if (strEQ(name, "max_attempts"))
        ret->call.max_attempts = (unsigned)number_get(value, name);
    else if ((allowed & NAMED_LIMIT) && strEQ(name, "limit"))
        ret->limit = number_get(value, name);
    else if ((allowed & NAMED_RANGE) && strEQ(name, "offset"))
        ret->offset = number_get(value, name);
    else if ((allowed & NAMED_RANGE) && strEQ(name, "length"))
        ret->len = number_get(value, name);
    else if (!(allowed & NAMED_PUT) || !named_put(name, value, &ret->put))
        croak_invalid("there is no option '%s' here", name);
}

static struct named named_get(SV **args, SSize_t n, unsigned allowed) {
    struct named named = {.call.cancel = &PL_sig_pending};

    if (n % 2 != 0)
        croak_invalid("options come in pairs, name => value");
    for (SSize_t i = 0; i + 1 < n; i += 2)
        named_one(text_get(args[i], "option"), args[i + 1], allowed, &named);
    return named;
}

/* --------------------------------------------------------------- handle */

/* Called by the library while a call of ours runs, so Perl must not be entered.  The message begins
 * with the operation. */
static void keep_line(void *ctx, const struct s3pve_log_record *r) {
    struct handle *h = ctx;

    if (r->level > S3PVE_LOG_WARNING || h->n_lines++ >= LINES_MAX)
        return;
    snprintf(
        h->line[h->n_lines - 1],
        sizeof(h->line[0]),
        "%s (status %d %s, request %s, attempt %u, %u ms)",
        r->message,
        r->http_status,
        *r->s3_code ? r->s3_code : "-",
        *r->request_id ? r->request_id : "-",
        r->attempt,
        r->elapsed_ms
    );
}

static struct handle *handle_of(SV *sv) {
    if (!SvROK(sv) || !sv_derived_from(sv, CLASS) || !SvIOK(SvRV(sv)))
        return NULL;
    return INT2PTR(struct handle *, SvIVX(SvRV(sv)));
}

static void handle_open(struct handle *h) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    h->client = s3pve_client_close(h->client);
    h->pid = getpid();
    if (s3pve_client_open(h->config, keep_line, h, &h->client, &err) < 0)
        croak_error(&err);
}

static struct handle *handle_get(SV *sv, const char *func) {
    struct handle *h = handle_of(sv);

    if (!h)
        croak_invalid("%s: not a " CLASS, func);
    if (!h->client)
        croak_invalid("%s: the client is closed", func);
    if (h->pid != getpid())
        handle_open(h);
    return h;
}

/* @ret_sv is mortal; whatever is put into the handle goes when that goes. */
static struct handle *handle_new(text class, SV **ret_sv) {
    struct handle *h;

    Newxz(h, 1, struct handle);
    *ret_sv = sv_setref_pv(sv_newmortal(), class, h);
    h->config = s3pve_config_new();
    if (!h->config)
        croak_invalid("out of memory");
    return h;
}

static void handle_configure(struct handle *h, options opts) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    HE *he;

    hv_iterinit(opts);
    while ((he = hv_iternext(opts))) {
        text name = text_get(hv_iterkeysv(he), "name of an option");
        SV *value = hv_iterval(opts, he);

        if (SvOK(value) && s3pve_config_set(h->config, name, text_get(value, name), &err) < 0)
            croak_error(&err);
    }
    if (s3pve_config_check(h->config, &err) < 0)
        croak_error(&err);
}

/* -------------------------------------------------------------- results */

static SV *info_new(const struct s3pve_info *info) {
    HV *hv = newHV(), *meta;

    TAINT_NOT;
    STORE_UINT(hv, "size", info->size);
    STORE_INT(hv, "mtime", info->mtime);
    STORE_TEXT(hv, "etag", info->etag);
    STORE_TEXT(hv, "content_type", info->content_type);
    STORE_TEXT(hv, "storage_class", info->storage_class);
    if (info->n_meta > 0) {
        meta = newHV();
        for (unsigned i = 0; i < info->n_meta; i++)
            (void)hv_store(
                meta,
                info->meta[i].name,
                (I32)strlen(info->meta[i].name),
                text_new(info->meta[i].value, strlen(info->meta[i].value)),
                0
            );
        (void)hv_stores(hv, "meta", newRV_noinc((SV *)meta));
    }
    return newRV_noinc((SV *)hv);
}

static SV *entry_new(const struct s3pve_entry *entry) {
    SV *sv = info_new(&entry->info);
    HV *hv = (HV *)SvRV(sv);

    STORE_TEXT(hv, "key", entry->key);
    if (entry->is_prefix)
        STORE_INT(hv, "is_prefix", 1);
    return sv;
}

/* One walk from the start; the list is closed whatever happens. */
static int list_into(
    struct handle *h,
    const char *where[3], /* prefix, delimiter, start */
    const struct named *named,
    AV *av,
    struct s3pve_error *err
) {
    struct s3pve_list *list = NULL;
    struct s3pve_entry entry;
    int r = 1;

    av_clear(av);
    if (s3pve_list_open(h->client, where[0], where[1], where[2], &list, &named->call, err) < 0)
        return -1;
    while ((named->limit == 0 || (UV)av_count(av) < named->limit) &&
           (r = s3pve_list_next(list, &entry, err)) > 0)
        av_push(av, entry_new(&entry));
    s3pve_list_close(list);
    return r < 0 ? -1 : 0;
}

static int put_from_fd(
    struct handle *h,
    text key,
    int fd,
    const struct named *named,
    struct s3pve_info *ret_info,
    struct s3pve_error *err
) {
    struct s3pve_upload *upload = NULL;
    int r;

    if (s3pve_upload_open(h->client, key, &named->put, &upload, err) < 0)
        return -1;
    r = s3pve_upload_read_fd(upload, fd, &named->call, err);
    if (r >= 0)
        r = s3pve_upload_complete(upload, ret_info, &named->call, err);
    s3pve_upload_close(upload); /* aborts unless completed */
    return r;
}

/* The strings stay with @keys; only the table is ours, and it is a mortal's buffer. */
static const char **keys_table(names keys, size_t *ret_n) {
    SSize_t n = av_count(keys);
    SV *buffer = sv_2mortal(newSV((n + 1) * sizeof(char *)));
    const char **table = (const char **)SvPVX(buffer);

    for (SSize_t i = 0; i < n; i++) {
        SV **sv = av_fetch(keys, i, 0);
        table[i] = text_get(sv ? *sv : &PL_sv_undef, "key");
    }
    *ret_n = (size_t)n;
    return table;
}

#endif
