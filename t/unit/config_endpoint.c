/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "core/config_private.h"
#include "tap.h"

static const struct {
    const char *text, *host; /* as in the Host header */
    bool tls;
} good[] = {
    {"s3.example.com", "s3.example.com", true},
    {"https://S3.Example.COM/", "s3.example.com", true},
    {"HTTP://minio.lan:9000", "minio.lan:9000", false},
    {"https://minio.lan:443", "minio.lan", true},
    {"http://minio.lan:80/", "minio.lan", false},
    {"https://minio.lan:80", "minio.lan:80", true},
    {"minio:9000", "minio:9000", true},
    {"my_minio", "my_minio", true},
    {"10.0.0.1:7480", "10.0.0.1:7480", true},
    {"http://[fd00::1]:9000", "[fd00::1]:9000", false},
    {"[::1]", "[::1]", true},
    {"[2001:DB8::A]", "[2001:db8::a]", true},
};

static const struct {
    const char *text, *want;
} bad[] = {
    {"", "empty"},
    {"https://", "empty"},
    {"ftp://minio.lan", "unknown scheme"},
    {"https://minio.lan/bucket", "no path"},
    {"https://minio.lan?x=1", "no query"},
    {"https://minio.lan/#x", "no path"},
    {"https://KEY:hunter2@minio.lan", "access-key and secret-key"},
    {"https://s3.<region>.amazonaws.com", "in place of <...>"},
    {"minio.lan:0", "1 to 65535"},
    {"minio.lan:65536", "1 to 65535"},
    {"minio.lan:99999999999999999999", "1 to 65535"},
    {"minio.lan:90x", "1 to 65535"},
    {"minio.lan:", "1 to 65535"},
    {"fd00::1", "in brackets"},
    {"[fd00::1", "without ']'"},
    {"[fd00::zz]", "not a valid IPv6"},
    {"[fd00::1]9000", "1 to 65535"},
    {"300.1.1.1", "not a valid IPv4"},
    {"10.0.0", "not a valid IPv4"},
    {"minio..lan", "empty part"},
    {"-minio.lan", "'-'"},
    {"minio-.lan", "'-'"},
    {"mini o.lan", "only letters"},
    {"m\xc3\xafnio.lan", "only letters"},
    {"minio.lan%2f", "only letters"},
};

int main(void) {
    char text[LIMIT_ENDPOINT + 2];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        _cleanup_(buf_clear) struct buf host = {0};
        struct endpoint endpoint;

        is_int(
            config_endpoint_parse(good[i].text, &endpoint, NULL), 0, "'%s' is fine", good[i].text
        );
        config_endpoint_host(&endpoint, &host);
        is_str(buf_text(&host), good[i].host, "... and its host is %s", good[i].host);
        ok(endpoint.tls == good[i].tls, "... %s TLS", good[i].tls ? "with" : "without");
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct s3pve_error err = S3PVE_ERROR_INIT;
        struct endpoint endpoint;

        is_int(
            config_endpoint_parse(bad[i].text, &endpoint, &err), -1, "'%s' is refused", bad[i].text
        );
        ok(strstr(err.message, bad[i].want), "... with %s: %s", bad[i].want, err.message);
        ok(!strstr(err.message, "hunter2"), "... and without a secret");
    }
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    ok(config_endpoint_parse(text, &(struct endpoint){0}, NULL) < 0, "513 characters are refused");
    text[300] = '\0';
    ok(config_endpoint_parse(text, &(struct endpoint){0}, NULL) < 0, "so is a long host name");
    return done_testing();
}
