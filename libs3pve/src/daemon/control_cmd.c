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
#include "daemon/control_cmd.h"
#include "daemon/reply.h"
#include "daemon/volume_care.h"

#define REFRESH_MS 5000
#define UPLOADS_MAX 1000 /* named in one answer */

static void add_identity(json_t *answer, struct daemon *daemon) {
    reply_add_text(answer, "version", s3pve_version());
    reply_add_number(answer, "pid", (uint64_t)getpid());
    reply_add_text(answer, "storage", daemon->storage);
    reply_add_number(
        answer, "uptime_s", (uint64_t)(clock_monotonic_ms() - daemon->started_ms) / 1000
    );
}

static json_t *cmd_ping(struct daemon *daemon, json_t *request) {
    (void)request;
    json_t *answer = reply_good();
    add_identity(answer, daemon);
    return answer;
}

/* Of files and of volumes: who looks at it gave them one size. */
static json_t *cache_of(struct daemon *daemon, const struct s3pve_files_stats *stats) {
    struct s3pve_volumes_cache volumes;
    s3pve_volumes_cache(daemon->volumes, &volumes);
    json_t *cache = json_object();
    reply_add_number(cache, "size", stats->cache_size + volumes.size);
    reply_add_number(cache, "used", stats->cache_bytes + volumes.used);
    reply_add_number(cache, "hits", stats->cache_hits + volumes.hits);
    reply_add_number(cache, "misses", stats->cache_misses + volumes.misses);
    return cache;
}

static json_t *volumes_of(struct daemon *daemon) {
    struct volume_sum sum = volume_care_sum(daemon);
    json_t *volumes = json_object();
    reply_add_number(volumes, "open", sum.n_open);
    reply_add_number(volumes, "active", sum.n_active);
    reply_add_number(volumes, "failed", sum.n_failed);
    reply_add_number(volumes, "uploads", sum.n_uploads);
    reply_add_number(volumes, "dirty", sum.dirty);
    reply_add_number(volumes, "dirty_ms", (uint64_t)sum.dirty_ms);
    return volumes;
}

static json_t *counters_of(struct daemon *daemon) {
    struct s3pve_counters n;
    s3pve_client_counters(daemon->client, &n);
    json_t *counters = json_object();
    reply_add_number(counters, "put", n.n_put);
    reply_add_number(counters, "get", n.n_get);
    reply_add_number(counters, "list", n.n_list);
    reply_add_number(counters, "delete", n.n_delete);
    reply_add_number(counters, "other", n.n_other);
    reply_add_number(counters, "retries", n.n_retries);
    reply_add_number(counters, "errors", n.n_errors);
    reply_add_number(counters, "throttled", n.n_throttled);
    reply_add_number(counters, "bytes_sent", n.bytes_sent);
    reply_add_number(counters, "bytes_received", n.bytes_received);
    reply_add_number(counters, "last_ok", (uint64_t)n.last_ok_s);
    reply_add_number(counters, "last_fail", (uint64_t)n.last_fail_s);
    reply_add_number(counters, "in_flight", n.in_flight);
    reply_add_number(counters, "latency_ms", n.latency_ms);
    return counters;
}

static json_t *cmd_status(struct daemon *daemon, json_t *request) {
    (void)request;
    struct s3pve_files_stats stats;
    s3pve_files_stats(daemon->files, &stats);

    json_t *answer = reply_good();
    add_identity(answer, daemon);
    reply_add_bool(answer, "online", stats.online);
    reply_add_bool(answer, "mounted", session_is_mounted(daemon->session));
    reply_add_number(answer, "total", stats.total_bytes);
    reply_add_number(answer, "used", stats.used_bytes);
    reply_add_number(answer, "avail", stats.avail_bytes);
    reply_add_number(answer, "objects", stats.used_objects);
    reply_add_number(answer, "used_as_of", (uint64_t)stats.used_as_of_s);
    reply_add_text(answer, "last_error", stats.last_error);
    reply_add(answer, "cache", cache_of(daemon, &stats));
    reply_add_number(answer, "open", session_n_open(daemon->session));
    reply_add_number(answer, "uploads", stats.uploads);
    reply_add_number(answer, "held", stats.held_uploads);
    reply_add_number(answer, "memory", stats.upload_memory);
    reply_add(answer, "volumes", volumes_of(daemon));
    reply_add(answer, "counters", counters_of(daemon));

    LOCK_SCOPE(&daemon->lock);
    reply_add_text(answer, "mountpoint", daemon->config->mountpoint);
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
        reply_add_text(one, "path", upload.path);
        reply_add_number(one, "size", upload.size);
        reply_add_number(one, "stored", upload.stored);
        reply_add_number(one, "started", (uint64_t)upload.started_s);
        reply_add_bool(one, "held", upload.held);
        json_array_append_new(uploads, one);
    }
    return json_pack("{s:b, s:o}", "ok", 1, "uploads", uploads);
}

static json_t *cmd_reload(struct daemon *daemon, json_t *request) {
    (void)request;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int r = daemon_reload(daemon, &err);
    if (r < 0)
        return reply_error(&err);
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
    json_t *answer = reply_good();
    reply_add_bool(answer, "busy", busy);
    reply_add_number(answer, "open", session_n_open(daemon->session));
    reply_add_number(answer, "volumes", volume_care_sum(daemon).n_used);
    return answer;
}

static const struct control_command commands[] = {
    {"ping", cmd_ping, {{0}}, false},
    {"status", cmd_status, {{0}}, false},
    {"uploads", cmd_uploads, {{0}}, false},
    {"reload", cmd_reload, {{0}}, false},
    {"refresh", cmd_refresh, {{0}}, false},
    {"stop", cmd_stop, {{"force", FIELD_FLAG, false}}, false},
    {NULL, NULL, {{0}}, false},
};

static const struct control_command *find_in(
    const struct control_command *table, const char *name
) {
    while (table->name && strcmp(table->name, name) != 0)
        table++;
    return table->name ? table : NULL;
}

static const struct control_command *find_command(const char *name) {
    const struct control_command *command = find_in(commands, name);
    return command ? command : find_in(volume_cmd_table, name);
}

/* --- what may be asked */

/* Return: NULL, or what the field must be. */
static const char *misfit(enum control_field_type type, const json_t *value) {
    double seconds = json_number_value(value);
    switch (type) {
    case FIELD_FLAG: return json_is_boolean(value) ? NULL : "true or false";
    case FIELD_TEXT: return json_string_length(value) > 0 ? NULL : "a text";
    case FIELD_BYTES:
        return json_is_integer(value) && json_integer_value(value) >= 0 ? NULL
                                                                        : "a number of bytes";
    case FIELD_NUMBER: return json_integer_value(value) > 0 ? NULL : "a number";
    case FIELD_SECONDS: break;
    }
    return seconds > 0 && seconds <= VOLUME_COMMAND_MS_MAX / 1000 ? NULL : "seconds, at most 3600";
}

static const struct control_field *find_field(
    const struct control_command *command, const char *name
) {
    for (const struct control_field *field = command->fields; field->name; field++) {
        if (strcmp(field->name, name) == 0)
            return field;
    }
    return NULL;
}

/* Says: "about" verb what. */
static json_t *refuse(const char *about, const char *verb, const char *what) {
    char why[160];
    snprintf(why, sizeof(why), "\"%s\" %s %s", about, verb, what);
    return reply_bad("INVALID", why);
}

static json_t *check_fields(const struct control_command *command, json_t *request) {
    const char *key;
    json_t *value;
    json_object_foreach(request, key, value) {
        const struct control_field *field = find_field(command, key);
        if (strcmp(key, "cmd") == 0)
            continue;
        if (!field)
            return refuse(command->name, "has", "an unknown key");
        const char *wanted = misfit(field->type, value);
        if (wanted)
            return refuse(key, "must be", wanted);
    }
    return NULL;
}

/* Who asks for what we do not know, or in another way, would take our answer for another.  Return:
 * NULL, or the refusal. */
static json_t *check(const struct control_command *command, json_t *request) {
    json_t *refusal = check_fields(command, request);
    const struct control_field *field = command->fields;
    while (!refusal && field->name) {
        if (field->needed && !json_object_get(request, field->name))
            refusal = refuse(command->name, "needs", field->name);
        field++;
    }
    return refusal;
}

/* Some clients' places are left to commands that are answered at once. */
static json_t *run_waiting(
    struct daemon *daemon, const struct control_command *command, json_t *request
) {
    json_t *answer = NULL;
    if (__atomic_add_fetch(&daemon->n_waiting, 1, __ATOMIC_RELAXED) > CONTROL_WAITING)
        answer = reply_bad("THROTTLED", "too many commands are waiting");
    else
        answer = command->run(daemon, request);
    __atomic_sub_fetch(&daemon->n_waiting, 1, __ATOMIC_RELAXED);
    return answer;
}

static json_t *answer_to(struct daemon *daemon, json_t *request) {
    const char *name = json_string_value(json_object_get(request, "cmd"));
    if (!name)
        return reply_bad("INVALID", "not a JSON object with \"cmd\"");
    const struct control_command *command = find_command(name);
    if (!command)
        return reply_bad("INVALID", "unknown command");
    json_t *refusal = check(command, request);
    if (refusal)
        return refusal;
    return command->waits ? run_waiting(daemon, command, request) : command->run(daemon, request);
}

char *control_answer(struct daemon *daemon, const char *line, size_t len) {
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    json_t *answer = answer_to(daemon, request);
    char *bytes = answer ? json_dumps(answer, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(request);
    json_decref(answer);
    return bytes;
}
