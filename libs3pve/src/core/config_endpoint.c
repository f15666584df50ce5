/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* config_endpoint.c - an endpoint URL: scheme, host and port, and nothing else */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_private.h"
#include "core/error.h"

#define NAME "endpoint"
#define DNS_LABEL_MAX 63 /* RFC 1035 */
#define DNS_NAME_MAX 253

/* "https://" and "http://" in any case; without a scheme it is https. */
static const char *skip_scheme(const char *text, bool *ret_tls) {
    *ret_tls = true;
    if (strncasecmp(text, "https://", 8) == 0)
        return text + 8;
    if (strncasecmp(text, "http://", 7) != 0)
        return text;
    *ret_tls = false;
    return text + 7;
}

/* What people paste that does not belong into an endpoint.  @rest: behind the scheme. */
static int refuse_extras(const char *text, const char *rest, struct s3pve_error *err) {
    size_t authority = strcspn(rest, "/?#");

    if (strchr(rest, '@')) /* the value is not repeated: it may hold a secret */
        return config_refuse(
            err, NAME, NULL, "keys do not belong here: use access-key and secret-key"
        );
    if (strstr(rest, "://"))
        return config_refuse(err, NAME, text, "unknown scheme; use https:// or http://");
    if (strchr(rest, '<'))
        return config_refuse(err, NAME, text, "put the real name in place of <...>");
    if (rest[authority] == '?' || rest[authority] == '#')
        return config_refuse(err, NAME, text, "no query allowed: only https://host:port");
    if (rest[authority] == '/' && rest[authority + 1])
        return config_refuse(
            err,
            NAME,
            text,
            "no path allowed: only https://host:port; the bucket has an option of its own"
        );
    return 0;
}

static int parse_port(const char *port, size_t len, unsigned *ret_port) {
    unsigned long n = 0;

    if (len == 0 || len > 5)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)port[i]))
            return -1;
        n = n * 10 + (unsigned long)(port[i] - '0');
    }
    if (n == 0 || n > 65535)
        return -1;
    *ret_port = (unsigned)n;
    return 0;
}

/* Return: NULL, or what is wrong with a host name. */
static const char *host_fault(const char *host) {
    size_t label = 0;

    if (strlen(host) > DNS_NAME_MAX)
        return "the host name is longer than 253 characters";
    for (const char *p = host;; p++) {
        if (*p == '.' || *p == '\0') {
            if (label == 0)
                return "the host name is empty or has an empty part";
            if (label > DNS_LABEL_MAX)
                return "a part of the host name is longer than 63 characters";
            if (p[-1] == '-' || p[-(ptrdiff_t)label] == '-')
                return "a part of the host name begins or ends with '-'";
            label = 0;
        } else if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_') {
            return "a host name has only letters, digits, '-' and '.'";
        } else {
            label++;
        }
        if (!*p)
            return NULL;
    }
}

/* Digits and dots only: an address, or a mistyped one, never a name. */
static bool all_numeric(const char *host) {
    return host[strspn(host, "0123456789.")] == '\0';
}

static int check_host(const char *text, struct endpoint *endpoint, struct s3pve_error *err) {
    unsigned char address[16];
    const char *fault;

    if (endpoint->ipv6) {
        if (inet_pton(AF_INET6, endpoint->host, address) != 1)
            return config_refuse(err, NAME, text, "not a valid IPv6 address between the brackets");
        return 0;
    }
    endpoint->ipv4 = inet_pton(AF_INET, endpoint->host, address) == 1;
    if (endpoint->ipv4)
        return 0;

    fault = host_fault(endpoint->host);
    if (fault)
        return config_refuse(err, NAME, text, "%s", fault);
    if (all_numeric(endpoint->host))
        return config_refuse(err, NAME, text, "not a valid IPv4 address");
    return 0;
}

/* Where the host stands in @rest, and where the port or the end is. */
static int find_host(
    const char *text,
    const char *rest,
    struct endpoint *endpoint,
    const char **ret_after,
    struct s3pve_error *err
) {
    const char *host = rest, *end;
    size_t len;

    if (*rest == '[') {
        host = rest + 1;
        end = strchr(host, ']');
        if (!end)
            return config_refuse(err, NAME, text, "'[' without ']'");
        endpoint->ipv6 = true;
        *ret_after = end + 1;
    } else {
        end = host + strcspn(host, ":/");
        if (*end == ':' && strchr(end + 1, ':'))
            return config_refuse(
                err, NAME, text, "an IPv6 address stands in brackets: https://[fd00::1]:9000"
            );
        *ret_after = end;
    }
    len = (size_t)(end - host);
    if (len >= sizeof(endpoint->host))
        return config_refuse(err, NAME, text, "the host name is longer than 253 characters");
    for (size_t i = 0; i < len; i++)
        endpoint->host[i] = (char)tolower((unsigned char)host[i]);
    return 0;
}

int config_endpoint_parse(const char *text, struct endpoint *ret, struct s3pve_error *err) {
    struct endpoint endpoint = {0};
    const char *rest = skip_scheme(text, &endpoint.tls), *after = "";
    size_t len;

    if (strlen(text) > LIMIT_ENDPOINT)
        return config_refuse(err, NAME, text, "longer than %d characters", LIMIT_ENDPOINT);
    if (refuse_extras(text, rest, err) < 0 || find_host(text, rest, &endpoint, &after, err) < 0 ||
        check_host(text, &endpoint, err) < 0)
        return -1;

    len = strcspn(after, "/");
    if (len > 0 && (*after != ':' || parse_port(after + 1, len - 1, &endpoint.port) < 0))
        return config_refuse(err, NAME, text, "a port is a number from 1 to 65535");
    if (endpoint.port == (endpoint.tls ? 443 : 80))
        endpoint.port = 0;
    *ret = endpoint;
    return 0;
}

int config_endpoint_host(const struct endpoint *endpoint, struct buf *out) {
    if (buf_printf(out, endpoint->ipv6 ? "[%s]" : "%s", endpoint->host) < 0)
        return -1;
    return endpoint->port ? buf_printf(out, ":%u", endpoint->port) : 0;
}
