/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * S3PVE.xs - the binding converts; it does not think
 *
 * Every XSUB is: arguments in, one s3pve_* call, a value out or croak_error().
 *
 * (1) croak() is a longjmp and skips _cleanup_, so nothing here owns C memory across a croak: it is
 *     freed before, or belongs to a handle, which is a mortal SV from the start.
 * (2) A client is opened and used by one process.  After fork() the child's first use opens one of
 *     its own; the parent's connections are left alone.
 * (3) What comes out is never tainted, whatever came in: sizes and names go into system() and open()
 *     in programs that run under -T.
 * (4) A signal with a Perl handler ends a call that can be repeated, lets the handler run and
 *     repeats it, so that alarm() works.  See interrupted().
 */
#include "convert.h"

MODULE = S3PVE    PACKAGE = S3PVE

PROTOTYPES: DISABLE
VERSIONCHECK: DISABLE

const char *
version()
  CODE:
    RETVAL = s3pve_version();
  OUTPUT:
    RETVAL

void
providers()
  PPCODE:
    for (const struct s3pve_provider *p = NULL; (p = s3pve_provider_next(p));) {
        HV *hv = newHV();

        STORE_TEXT(hv, "name", p->name);
        STORE_TEXT(hv, "title", p->title);
        STORE_TEXT(hv, "endpoint", p->endpoint);
        STORE_TEXT(hv, "region", p->region);
        STORE_TEXT(hv, "addressing", p->addressing);
        STORE_UINT(hv, "max_parts", p->max_parts);
        STORE_INT(hv, "equal_parts", p->equal_parts);
        STORE_INT(hv, "part_copy", p->part_copy);
        mXPUSHs(newRV_noinc((SV *)hv));
    }

MODULE = S3PVE    PACKAGE = S3PVE::Client

SV *
open(class, settings)
    text class
    options settings
  PREINIT:
    struct handle *h;
  CODE:
    h = handle_new(class, &RETVAL);
    handle_configure(h, settings);
    handle_open(h);
    SvREFCNT_inc_simple_void_NN(RETVAL);
  OUTPUT:
    RETVAL

SV *
setting(h, name)
    struct handle *h
    text name
  PREINIT:
    const char *value;
  CODE:
    value = s3pve_config_get(h->config, name);
    TAINT_NOT;
    RETVAL = value ? text_new(value, strlen(value)) : newSV(0);
  OUTPUT:
    RETVAL

void
warnings(h)
    struct handle *h
  PPCODE:
    TAINT_NOT;
    for (unsigned i = 0; i < h->n_lines && i < LINES_MAX; i++)
        mXPUSHs(text_new(h->line[i], strlen(h->line[i])));
    if (h->n_lines > LINES_MAX)
        mXPUSHs(newSVpvf("%u more", h->n_lines - LINES_MAX));
    h->n_lines = 0;

SV *
list(h, prefix, delimiter, start, ...)
    struct handle *h
    text prefix
    optional_text delimiter
    optional_text start
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct named named;
    AV *av;
  CODE:
    named = named_get(&ST(4), items - 4, NAMED_LIMIT);
    av = (AV *)sv_2mortal((SV *)newAV());
    CHECK(list_into(h, (const char *[3]){prefix, delimiter, start}, &named, av, &err));
    RETVAL = newRV_inc((SV *)av);
  OUTPUT:
    RETVAL

SV *
head(h, key, ...)
    struct handle *h
    text key
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info;
    struct named named;
  CODE:
    named = named_get(&ST(2), items - 2, NAMED_CALL);
    CHECK(s3pve_object_head(h->client, key, &info, &named.call, &err));
    RETVAL = info_new(&info);
  OUTPUT:
    RETVAL

SV *
get(h, key, ...)
    struct handle *h
    text key
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct named named;
    char *data = NULL;
    size_t len = 0;
  CODE:
    named = named_get(&ST(2), items - 2, NAMED_LIMIT);
    if (named.limit == 0)
        named.limit = SMALL_MAX;
    CHECK(s3pve_object_get(h->client, key, named.limit, &data, &len, NULL, &named.call, &err));
    TAINT_NOT;
    RETVAL = newSVpvn(data, len);
    free(data);
  OUTPUT:
    RETVAL

SV *
put(h, key, data, ...)
    struct handle *h
    text key
    bytes data
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info = {0};
    struct named named;
  CODE:
    named = named_get(&ST(3), items - 3, NAMED_PUT);
    if (named.put.if_absent || named.put.if_match)
        named.call.cancel = NULL; /* repeated, it would find its own first try in the way */
    CHECK(s3pve_object_put(
        h->client, key, data.p, data.len, &named.put, &info, &named.call, &err
    ));
    RETVAL = info_new(&info);
  OUTPUT:
    RETVAL

void
get_file(h, key, fd, ...)
    struct handle *h
    text key
    number fd
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct named named;
  CODE:
    named = named_get(&ST(3), items - 3, NAMED_RANGE);
    named.call.cancel = NULL; /* the descriptor has moved: no second try */
    CHECK(s3pve_object_get_fd(
        h->client, key, (int)fd, named.offset, named.len, NULL, &named.call, &err
    ));

SV *
put_file(h, key, fd, ...)
    struct handle *h
    text key
    number fd
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info = {0};
    struct named named;
  CODE:
    named = named_get(&ST(3), items - 3, NAMED_PUT);
    named.call.cancel = NULL;
    CHECK(put_from_fd(h, key, (int)fd, &named, &info, &err));
    RETVAL = info_new(&info);
  OUTPUT:
    RETVAL

void
delete(h, key, ...)
    struct handle *h
    text key
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct named named;
  CODE:
    named = named_get(&ST(2), items - 2, NAMED_CALL);
    CHECK(s3pve_object_delete(h->client, key, &named.call, &err));

void
delete_many(h, keys, ...)
    struct handle *h
    names keys
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct named named;
    const char **table;
    size_t n;
  CODE:
    named = named_get(&ST(2), items - 2, NAMED_CALL);
    table = keys_table(keys, &n);
    CHECK(s3pve_object_delete_many(h->client, table, n, &named.call, &err));

SV *
copy(h, source, target, ...)
    struct handle *h
    text source
    text target
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info = {0};
    struct named named;
  CODE:
    named = named_get(&ST(3), items - 3, NAMED_CALL);
    CHECK(s3pve_object_copy(h->client, source, target, NULL, &info, &named.call, &err));
    RETVAL = info_new(&info);
  OUTPUT:
    RETVAL

SV *
presign(h, key, lifetime_s)
    struct handle *h
    text key
    number lifetime_s
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char *url = NULL;
  CODE:
    CHECK(s3pve_object_presign(h->client, key, (unsigned)lifetime_s, &url, &err));
    TAINT_NOT;
    RETVAL = newSVpv(url, 0);
    free(url);
  OUTPUT:
    RETVAL

void
bucket_check(h, ...)
    struct handle *h
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct named named;
  CODE:
    named = named_get(&ST(1), items - 1, NAMED_CALL);
    CHECK(s3pve_bucket_check(h->client, &named.call, &err));

void
bucket_create(h, ...)
    struct handle *h
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct named named;
  CODE:
    named = named_get(&ST(1), items - 1, NAMED_CALL);
    CHECK(s3pve_bucket_create(h->client, &named.call, &err));

SV *
bucket_location(h, ...)
    struct handle *h
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct named named;
    char region[64] = "";
  CODE:
    named = named_get(&ST(1), items - 1, NAMED_CALL);
    CHECK(s3pve_bucket_location(h->client, region, &named.call, &err));
    TAINT_NOT;
    RETVAL = newSVpv(region, 0);
  OUTPUT:
    RETVAL

SV *
bucket_usage(h, ...)
    struct handle *h
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct named named;
    uint64_t n_objects = 0, n_bytes = 0;
    HV *hv;
  CODE:
    named = named_get(&ST(1), items - 1, NAMED_CALL);
    CHECK(s3pve_bucket_usage(h->client, &n_objects, &n_bytes, &named.call, &err));
    TAINT_NOT;
    hv = newHV();
    STORE_UINT(hv, "objects", n_objects);
    STORE_UINT(hv, "bytes", n_bytes);
    RETVAL = newRV_noinc((SV *)hv);
  OUTPUT:
    RETVAL

SV *
probe(h, ...)
    struct handle *h
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_caps caps;
    struct named named;
    char *json;
  CODE:
    named = named_get(&ST(1), items - 1, NAMED_CALL);
    CHECK(s3pve_probe(h->client, &caps, &named.call, &err));
    json = s3pve_caps_text(&caps);
    TAINT_NOT;
    RETVAL = json ? newSVpv(json, 0) : newSV(0);
    free(json);
  OUTPUT:
    RETVAL

void
use_caps(h, json)
    struct handle *h
    text json
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_caps caps;
  CODE:
    CHECK(s3pve_caps_parse(json, &caps, &err));
    s3pve_client_use_caps(h->client, &caps);

UV
sweep(h, prefix, older_s, ...)
    struct handle *h
    text prefix
    number older_s
  PREINIT:
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct named named;
    unsigned n_aborted = 0;
  CODE:
    named = named_get(&ST(3), items - 3, NAMED_CALL);
    CHECK(s3pve_upload_sweep(
        h->client, prefix, (unsigned)older_s, &n_aborted, &named.call, &err
    ));
    TAINT_NOT;
    RETVAL = n_aborted;
  OUTPUT:
    RETVAL

SV *
counters(h)
    struct handle *h
  PREINIT:
    struct s3pve_counters c;
    HV *hv;
  CODE:
    s3pve_client_counters(h->client, &c);
    TAINT_NOT;
    hv = newHV();
    STORE_UINT(hv, "put", c.n_put);
    STORE_UINT(hv, "get", c.n_get);
    STORE_UINT(hv, "list", c.n_list);
    STORE_UINT(hv, "delete", c.n_delete);
    STORE_UINT(hv, "other", c.n_other);
    STORE_UINT(hv, "retries", c.n_retries);
    STORE_UINT(hv, "errors", c.n_errors);
    STORE_UINT(hv, "throttled", c.n_throttled);
    STORE_UINT(hv, "bytes_sent", c.bytes_sent);
    STORE_UINT(hv, "bytes_received", c.bytes_received);
    STORE_INT(hv, "last_ok_s", c.last_ok_s);
    STORE_INT(hv, "last_fail_s", c.last_fail_s);
    STORE_UINT(hv, "latency_ms", c.latency_ms);
    RETVAL = newRV_noinc((SV *)hv);
  OUTPUT:
    RETVAL

void
close(h)
    struct handle *h
  CODE:
    h->client = s3pve_client_close(h->client);

void
DESTROY(self)
    SV *self
  PREINIT:
    struct handle *h = handle_of(self);
    int saved_errno = errno;
  CODE:
    if (h) {
        s3pve_client_close(h->client); /* in a forked child it leaves the sockets alone */
        s3pve_config_free(h->config);
        Safefree(h);
        sv_setiv(SvRV(self), 0);
    }
    errno = saved_errno;
