/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "core/error.h"
#include "core/keyfile.h"
#include "tap.h"

static char path[] = "/tmp/s3pve-keyfile-XXXXXX";

static void write_file(const char *text, size_t len) {
    FILE *file = fopen(path, "we");

    ok(file && fwrite(text, 1, len, file) == len && fclose(file) == 0, "wrote %zu bytes", len);
}

/* Collects "name=value;" */
static int collect(void *ctx, const char *name, const char *value, struct s3pve_error *err) {
    if (strcmp(name, "bad") == 0)
        return error_set(err, S3PVE_E_INVALID, "bad: refused");
    return buf_printf(ctx, "%s=%s;", name, value);
}

static const struct {
    const char *what, *text, *want, *error;
} files[] = {
    {"our own format",
     "# comment\n\nsecret-key = a=b \r\n  region=eu\n",
     "secret-key=a=b;region=eu;",
     NULL},
    {"AWS's format",
     "[default]\naws_access_key_id = AK\naws_secret_access_key = SK\naws_session_token=T\n",
     "access-key=AK;secret-key=SK;session-token=T;",
     NULL},
    {"only [default] of several sections",
     "[other]\naws_access_key_id = X\n[default]\nAWS_ACCESS_KEY_ID=AK\n[third]\nregion = y\n",
     "access-key=AK;",
     NULL},
    {"a missing last line end", "; c\nregion = eu", "region=eu;", NULL},
    {"an empty value", "region =\n", "region=;", NULL},
    {"an empty file", "", "", NULL},
    {"a line without '='", "region = eu\nhunter2\n", NULL, "line 2: expected 'name = value'"},
    {"a bare secret", "wJalrXUtnFEMI/K7MDENG/hunter2=\n", NULL, "line 1: expected"},
    {"a line without a name", "= x\n", NULL, "line 1: expected"},
    {"a refused line", "region = eu\n\nbad = hunter2\n", NULL, "line 3: bad: refused"},
};

static void formats_are_read(void) {
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        _cleanup_(buf_clear) struct buf got = {0};
        struct s3pve_error err = S3PVE_ERROR_INIT;
        int rc;

        write_file(files[i].text, strlen(files[i].text));
        rc = keyfile_read(path, false, collect, &got, &err);
        is_int(rc, files[i].want ? 0 : -1, "%s %s", files[i].what, err.message);
        if (files[i].want)
            is_str(buf_text(&got), files[i].want, "... gives its values");
        else
            ok(strstr(err.message, files[i].error) && strstr(err.message, path),
               "... and says where");
        ok(!strstr(err.message, "hunter2"), "... and no secret");
    }
}

static void secrets_are_private(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    _cleanup_(buf_clear) struct buf got = {0};

    write_file("secret-key = x\n", 15);
    chmod(path, 0640);
    is_int(
        keyfile_read(path, true, collect, &got, &err), -1, "a secret the group may read is refused"
    );
    is_int(err.code, S3PVE_E_INVALID, "... as INVALID");
    ok(strstr(err.message, "chmod 600"), "... with the remedy");
    is_int(keyfile_read(path, false, collect, &got, &err), -1, "... also among plain settings");
    ok(strstr(err.message, "chmod 600"), "... with the remedy");
    write_file("region = x\naccess-key = y\n", 26);
    is_int(keyfile_read(path, false, collect, &got, NULL), 0, "settings without one are not");
    chmod(path, 0604);
    is_int(keyfile_read(path, true, collect, &got, NULL), -1, "nor may others read a secret");
    chmod(path, 0600);
    is_int(keyfile_read(path, true, collect, &got, NULL), 0, "0600 is fine");
}

static void odd_files_are_refused(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    _cleanup_(buf_clear) struct buf got = {0};
    char *big = calloc(1, LIMIT_KEYFILE + 1);

    memset(big, '#', LIMIT_KEYFILE + 1);
    write_file(big, LIMIT_KEYFILE + 1);
    free(big);
    is_int(keyfile_read(path, false, collect, &got, &err), -1, "a huge file is refused");
    ok(strstr(err.message, "not a settings file"), "... %s", err.message);

    write_file("region = eu\0x", 13);
    is_int(keyfile_read(path, false, collect, &got, &err), -1, "so is one with a zero byte");
    is_int(keyfile_read("/", false, collect, &got, &err), -1, "and a directory");
    is_int(err.code, S3PVE_E_INVALID, "... as INVALID");
    is_int(keyfile_read("/dev/zero", false, collect, &got, NULL), -1, "and a device");
    is_int(keyfile_read("/nonexistent/x", false, collect, &got, &err), -1, "and a missing one");
    is_int(err.code, S3PVE_E_NOT_FOUND, "... as NOT_FOUND");
}

static void configurations_are_read(void) {
    struct s3pve_config *config = s3pve_config_new();
    struct s3pve_error err = S3PVE_ERROR_INIT;
    const char *text =
        "endpoint = minio.lan:9000\nbucket = backups\n"
        "aws_access_key_id = AK\naws_secret_access_key = hunter2\n";

    write_file(text, strlen(text));
    is_int(s3pve_config_read_file(config, path, NULL), 0, "a configuration file is read");
    is_str(s3pve_config_get(config, "endpoint"), "https://minio.lan:9000", "... its endpoint");
    is_str(s3pve_config_get(config, "access-key"), "AK", "... AWS's names");
    is_int(s3pve_config_check(config, NULL), 0, "... and it is complete");
    write_file("timeout = 1\ncolour = red\n", 25);
    is_int(s3pve_config_read_file(config, path, &err), -1, "an unknown option is refused");
    ok(strstr(err.message, "line 2: option 'colour'"), "... %s", err.message);
    s3pve_config_free(config);
}

int main(void) {
    int fd = mkstemp(path);

    if (fd < 0)
        return 1;
    close(fd);
    formats_are_read();
    secrets_are_private();
    odd_files_are_refused();
    configurations_are_read();
    unlink(path);
    return done_testing();
}
