/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What the control socket answers; everything but `reload` and `refresh` comes from memory. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/control.h"

#define REFRESH_MS 5000
#define UPLOADS_MAX 1000 /* named in one answer */

/* A name the bucket holds need not be UTF-8, but JSON must. */
static json_t *text(const char *bytes) {
    json_t *string = json_string(bytes);
    return string ? string : json_string("?");
}

static json_t *failure(const char *code, const char *why) {
    return json_pack("{s:b, s:s, s:o}", "ok", 0, "code", code, "error", text(why));
}

static void add(json_t *object, const char *name, json_t *value) {
    json_object_set_new(object, name, value);
}

static void add_number(json_t *object, const char *name, uint64_t number) {
    add(object, name, json_integer((json_int_t)number));
}

static void add_identity(json_t *answer, struct daemon *daemon) {
    add(answer, "version", json_string(s3pve_version()));
    add_number(answer, "pid", (uint64_t)getpid());
    add(answer, "storage", json_string(daemon->storage));
    add_number(answer, "uptime_s", (uint64_t)(clock_monotonic_ms() - daemon->started_ms) / 1000);
}

static json_t *cmd_ping(struct daemon *daemon, json_t *request) {
    (void)request;
    json_t *answer = json_pack("{s:b}", "ok", 1);
    add_identity(answer, daemon);
    return answer;
}

static json_t *cache_of(const struct s3pve_files_stats *stats) {
    json_t *cache = json_object();
    add_number(cache, "size", stats->cache_size);
    add_number(cache, "used", stats->cache_bytes);
    add_number(cache, "hits", stats->cache_hits);
    add_number(cache, "misses", stats->cache_misses);
    return cache;
}

static json_t *counters_of(struct daemon *daemon) {
    struct s3pve_counters n;
    s3pve_client_counters(daemon->client, &n);
    json_t *counters = json_object();
    add_number(counters, "put", n.n_put);
    add_number(counters, "get", n.n_get);
    add_number(counters, "list", n.n_list);
    add_number(counters, "delete", n.n_delete);
    add_number(counters, "other", n.n_other);
    add_number(counters, "retries", n.n_retries);
    add_number(counters, "errors", n.n_errors);
    add_number(counters, "throttled", n.n_throttled);
    add_number(counters, "bytes_sent", n.bytes_sent);
    add_number(counters, "bytes_received", n.bytes_received);
    add_number(counters, "last_ok", (uint64_t)n.last_ok_s);
    add_number(counters, "last_fail", (uint64_t)n.last_fail_s);
    add_number(counters, "in_flight", n.in_flight);
    add_number(counters, "latency_ms", n.latency_ms);
    return counters;
}

static json_t *cmd_status(struct daemon *daemon, json_t *request) {
    (void)request;
    struct s3pve_files_stats stats;
    s3pve_files_stats(daemon->files, &stats);

    json_t *answer = json_pack("{s:b}", "ok", 1);
    add_identity(answer, daemon);
    add(answer, "online", json_boolean(stats.online));
    add(answer, "mounted", json_boolean(session_is_mounted(daemon->session)));
    add_number(answer, "total", stats.total_bytes);
    add_number(answer, "used", stats.used_bytes);
    add_number(answer, "avail", stats.avail_bytes);
    add_number(answer, "objects", stats.used_objects);
    add_number(answer, "used_as_of", (uint64_t)stats.used_as_of_s);
    add(answer, "last_error", text(stats.last_error));
    add(answer, "cache", cache_of(&stats));
    add_number(answer, "open", session_n_open(daemon->session));
    add_number(answer, "uploads", stats.uploads);
    add_number(answer, "held", stats.held_uploads);
    add_number(answer, "memory", stats.upload_memory);
    add(answer, "counters", counters_of(daemon));

    LOCK_SCOPE(&daemon->lock);
    add(answer, "mountpoint", text(daemon->config->mountpoint));
    return answer;
}

static json_t *cmd_uploads(struct daemon *daemon, json_t *request) {
    (void)request;
    struct s3pve_files_upload upload;
    json_t *uploads = json_array();
    for (size_t i = 0; i < UPLOADS_MAX; i++) {
        if (s3pve_files_upload_next(daemon->files, i, &upload) < 0)
            break;
        json_t *one = json_object();
        add(one, "path", text(upload.path));
        add_number(one, "size", upload.size);
        add_number(one, "stored", upload.stored);
        add_number(one, "started", (uint64_t)upload.started_s);
        add(one, "held", json_boolean(upload.held));
        json_array_append_new(uploads, one);
    }
    return json_pack("{s:b, s:o}", "ok", 1, "uploads", uploads);
}

static json_t *cmd_reload(struct daemon *daemon, json_t *request) {
    (void)request;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int r = daemon_reload(daemon, &err);
    if (r < 0)
        return failure(s3pve_code_name(err.code), err.message);
    return json_pack("{s:b, s:b}", "ok", 1, "restart", r > 0);
}

static json_t *cmd_refresh(struct daemon *daemon, json_t *request) {
    struct s3pve_call call = {.timeout_ms = REFRESH_MS, .cancel = &daemon->stop};
    s3pve_files_expire(daemon->files);
    s3pve_files_refresh(daemon->files, &call);
    return cmd_status(daemon, request);
}

static json_t *cmd_stop(struct daemon *daemon, json_t *request) {
    bool force = json_is_true(json_object_get(request, "force"));
    bool busy = daemon_stop(daemon, force) < 0;
    return json_pack(
        "{s:b, s:b, s:i}", "ok", 1, "busy", busy, "open", (int)session_n_open(daemon->session)
    );
}

struct command {
    const char *name;
    json_t *(*run)(struct daemon *daemon, json_t *request);
    const char *flag; /* true or false, besides "cmd"; NULL: there is none */
};

static const struct command commands[] = {
    {"ping", cmd_ping, NULL},
    {"status", cmd_status, NULL},
    {"uploads", cmd_uploads, NULL},
    {"reload", cmd_reload, NULL},
    {"refresh", cmd_refresh, NULL},
    {"stop", cmd_stop, "force"},
};

static const struct command *find_command(const char *name) {
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

/* Who asks for what we do not know, or in another way, would take our answer for another.  Return:
 * NULL, or the refusal. */
static json_t *check(const struct command *command, json_t *request) {
    const char *key;
    json_t *value;
    char why[80];
    json_object_foreach(request, key, value) {
        if (strcmp(key, "cmd") == 0)
            continue;
        if (!command->flag || strcmp(key, command->flag) != 0) {
            snprintf(why, sizeof(why), "\"%s\" has an unknown key", command->name);
            return failure("INVALID", why);
        }
        if (!json_is_boolean(value)) {
            snprintf(why, sizeof(why), "\"%s\" must be true or false", key);
            return failure("INVALID", why);
        }
    }
    return NULL;
}

static json_t *answer_to(struct daemon *daemon, json_t *request) {
    const char *name = json_string_value(json_object_get(request, "cmd"));
    if (!name)
        return failure("INVALID", "not a JSON object with \"cmd\"");
    const struct command *command = find_command(name);
    if (!command)
        return failure("INVALID", "unknown command");
    json_t *refusal = check(command, request);
    return refusal ? refusal : command->run(daemon, request);
}

char *control_answer(struct daemon *daemon, const char *line, size_t len) {
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    json_t *answer = answer_to(daemon, request);
    char *bytes = answer ? json_dumps(answer, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(request);
    json_decref(answer);
    return bytes;
}
