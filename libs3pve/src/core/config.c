/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* config.c - options by name, as users, storage.cfg and files give them */
#include <stdlib.h>
#include <string.h>

#include "core/config_private.h"
#include "core/error.h"
#include "core/keyfile.h"

static void wipe_text(char **text) {
    if (*text)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

_public_ struct s3pve_config *s3pve_config_new(void) {
    struct s3pve_config *config = calloc(1, sizeof(*config));

    if (config)
        config_settle(config);
    return config;
}

_public_ struct s3pve_config *s3pve_config_free(struct s3pve_config *config) {
    if (!config)
        return NULL;

    for (enum option option = 0; option < N_OPTIONS; option++)
        wipe_text(&config->value[option]);
    free(config->proxy_shown);
    free(config);
    return NULL;
}

const char *config_value(const struct s3pve_config *settings, enum option option) {
    const char *value = settings->value[option];

    return value ? value : config_option_default(option);
}

/* "http://user:password@host" without the middle. */
static char *show_proxy(const char *proxy) {
    const char *at = proxy ? strrchr(proxy, '@') : NULL;
    struct buf shown = {0};

    if (!proxy)
        return NULL;
    if (buf_str(&shown, at ? "http://" : "") < 0 || buf_str(&shown, at ? at + 1 : proxy) < 0)
        buf_clear(&shown);
    return buf_steal(&shown);
}

_public_ int s3pve_config_set(
    struct s3pve_config *config, const char *name, const char *value, struct s3pve_error *err
) {
    _cleanup_(buf_wipe) struct buf text = {0};
    enum option option = config_option(name);

    if (option == N_OPTIONS)
        return config_refuse(err, "option", name, "there is no option of that name");
    if (value && *value && config_accept(option, value, &text, err) < 0)
        return -1;

    wipe_text(&config->value[option]);
    config->value[option] = buf_steal(&text);
    if (option == OPTION_PROXY) {
        free(config->proxy_shown);
        config->proxy_shown = show_proxy(config->value[option]);
    }
    config_settle(config);
    return 0;
}

_public_ const char *s3pve_config_get(const struct s3pve_config *config, const char *name) {
    enum option option = config_option(name);

    if (option == N_OPTIONS || config_option_secret(option))
        return "";
    switch (option) {
    case OPTION_ENDPOINT: return config->endpoint;
    case OPTION_REGION: return config->region;
    case OPTION_PROVIDER: return config->provider->name;
    case OPTION_ADDRESSING: return config->virtual_addressing ? "virtual" : "path";
    case OPTION_PROXY: return config->proxy_shown ? config->proxy_shown : "";
    default: return config_value(config, option);
    }
}

static int set_line(void *ctx, const char *name, const char *value, struct s3pve_error *err) {
    return s3pve_config_set(ctx, name, value, err);
}

_public_ int s3pve_config_read_file(
    struct s3pve_config *config, const char *path, struct s3pve_error *err
) {
    return keyfile_read(path, false, set_line, config, err);
}

_public_ int s3pve_config_check(const struct s3pve_config *config, struct s3pve_error *err) {
    struct config resolved = {0};

    if (config_resolve(config, &resolved, err) < 0)
        return -1;
    config_clear(&resolved);
    return 0;
}
