/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "daemon/fail.h"
#include "s3pve-volume.h"

#define NODE_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

bool config_is_name(const char *text) {
    size_t len = strlen(text);
    if (len < 2 || len > NAME_OF_STORAGE || !isalpha((unsigned char)text[0]))
        return false;
    for (const char *c = text; *c; c++) {
        if (!isalnum((unsigned char)*c) && !strchr("-_.", *c))
            return false;
    }
    return isalnum((unsigned char)text[len - 1]);
}

uint64_t config_volumes_cache(const struct config *config) {
    return config->cache_dir ? config->cache_size / 2 : 0;
}

struct config *config_free(struct config *config) {
    if (!config)
        return NULL;
    free(config->storage);
    free(config->mountpoint);
    free(config->state_dir);
    free(config->cache_dir);
    free(config->node);
    s3pve_config_free(config->client);
    free(config);
    return NULL;
}

static void closep(const int *fd) {
    if (*fd >= 0)
        close(*fd);
}

/* The whole file in a fresh buffer. */
static int read_all(int fd, size_t size, char **ret_text, size_t *ret_len) {
    _free_ char *text = malloc(size + 1);
    size_t len = 0;
    while (text && len < size) {
        ssize_t n = read(fd, text + len, size - len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n == 0)
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    if (!text)
        return -1;
    text[len] = '\0';
    *ret_len = len;
    *ret_text = steal_ptr(&text);
    return 0;
}

/* Whoever can write this file can make a root process mount and read where he likes. */
static int read_trusted(
    const char *path, char **ret_text, size_t *ret_len, struct s3pve_error *err
) {
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_errno(err, "%s", path);
    if (!S_ISREG(st.st_mode))
        return fail(err, S3PVE_E_INVALID, "%s: not a regular file", path);
    if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
        return fail(err, S3PVE_E_INVALID, "%s: others than its user can write it", path);
    if ((uint64_t)st.st_size > CONFIG_FILE_MAX)
        return fail(err, S3PVE_E_INVALID, "%s: longer than %zu bytes", path, CONFIG_FILE_MAX);
    if (read_all(fd, CONFIG_FILE_MAX, ret_text, ret_len) < 0)
        return fail_errno(err, "%s: read", path);
    return 0;
}

/* --- one setting each */

static int take_text(const json_t *value, char **ret_text) {
    if (!json_is_string(value) || json_string_value(value)[0] == '\0')
        return -1;
    *ret_text = strdup(json_string_value(value));
    return *ret_text ? 0 : -1;
}

/* An absolute path without "." and "..", so that prefixes can be compared as text. */
static int take_path(const json_t *value, char **ret_path) {
    _free_ char *path = NULL;
    if (take_text(value, &path) < 0 || path[0] != '/' || path[1] == '\0' || strlen(path) >= 4096)
        return -1;
    if (strstr(path, "//") || strstr(path, "/./") || strstr(path, "/../"))
        return -1;
    const char *last = strrchr(path, '/') + 1;
    if (last[0] == '\0' || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        return -1;
    *ret_path = steal_ptr(&path);
    return 0;
}

/* GiB, as a number or as its text: Perl does not tell them apart. */
static int take_gib(const json_t *value, uint64_t *ret_bytes) {
    double gib = -1;
    if (json_is_number(value)) {
        gib = json_number_value(value);
    } else if (json_is_string(value) && json_string_length(value) > 0) {
        char *end = NULL;
        gib = strtod(json_string_value(value), &end);
        gib = *end == '\0' ? gib : -1;
    }
    if (!isfinite(gib) || gib < 0 || gib > (double)(1u << 30))
        return -1;
    *ret_bytes = (uint64_t)(gib * (double)GIB(1));
    return 0;
}

static int take_durability(const json_t *value, bool *ret_bucket) {
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    *ret_bucket = strcmp(text, "bucket") == 0;
    return *ret_bucket || strcmp(text, "node") == 0 ? 0 : -1;
}

/* It becomes part of keys. */
static bool is_node(const char *text) {
    return *text && strlen(text) < S3PVE_VOLUME_NODE &&
           strspn(text, NODE_CHARACTERS) == strlen(text);
}

static int take_node(const json_t *value, char **ret_node) {
    _free_ char *node = NULL;
    if (take_text(value, &node) < 0 || !is_node(node))
        return -1;
    *ret_node = steal_ptr(&node);
    return 0;
}

static int take_journal_size(const json_t *value, uint64_t *ret_bytes) {
    return take_gib(value, ret_bytes) < 0 || *ret_bytes < JOURNAL_RING_MIN ? -1 : 0;
}

/* Options are strings in storage.cfg; a number or a boolean is what JSON made of them. */
static int option_set(
    struct s3pve_config *client, const char *name, const json_t *value, struct s3pve_error *err
) {
    char number[32];
    const char *text = NULL;
    if (json_is_string(value)) {
        text = json_string_value(value);
    } else if (json_is_integer(value)) {
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        text = number;
    } else if (json_is_boolean(value)) {
        text = json_is_true(value) ? "1" : "0";
    }
    if (!text)
        return fail(err, S3PVE_E_INVALID, "option '%s' is not a string or number", name);
    return s3pve_config_set(client, name, text, err);
}

static int take_options(struct config *config, json_t *options, struct s3pve_error *err) {
    const char *name;
    json_t *value;
    if (!json_is_object(options))
        return fail(err, S3PVE_E_INVALID, "'options' is not an object");
    json_object_foreach(options, name, value) {
        if (option_set(config->client, name, value, err) < 0)
            return -1;
    }
    return 0;
}

static int take_setting(
    struct config *config, const char *name, json_t *value, struct s3pve_error *err
) {
    int r = -1;
    const char *want = "a name";
    if (strcmp(name, "options") == 0) {
        return take_options(config, value, err);
    } else if (strcmp(name, "storage") == 0) {
        r = take_text(value, &config->storage);
    } else if (strcmp(name, "mountpoint") == 0) {
        r = take_path(value, &config->mountpoint), want = "an absolute path";
    } else if (strcmp(name, "state-dir") == 0) {
        r = take_path(value, &config->state_dir), want = "an absolute path";
    } else if (strcmp(name, "cache-dir") == 0) {
        r = take_path(value, &config->cache_dir), want = "an absolute path";
    } else if (strcmp(name, "cache-size") == 0) {
        r = take_gib(value, &config->cache_size), want = "a number of GiB";
    } else if (strcmp(name, "quota") == 0) {
        r = take_gib(value, &config->quota), want = "a number of GiB";
    } else if (strcmp(name, "durability") == 0) {
        r = take_durability(value, &config->bucket), want = "\"bucket\" or \"node\"";
    } else if (strcmp(name, "node") == 0) {
        r = take_node(value, &config->node), want = "a node's name";
    } else if (strcmp(name, "journal-size") == 0) {
        r = take_journal_size(value, &config->journal_size),
        want = "a number of GiB, 1/16 at least";
    } else {
        return fail(err, S3PVE_E_INVALID, "unknown setting '%s'", name);
    }
    return r < 0 ? fail(err, S3PVE_E_INVALID, "'%s' is not %s", name, want) : 0;
}

static bool is_below(const char *path, const char *dir) {
    size_t len = strlen(dir);
    return path && strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* Who makes the name, and how, is the plugin's business; this is to notice a file of another. */
static bool is_name_of(const char *name, const char *storage) {
    if (strlen(storage) <= NAME_OF_STORAGE)
        return strcmp(name, storage) == 0;
    return strlen(name) == NAME_OF_STORAGE && name[NAME_OF_STORAGE_KEPT] == '-' &&
           strncmp(name, storage, NAME_OF_STORAGE_KEPT) == 0;
}

/* Proxmox VE calls its nodes by the first part of their host name. */
static int name_node(struct config *config, struct s3pve_error *err) {
    char host[HOST_NAME_MAX + 1] = "";
    if (config->node)
        return 0;
    gethostname(host, sizeof(host) - 1);
    host[strcspn(host, ".")] = '\0';
    if (!is_node(host))
        return fail(
            err, S3PVE_E_INVALID, "'node' is needed, as the host name '%s' will not do", host
        );
    config->node = strdup(host);
    return config->node ? 0 : fail(err, S3PVE_E_NOMEM, "out of memory");
}

static int check(const struct config *config, const char *name, struct s3pve_error *err) {
    if (!config->storage || !config->mountpoint || !config->state_dir)
        return fail(err, S3PVE_E_INVALID, "'storage', 'mountpoint' and 'state-dir' are needed");
    if (!is_name_of(name, config->storage))
        return fail(err, S3PVE_E_INVALID, "is for storage '%s'", config->storage);
    /* The daemon would wait for itself. */
    if (is_below(config->state_dir, config->mountpoint) ||
        is_below(config->cache_dir, config->mountpoint))
        return fail(err, S3PVE_E_INVALID, "'state-dir' or 'cache-dir' is below 'mountpoint'");
    if (s3pve_config_set(config->client, "storage", config->storage, err) < 0)
        return -1;
    return s3pve_config_check(config->client, err);
}

static int take_all(
    json_t *root, const char *storage_name, struct config *config, struct s3pve_error *err
) {
    const char *name;
    json_t *value;
    if (!json_is_object(root))
        return fail(err, S3PVE_E_INVALID, "not a JSON object");
    json_object_foreach(root, name, value) {
        if (!json_is_null(value) && take_setting(config, name, value, err) < 0)
            return -1;
    }
    return name_node(config, err) < 0 ? -1 : check(config, storage_name, err);
}

int config_parse(
    const char *text,
    size_t len,
    const char *storage_name,
    struct config **ret_config,
    struct s3pve_error *err
) {
    json_error_t where;
    _cleanup_(json_decrefp) json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    if (!root)
        return fail(err, S3PVE_E_INVALID, "line %d: %s", where.line, where.text);

    _cleanup_(config_freep) struct config *config = calloc(1, sizeof(*config));
    if (!config || !(config->client = s3pve_config_new()))
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    config->bucket = true;
    if (take_all(root, storage_name, config, err) < 0)
        return -1;
    *ret_config = steal_ptr(&config);
    return 0;
}

int config_load(
    const char *path, const char *storage_name, struct config **ret_config, struct s3pve_error *err
) {
    _free_ char *text = NULL;
    size_t len = 0;
    if (read_trusted(path, &text, &len, err) < 0)
        return -1;

    struct s3pve_error why = S3PVE_ERROR_INIT;
    if (config_parse(text, len, storage_name, ret_config, &why) < 0)
        return fail(err, why.code, "%s: %s", path, why.message);
    return 0;
}
