/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Lines "name=value" are set, checked and resolved; errors are one line and know no secret. */
#include <string.h>

#include "core/config.h"
#include "fuzz.h"

static void check_error(const struct s3pve_error *err) {
    must(err->code != S3PVE_OK && err->errnum > 0);
    must(err->message[0] && memchr(err->message, 0, sizeof(err->message)));
    must(!strchr(err->message, '\n') && !strchr(err->message, '\r'));
}

static void set_line(struct s3pve_config *config, char *line) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    const char *name = strsep(&line, "=");

    if (s3pve_config_set(config, name, line, &err) < 0) {
        check_error(&err);
        if (line && strlen(line) > 20 && strcmp(name, "secret-key") == 0)
            must(!strstr(err.message, line));
    } else if (line && *line && strcmp(name, "secret-key") == 0) {
        must(!*s3pve_config_get(config, name));
    }
}

static void check_whole(const struct s3pve_config *settings) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct config config = {0};

    if (s3pve_config_check(settings, &err) < 0)
        check_error(&err);
    err = S3PVE_ERROR_INIT;
    if (config_resolve(settings, &config, &err) < 0) {
        check_error(&err);
        return;
    }
    must(config.host && config.base_url && config.base_path && config.bucket && config.prefix);
    must(strpbrk(config.base_url, " \t\r\n") == NULL && strpbrk(config.host, " /\r\n") == NULL);
    must(!*config.prefix || config.prefix[strlen(config.prefix) - 1] == '/');
    config_clear(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct s3pve_config *settings = s3pve_config_new();
    char *text = strndup((const char *)data, size), *next = text, *line;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    while ((line = strsep(&next, "\n")))
        set_line(settings, line);
    check_whole(settings);
    if (config_check_key(text, &err) < 0)
        check_error(&err);
    free(text);
    s3pve_config_free(settings);
    return 0;
}
