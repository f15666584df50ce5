/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_private.h"
#include "core/creds.h"
#include "core/error.h"
#include "core/keyfile.h"

static void wipe(char **text) {
    if (*text)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

void creds_clear(struct creds *creds) {
    wipe(&creds->access_key);
    wipe(&creds->secret_key);
    wipe(&creds->token);
    *creds = (struct creds){0};
}

/* Take a value unless there is one already. */
static int fill(char **to, enum option option, const char *value, struct s3pve_error *err) {
    _cleanup_(buf_wipe) struct buf text = {0};

    if (*to || !value || !*value)
        return 0;
    if (config_accept(option, value, &text, err) < 0)
        return -1;
    *to = buf_steal(&text);
    return 0;
}

static int fill_from_config(
    struct creds *creds, const struct config *config, struct s3pve_error *err
) {
    if (fill(&creds->access_key, OPTION_ACCESS_KEY, config->access_key, err) < 0 ||
        fill(&creds->secret_key, OPTION_SECRET_KEY, config->secret_key, err) < 0 ||
        fill(&creds->token, OPTION_SESSION_TOKEN, config->session_token, err) < 0)
        return -1;
    return 0;
}

/* A credentials file may hold more than concerns us. */
static int take_line(void *ctx, const char *name, const char *value, struct s3pve_error *err) {
    struct creds *creds = ctx;

    if (strcmp(name, "access-key") == 0)
        return fill(&creds->access_key, OPTION_ACCESS_KEY, value, err);
    if (strcmp(name, "secret-key") == 0)
        return fill(&creds->secret_key, OPTION_SECRET_KEY, value, err);
    if (strcmp(name, "session-token") == 0)
        return fill(&creds->token, OPTION_SESSION_TOKEN, value, err);
    return 0;
}

static int fill_from_file(
    struct creds *creds, const struct config *config, struct s3pve_error *err
) {
    if (!*config->credentials_file)
        return 0;
    return keyfile_read(config->credentials_file, true, take_line, creds, err);
}

static int fill_from_env(struct creds *creds, struct s3pve_error *err) {
    if (fill(&creds->access_key, OPTION_ACCESS_KEY, secure_getenv("AWS_ACCESS_KEY_ID"), err) < 0 ||
        fill(&creds->secret_key, OPTION_SECRET_KEY, secure_getenv("AWS_SECRET_ACCESS_KEY"), err) <
            0 ||
        fill(&creds->token, OPTION_SESSION_TOKEN, secure_getenv("AWS_SESSION_TOKEN"), err) < 0)
        return -1;
    return 0;
}

static int find(struct creds *creds, const struct config *config, struct s3pve_error *err) {
    switch (config->credentials) {
    case CREDS_AUTO:
        return fill_from_config(creds, config, err) < 0 ? -1 : fill_from_file(creds, config, err);
    case CREDS_FILE:
        return fill_from_file(creds, config, err) < 0 ? -1 : fill_from_config(creds, config, err);
    case CREDS_EXPLICIT: return fill_from_config(creds, config, err);
    case CREDS_ENV: return fill_from_env(creds, err);
    case CREDS_IMDS: return creds_load_imds(CREDS_IMDS_URL, creds, err);
    case CREDS_ANONYMOUS: creds->anonymous = true; return 0;
    }
    return error_set(err, S3PVE_E_INVALID, "credentials: unknown source");
}

static int missing(const struct config *config, const char *what, struct s3pve_error *err) {
    bool env = config->credentials == CREDS_ENV;

    if (*config->credentials_file && !env)
        return error_set(
            err, S3PVE_E_INVALID, "%s: not in %s either", what, config->credentials_file
        );
    return error_set(err, S3PVE_E_INVALID, "%s: missing%s", what, env ? " in the environment" : "");
}

/* Is there what it takes?  What is not needed becomes "". */
static int complete(struct creds *creds, const struct config *config, struct s3pve_error *err) {
    char **const texts[] = {&creds->access_key, &creds->secret_key, &creds->token};

    if (!creds->anonymous && !creds->access_key)
        return missing(config, "access-key", err);
    if (!creds->anonymous && !creds->secret_key)
        return missing(config, "secret-key", err);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (!*texts[i] && !(*texts[i] = strdup("")))
            return error_set(err, S3PVE_E_NOMEM, "out of memory");
    }
    return 0;
}

int creds_load(const struct config *config, struct creds *ret_creds, struct s3pve_error *err) {
    struct creds creds = {0};

    if (find(&creds, config, err) < 0 || complete(&creds, config, err) < 0) {
        creds_clear(&creds);
        return error_wrap(err, "credentials");
    }
    *ret_creds = creds;
    return 0;
}
