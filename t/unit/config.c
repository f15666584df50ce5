/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/config_private.h"
#include "tap.h"

DEFINE_CLEANUP(struct s3pve_config *, s3pve_config_free)
#define CONFIG _cleanup_(s3pve_config_freep) struct s3pve_config *

/* "name=value name=value": the options of a test in one line */
static struct s3pve_config *config_of(const char *text) {
    struct s3pve_config *config = s3pve_config_new();
    char copy[1024], *rest = copy, *word;

    snprintf(copy, sizeof(copy), "%s", text);
    while ((word = strsep(&rest, " "))) {
        char *name = strsep(&word, "=");

        if (*name)
            is_int(s3pve_config_set(config, name, word, NULL), 0, "%s is taken", name);
    }
    return config;
}

static const struct {
    const char *name, *value, *shown; /* shown NULL: refused */
    const char *want;                 /* in the message */
} options[] = {
    {"endpoint", "MINIO.lan:9000", "https://minio.lan:9000", NULL},
    {"bucket", "backups", "backups", NULL},
    {"bucket", "Back", NULL, "bucket 'Back': "},
    {"prefix", "/pve", "pve/", NULL},
    {"region", "RegionOne", "RegionOne", NULL},
    {"region", "eu central", NULL, "as in 'eu-central-1'"},
    {"provider", "ceph", "ceph", NULL},
    {"provider", "amazon", NULL, "known are aws, minio"},
    {"addressing", "virtual", "virtual", NULL},
    {"addressing", "vhost", NULL, "must be one of: auto path virtual"},
    {"addressing", "aut", NULL, "must be one of"},
    {"access-key", "AKIAEXAMPLE", "AKIAEXAMPLE", NULL},
    {"access-key", "test:tester", "test:tester", NULL},
    {"access-key", "AKIA/EXAMPLE", NULL, "is this the secret key?"},
    {"access-key", "AKIA EXAMPLE", NULL, "copy it again"},
    {"secret-key", "hunter2/+=", "", NULL},
    {"secret-key", "hunter2\n", NULL, "secret-key: has a space or a line end"},
    {"secret-key", "hunter2\xc2\xa0", NULL, "secret-key: has a character"},
    {"session-token", "hunter2==", "", NULL},
    {"credentials", "imds", "imds", NULL},
    {"credentials", "none", NULL, "anonymous"},
    {"credentials-file", "/etc/pve/priv/storage/a.s3", "/etc/pve/priv/storage/a.s3", NULL},
    {"credentials-file", "a.s3", NULL, "absolute path"},
    {"ca-file", "ca.pem", NULL, "absolute path"},
    {"ca-file", "/etc/ca.pem", "/etc/ca.pem", NULL},
    {"lock-dir", "priv/lock", NULL, "absolute path"},
    {"lock-dir", "/etc/pve/priv/lock", "/etc/pve/priv/lock", NULL},
    {"proxy", "proxy.lan:3128", "http://proxy.lan:3128", NULL},
    {"proxy", "http://proxy.lan/", "http://proxy.lan:80", NULL},
    {"proxy", "http://me:hunter2@proxy.lan:3128", "http://proxy.lan:3128", NULL},
    {"proxy", "socks5://me:hunter2@proxy.lan", NULL, "only http://"},
    {"proxy", "http://me:hunter2@proxy.lan/x", NULL, "proxy: must look like"},
    {"proxy", "http://me:hunt/r2@proxy.lan", NULL, "'/' is %2F"},
    {"proxy", "http://me:hunt%2Fr2@proxy.lan", "http://proxy.lan:80", NULL},
    {"connections", "64", "64", NULL},
    {"connections", "0", NULL, "from 1 to 64"},
    {"connections", "65", NULL, "from 1 to 64"},
    {"connections", "many", NULL, "from 1 to 64"},
    {"connections", "-1", NULL, "from 1 to 64"},
    {"connections", "4294967297", NULL, "from 1 to 64"},
    {"part-size", "5", "5", NULL},
    {"part-size", "4", NULL, "from 5 to 5120"},
    {"upload-limit", "100", "100", NULL},
    {"download-limit", "1.5", NULL, "number from 0"},
    {"storage-class", "STANDARD_IA", "STANDARD_IA", NULL},
    {"storage-class", "A B", NULL, "no spaces"},
    {"sse", "aws:kms", "aws:kms", NULL},
    {"sse", "AES128", NULL, "AES256"},
    {"payload-signing", "never", "never", NULL},
    {"timeout", "3601", NULL, "from 1 to 3600"},
    {"storage", "my store", NULL, "no spaces"},
    {"region", "eu\n", NULL, "line end"},
    {"storage", "a\xff", NULL, "UTF-8"},
    {"nonsense", "1", NULL, "no option of that name"},
};

static void options_are_checked_on_the_spot(void) {
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        CONFIG config = s3pve_config_new();
        struct s3pve_error err = S3PVE_ERROR_INIT;
        int rc = s3pve_config_set(config, options[i].name, options[i].value, &err);

        is_int(rc, options[i].shown ? 0 : -1, "%s number %zu", options[i].name, i);
        if (options[i].shown)
            is_str(s3pve_config_get(config, options[i].name), options[i].shown, "... shows so");
        else
            ok(strstr(err.message, options[i].want), "... %s: %s", options[i].want, err.message);
        ok(!strstr(err.message, "hunter2"), "... without a secret");
        ok(rc == 0 || (err.code == S3PVE_E_INVALID && err.errnum == EINVAL), "... INVALID");
    }
}

static const char fingerprint[] =
    "AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:"
    "AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89";

static void fingerprints_are_taken_as_tools_print_them(void) {
    CONFIG config = config_of("endpoint=https://minio.lan bucket=backups credentials=anonymous");
    _cleanup_(config_clear) struct config resolved = {0};
    const char *lower = "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789";
    char text[128];

    snprintf(text, sizeof(text), "fingerprint=%s", lower);
    is_int(s3pve_config_set(config, "fingerprint", lower, NULL), 0, "plain hex is taken");
    is_str(s3pve_config_get(config, "fingerprint"), fingerprint, "... and shown with colons");
    is_int(s3pve_config_set(config, "fingerprint", fingerprint, NULL), 0, "so is AA:BB:...");
    is_int(config_resolve(config, &resolved, NULL), 0, "it resolves");
    is_str(resolved.fingerprint, lower, "... to plain lower case");
    is_int(s3pve_config_set(config, "fingerprint", "AB:CD", NULL), -1, "a short one is refused");
    snprintf(text, sizeof(text), "%s0", lower);
    is_int(s3pve_config_set(config, "fingerprint", text, NULL), -1, "a long one is refused");
    is_str(s3pve_config_get(config, "fingerprint"), fingerprint, "a refused value changes nothing");
}

#define KEYS " access-key=AKIA secret-key=s"

static const struct {
    const char *options;
    const char *url, *host, *path, *region; /* url NULL: refused, host holds the message */
} addresses[] = {
    {"provider=aws region=eu-west-1 bucket=backups" KEYS,
     "https://backups.s3.eu-west-1.amazonaws.com",
     "backups.s3.eu-west-1.amazonaws.com",
     "",
     "eu-west-1"},
    {"provider=aws region=eu-west-1 bucket=back.ups" KEYS,
     "https://s3.eu-west-1.amazonaws.com/back.ups",
     "s3.eu-west-1.amazonaws.com",
     "/back.ups",
     "eu-west-1"},
    {"provider=aws region=eu-west-1 bucket=back.ups addressing=virtual" KEYS,
     "https://s3.eu-west-1.amazonaws.com/back.ups",
     "s3.eu-west-1.amazonaws.com",
     "/back.ups",
     "eu-west-1"},
    {"provider=aws region=eu-west-1 bucket=backups addressing=path" KEYS,
     "https://s3.eu-west-1.amazonaws.com/backups",
     "s3.eu-west-1.amazonaws.com",
     "/backups",
     "eu-west-1"},
    {"endpoint=s3.us-west-004.backblazeb2.com bucket=backups" KEYS,
     "https://s3.us-west-004.backblazeb2.com/backups",
     "s3.us-west-004.backblazeb2.com",
     "/backups",
     "us-west-004"},
    {"endpoint=http://minio.lan:9000 bucket=backups" KEYS,
     "http://minio.lan:9000/backups",
     "minio.lan:9000",
     "/backups",
     "us-east-1"},
    {"endpoint=http://minio.lan:9000 bucket=back.ups addressing=virtual" KEYS,
     "http://back.ups.minio.lan:9000",
     "back.ups.minio.lan:9000",
     "",
     "us-east-1"},
    {"endpoint=http://[::1]:9000 bucket=backups provider=aws region=r" KEYS,
     "http://[::1]:9000/backups",
     "[::1]:9000",
     "/backups",
     "r"},
    {"endpoint=garage:3900 bucket=backups provider=garage" KEYS,
     "https://garage:3900/backups",
     "garage:3900",
     "/backups",
     "garage"},
    {"provider=google bucket=backups" KEYS,
     "https://storage.googleapis.com/backups",
     "storage.googleapis.com",
     "/backups",
     "auto"},
    {"endpoint=https://s3.amazonaws.com bucket=s3s" KEYS,
     "https://s3s.s3.amazonaws.com",
     "s3s.s3.amazonaws.com",
     "",
     ""},
    {"endpoint=https://nyc3.digitaloceanspaces.com bucket=nyc3" KEYS,
     "https://nyc3.digitaloceanspaces.com/nyc3",
     "nyc3.digitaloceanspaces.com",
     "/nyc3",
     "nyc3"},
    {"bucket=backups" KEYS, NULL, "endpoint: missing", NULL, NULL},
    {"provider=aws bucket=backups" KEYS, NULL, "region: missing", NULL, NULL},
    {"provider=cloudflare bucket=backups" KEYS,
     NULL,
     "endpoint: missing; for Cloudflare",
     NULL,
     NULL},
    {"endpoint=minio" KEYS, NULL, "bucket: missing", NULL, NULL},
    {"endpoint=10.0.0.1 bucket=backups addressing=virtual" KEYS, NULL, "use 'path'", NULL, NULL},
    {"endpoint=backups.s3.eu-west-1.amazonaws.com bucket=backups" KEYS,
     NULL,
     "leave 'backups.' away",
     NULL,
     NULL},
    {"endpoint=minio bucket=backups", NULL, "access-key: missing; give", NULL, NULL},
    {"endpoint=minio bucket=backups access-key=a", NULL, "secret-key: missing", NULL, NULL},
    {"endpoint=minio bucket=backups secret-key=a", NULL, "access-key: missing", NULL, NULL},
    {"endpoint=minio bucket=backups credentials=file",
     NULL,
     "credentials-file: missing",
     NULL,
     NULL},
    {"endpoint=minio bucket=backups sse-kms-key=k" KEYS, NULL, "needs sse 'aws:kms'", NULL, NULL},
    {"endpoint=minio bucket=backups sse=AES256 sse-kms-key=k" KEYS, NULL, "needs sse", NULL, NULL},
};

static void addresses_are_built(void) {
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        CONFIG config = config_of(addresses[i].options);
        _cleanup_(config_clear) struct config resolved = {0};
        struct s3pve_error err = S3PVE_ERROR_INIT;
        int rc = config_resolve(config, &resolved, &err);

        is_int(s3pve_config_check(config, NULL), rc, "check and resolve agree");
        if (!addresses[i].url) {
            is_int(rc, -1, "refused: %s", addresses[i].options);
            ok(strstr(err.message, addresses[i].host), "... %s", err.message);
            continue;
        }
        is_int(rc, 0, "resolved: %s %s", addresses[i].options, err.message);
        is_str(resolved.base_url, addresses[i].url, "... the bucket's URL");
        is_str(resolved.host, addresses[i].host, "... the Host header");
        is_str(resolved.base_path, addresses[i].path, "... the path that is signed");
        is_str(resolved.region, addresses[i].region, "... the region");
        ok(resolved.virtual_addressing == !*addresses[i].path, "... and says which it is");
    }
}

static void defaults_and_units(void) {
    CONFIG config = config_of("endpoint=minio bucket=backups prefix=pve" KEYS);
    _cleanup_(config_clear) struct config resolved = {0};

    is_str(s3pve_config_get(config, "connections"), "16", "a default shows");
    is_str(s3pve_config_get(config, "provider"), "generic", "so does the preset");
    is_int(config_resolve(config, &resolved, NULL), 0, "it resolves");
    is_int(resolved.connections, 16, "connections");
    is_int((long long)resolved.timeout_ms, 120000, "the timeout is in milliseconds");
    is_int((long long)resolved.part_size, 0, "the part size is ours to choose");
    is_int((long long)resolved.upload_limit, 0, "no limit");
    is_int(resolved.max_parts, 10000, "the preset's parts");
    is_str(resolved.prefix, "pve/", "the prefix");
    is_str(resolved.secret_key, "s", "the secret arrives");
    is_str(resolved.session_token, "", "what is not given is \"\"");
    ok(resolved.credentials == CREDS_AUTO, "credentials are found by themselves");
    config_clear(&resolved);
    ok(!resolved.secret_key && !resolved.bucket, "a cleared configuration holds nothing");

    s3pve_config_set(config, "part-size", "64", NULL);
    s3pve_config_set(config, "upload-limit", "2", NULL);
    s3pve_config_set(config, "provider", "cloudflare", NULL);
    s3pve_config_set(config, "credentials", "anonymous", NULL);
    is_int(config_resolve(config, &resolved, NULL), 0, "it resolves again");
    is_int((long long)resolved.part_size, 64 << 20, "part-size is in MiB");
    is_int((long long)resolved.upload_limit, 2 << 20, "upload-limit is in MiB/s");
    ok(resolved.equal_parts, "R2's parts are equal");
    ok(resolved.credentials == CREDS_ANONYMOUS, "anonymous is asked for");

    is_int(s3pve_config_set(config, "part-size", "", NULL), 0, "\"\" clears");
    is_str(s3pve_config_get(config, "part-size"), "", "... and it is gone");
    is_int(s3pve_config_set(config, "prefix", NULL, NULL), 0, "so does NULL");
    is_str(s3pve_config_get(config, "prefix"), "", "... too");
    ok(!s3pve_config_free(NULL), "nothing can be freed");
}

static void fingerprint_without_tls_is_a_mistake(void) {
    CONFIG config = config_of("endpoint=http://minio bucket=backups" KEYS);
    struct s3pve_error err = S3PVE_ERROR_INIT;

    s3pve_config_set(config, "fingerprint", fingerprint, NULL);
    is_int(s3pve_config_check(config, &err), -1, "a fingerprint with http is refused");
    ok(strstr(err.message, "use https://"), "... %s", err.message);
}

int main(void) {
    options_are_checked_on_the_spot();
    fingerprints_are_taken_as_tools_print_them();
    addresses_are_built();
    defaults_and_units();
    fingerprint_without_tls_is_a_mistake();
    return done_testing();
}
