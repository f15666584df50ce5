/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* config_values.c - the options: their names, defaults, and what each accepts */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "core/config_private.h"
#include "core/error.h"

#define FINGERPRINT_BYTES 32 /* SHA-256 */

struct spec {
    const char *name;
    const char *fallback;
    /* NULL: any text of printable characters */
    int (*accept
    )(const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err);
    const char *choices; /* for accept_choice: "auto path virtual" */
    unsigned min, max;   /* for accept_number */
    bool secret;
};

static int add(struct buf *out, const char *text, struct s3pve_error *err) {
    return buf_str(out, text) < 0 ? error_set(err, S3PVE_E_NOMEM, "out of memory") : 0;
}

static int accept_endpoint(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    struct endpoint endpoint;

    if (config_endpoint_parse(value, &endpoint, err) < 0)
        return -1;
    if (buf_str(out, endpoint.tls ? "https://" : "http://") < 0 ||
        config_endpoint_host(&endpoint, out) < 0)
        return error_set(err, S3PVE_E_NOMEM, "out of memory");
    return 0;
}

static int accept_bucket(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    return config_check_bucket(value, err) < 0 ? -1 : add(out, value, err);
}

static int accept_prefix(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    return config_check_prefix(value, out, err);
}

static int accept_region(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    size_t len = strlen(value);

    if (len > 63)
        return config_refuse(err, spec->name, value, "longer than 63 characters");
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)value[i]) && !strchr("-_.", value[i]))
            return config_refuse(
                err, spec->name, value, "only letters, digits and '-', as in 'eu-central-1'"
            );
    }
    return add(out, value, err);
}

static int accept_provider(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    _cleanup_(buf_clear) struct buf names = {0};

    if (provider_find(value))
        return add(out, value, err);
    for (const struct s3pve_provider *p = NULL; (p = s3pve_provider_next(p));) {
        if (buf_printf(&names, "%s%s", names.len ? ", " : "", p->name) < 0)
            return error_set(err, S3PVE_E_NOMEM, "out of memory");
    }
    return config_refuse(err, spec->name, value, "unknown; known are %s", buf_text(&names));
}

static int accept_choice(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    size_t len = strlen(value);

    for (const char *p = spec->choices; *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");

        if (n == len && strncmp(p, value, n) == 0)
            return add(out, value, err);
        p += n;
    }
    return config_refuse(err, spec->name, value, "must be one of: %s", spec->choices);
}

static int accept_number(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    size_t digits = strspn(value, "0123456789");
    unsigned long n = digits <= 9 ? strtoul(value, NULL, 10) : 0;

    if (digits == 0 || digits > 9 || value[digits] || n < spec->min || n > spec->max)
        return config_refuse(
            err, spec->name, value, "must be a number from %u to %u", spec->min, spec->max
        );
    return buf_printf(out, "%lu", n) < 0 ? error_set(err, S3PVE_E_NOMEM, "out of memory") : 0;
}

static int accept_path(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    if (*value != '/')
        return config_refuse(err, spec->name, value, "must be an absolute path: /...");
    return add(out, value, err);
}

/* What stands in a credential scope or a header: no spaces, nothing beyond ASCII.  The value is
 * never repeated, and for keys pasted with a line end we say just that. */
static int accept_key(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    for (const char *p = value; *p; p++) {
        if (isspace((unsigned char)*p))
            return config_refuse(
                err, spec->name, NULL, "has a space or a line end in it; copy it again"
            );
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            return config_refuse(
                err, spec->name, NULL, "has a character in it that no key has; copy it again"
            );
        if (!spec->secret && (*p == '/' || *p == ','))
            return config_refuse(
                err, spec->name, NULL, "has '%c' in it; is this the secret key?", *p
            );
    }
    return add(out, value, err);
}

static int accept_word(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    for (const char *p = value; *p; p++) {
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f)
            return config_refuse(
                err, spec->name, value, "only ASCII letters, digits and signs, no spaces"
            );
    }
    return add(out, value, err);
}

/* "AA:BB:..." or plain hex, as openssl, PVE and PBS print it. */
static int accept_fingerprint(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    char hex[FINGERPRINT_BYTES * 2];
    size_t n = 0;

    for (const char *p = value; *p; p++) {
        if (*p == ':')
            continue;
        if (!isxdigit((unsigned char)*p) || n == sizeof(hex)) {
            n = 0;
            break;
        }
        hex[n++] = (char)toupper((unsigned char)*p);
    }
    if (n != sizeof(hex))
        return config_refuse(
            err,
            spec->name,
            value,
            "must be a certificate's SHA-256, 32 bytes as AA:BB:...; see: openssl x509 "
            "-fingerprint -sha256"
        );
    for (size_t i = 0; i < sizeof(hex); i += 2) {
        if (buf_printf(out, "%s%.2s", i ? ":" : "", hex + i) < 0)
            return error_set(err, S3PVE_E_NOMEM, "out of memory");
    }
    return 0;
}

/* "[http://][user:password@]host[:port][/]"; never repeated, it may hold a password */
static int accept_proxy(
    const struct spec *spec, const char *value, struct buf *out, struct s3pve_error *err
) {
    const char *rest = strncasecmp(value, "http://", 7) == 0 ? value + 7 : value;
    const char *at = strrchr(rest, '@'), *host = at ? at + 1 : rest;
    _cleanup_(buf_clear) struct buf url = {0};
    struct endpoint endpoint;

    if (strstr(rest, "://"))
        return config_refuse(err, spec->name, NULL, "only http:// proxies are supported");
    if (rest[strcspn(rest, " \t")])
        return config_refuse(err, spec->name, NULL, "has a space in it");
    if (at && rest + strcspn(rest, "/?#") < at)
        return config_refuse(
            err, spec->name, NULL, "in its password '/' is %%2F, '?' is %%3F and '#' is %%23"
        );
    if (buf_printf(&url, "http://%s", host) < 0)
        return error_set(err, S3PVE_E_NOMEM, "out of memory");
    if (config_endpoint_parse(buf_text(&url), &endpoint, NULL) < 0)
        return config_refuse(err, spec->name, NULL, "must look like http://host:port");

    endpoint.port = endpoint.port ? endpoint.port : 80;
    if (buf_str(out, "http://") < 0 || (at && buf_add(out, rest, (size_t)(host - rest)) < 0) ||
        config_endpoint_host(&endpoint, out) < 0)
        return error_set(err, S3PVE_E_NOMEM, "out of memory");
    return 0;
}

static const struct spec specs[N_OPTIONS] = {
    [OPTION_ENDPOINT] = {"endpoint", "", accept_endpoint},
    [OPTION_BUCKET] = {"bucket", "", accept_bucket},
    [OPTION_PREFIX] = {"prefix", "", accept_prefix},
    [OPTION_REGION] = {"region", "", accept_region},
    [OPTION_PROVIDER] = {"provider", "", accept_provider},
    [OPTION_ADDRESSING] = {"addressing", "auto", accept_choice, "auto path virtual"},
    [OPTION_ACCESS_KEY] = {"access-key", "", accept_key},
    [OPTION_SECRET_KEY] = {"secret-key", "", accept_key, .secret = true},
    [OPTION_SESSION_TOKEN] = {"session-token", "", accept_key, .secret = true},
    [OPTION_CREDENTIALS] =
        {"credentials", "auto", accept_choice, "auto explicit file env imds anonymous"},
    [OPTION_CREDENTIALS_FILE] = {"credentials-file", "", accept_path},
    [OPTION_FINGERPRINT] = {"fingerprint", "", accept_fingerprint},
    [OPTION_CA_FILE] = {"ca-file", "", accept_path},
    [OPTION_PROXY] = {"proxy", "", accept_proxy},
    [OPTION_CONNECTIONS] = {"connections", "16", accept_number, NULL, 1, CONNECTIONS_MAX},
    [OPTION_PART_SIZE] = {"part-size", "", accept_number, NULL, 5, 5120},
    [OPTION_UPLOAD_LIMIT] = {"upload-limit", "0", accept_number, NULL, 0, 1000000},
    [OPTION_DOWNLOAD_LIMIT] = {"download-limit", "0", accept_number, NULL, 0, 1000000},
    [OPTION_STORAGE_CLASS] = {"storage-class", "", accept_word},
    [OPTION_SSE] = {"sse", "", accept_choice, "AES256 aws:kms aws:kms:dsse"},
    [OPTION_SSE_KMS_KEY] = {"sse-kms-key", "", accept_word},
    [OPTION_PAYLOAD_SIGNING] = {"payload-signing", "auto", accept_choice, "auto always never"},
    [OPTION_STORAGE] = {"storage", "", accept_word},
    [OPTION_TIMEOUT] = {"timeout", "120", accept_number, NULL, 1, CALL_MS_MAX / 1000},
    [OPTION_LOCK_DIR] = {"lock-dir", "", accept_path},
};

_Static_assert(CONNECTIONS_DEFAULT == 16 && CALL_MS == 120000, "the texts above say so");

enum option config_option(const char *name) {
    enum option option = 0;

    while (option < N_OPTIONS && strcmp(specs[option].name, name) != 0)
        option++;
    return option;
}

const char *config_option_name(enum option option) {
    return specs[option].name;
}

bool config_option_secret(enum option option) {
    return specs[option].secret;
}

const char *config_option_default(enum option option) {
    return specs[option].fallback;
}

int config_accept(enum option option, const char *value, struct buf *out, struct s3pve_error *err) {
    const struct spec *spec = &specs[option];
    size_t len = strnlen(value, LIMIT_OPTION + 1);

    if (len > LIMIT_OPTION)
        return config_refuse(err, spec->name, NULL, "longer than %d characters", LIMIT_OPTION);
    if (!utf8_valid(value, len))
        return config_refuse(err, spec->name, NULL, "not valid UTF-8");
    for (size_t i = 0; i < len && spec->accept != accept_key; i++) {
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
            return config_refuse(
                err, spec->name, NULL, "has a line end or another control character in it"
            );
    }
    return spec->accept(spec, value, out, err);
}
