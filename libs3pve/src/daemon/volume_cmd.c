/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* volume_cmd.c - the control socket's commands about volumes */
#include <limits.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/limits.h"
#include "daemon/control_cmd.h"
#include "daemon/export.h"
#include "daemon/reply.h"
#include "daemon/volume_care.h"

/* --- what is asked */

static const char *text_of(json_t *request, const char *field) {
    return json_string_value(json_object_get(request, field));
}

static int64_t deadline_of(json_t *request) {
    json_t *seconds = json_object_get(request, "timeout");
    double ms = seconds ? json_number_value(seconds) * 1000 : VOLUME_COMMAND_MS;
    return clock_monotonic_ms() + (int64_t)ms;
}

/* What is left of its time, for one more call. */
static struct s3pve_call call_until(struct daemon *daemon, int64_t until_ms) {
    int64_t left = until_ms - clock_monotonic_ms();
    return (struct s3pve_call){
        .timeout_ms = left > 1 ? (unsigned)left : 1,
        .cancel = &daemon->stop,
    };
}

static struct s3pve_call call_of(struct daemon *daemon, json_t *request) {
    return call_until(daemon, deadline_of(request));
}

static json_t *outcome(int r, const struct s3pve_error *err) {
    return r < 0 ? reply_error(err) : reply_good();
}

/* --- volumes that nobody needs to have open */

static const char *state_name(enum s3pve_volume_state state) {
    switch (state) {
    case S3PVE_VOLUME_CLOSED: return "closed";
    case S3PVE_VOLUME_OPEN: return "open";
    case S3PVE_VOLUME_CLAIMED: return "claimed";
    case S3PVE_VOLUME_MOVING: break;
    }
    return "moving";
}

static void add_info(json_t *answer, const struct s3pve_volume_info *info) {
    reply_add_text(answer, "name", info->name);
    reply_add_number(answer, "size", info->size);
    reply_add_number(answer, "created", (uint64_t)info->created);
    reply_add_text(answer, "state", state_name(info->state));
    reply_add_text(answer, "node", info->node);
    reply_add_bool(answer, "file", info->is_file);
}

static int list_one(void *volumes, const struct s3pve_volume_info *info) {
    json_t *one = json_object();
    add_info(one, info);
    json_array_append_new(volumes, one);
    return 0;
}

static json_t *cmd_list(struct daemon *daemon, json_t *request) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = call_of(daemon, request);
    uint64_t vmid = (uint64_t)json_integer_value(json_object_get(request, "vmid"));
    json_t *volumes = json_array();
    if (s3pve_volumes_list(daemon->volumes, vmid, list_one, volumes, &call, &err) < 0) {
        json_decref(volumes);
        return reply_error(&err);
    }
    json_t *answer = reply_good();
    reply_add(answer, "volumes", volumes);
    return answer;
}

static json_t *cmd_stat(struct daemon *daemon, json_t *request) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = call_of(daemon, request);
    struct s3pve_volume_info info;
    if (s3pve_volumes_stat(daemon->volumes, text_of(request, "name"), &info, &call, &err) < 0)
        return reply_error(&err);
    json_t *answer = reply_good();
    add_info(answer, &info);
    return answer;
}

static json_t *cmd_create(struct daemon *daemon, json_t *request) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = call_of(daemon, request);
    json_t *size = json_object_get(request, "size");
    uint64_t bytes = size ? (uint64_t)json_integer_value(size) : S3PVE_VOLUME_FILE;
    const char *name = text_of(request, "name");
    int r = s3pve_volume_create(daemon->client, name, bytes, &call, &err);
    session_volume_changed(daemon->session, name);
    return outcome(r, &err);
}

static json_t *cmd_rename(struct daemon *daemon, json_t *request) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_call call = call_of(daemon, request);
    const char *name = text_of(request, "name"), *to = text_of(request, "to");
    int r = s3pve_volumes_rename(daemon->volumes, name, to, &call, &err);
    session_volume_changed(daemon->session, name);
    session_volume_changed(daemon->session, to);
    return outcome(r, &err);
}

/* --- volumes that may be served */

/* While nobody else changes whether it is. */
struct work {
    struct daemon *daemon;
    json_t *request;
    const char *name;
    struct export *export;
    struct export_wait wait;
};

static struct s3pve_call call_for(const struct work *work) {
    return call_until(work->daemon, work->wait.until_ms);
}

static json_t *do_work(
    struct daemon *daemon,
    json_t *request,
    int (*fn)(const struct work *work, struct s3pve_error *err)
) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct work work = {
        .daemon = daemon,
        .request = request,
        .name = text_of(request, "name"),
        .wait = {.until_ms = deadline_of(request), .cancel = &daemon->stop},
    };
    if (s3pve_volume_check_name(work.name, &err) < 0)
        return reply_error(&err);
    work.export = export_take(daemon->exports, work.name, &work.wait, &err);
    if (!work.export)
        return reply_error(&err);
    int r = fn(&work, &err);
    export_give(work.export);
    return outcome(r, &err);
}

/* The export holds the volume, so it goes first; and comes back when the volume does not go, so
 * that a guest can go on. */
static int without_export(
    const struct work *work,
    int (*fn
    )(struct s3pve_volumes *volumes,
      const char *name,
      const struct s3pve_call *call,
      struct s3pve_error *err),
    struct s3pve_error *err
) {
    if (export_remove(work->export, &work->wait, err) < 0)
        return -1;
    struct s3pve_call call = call_for(work);
    int r = fn(work->daemon->volumes, work->name, &call, err);
    if (r < 0)
        volume_care_serve(work->daemon, work->export, work->name);
    return r;
}

static int delete (const struct work *work, struct s3pve_error *err) {
    int r = without_export(work, s3pve_volumes_delete, err);
    session_volume_changed(work->daemon->session, work->name);
    if (r == 0)
        __atomic_store_n(&work->daemon->trash, 1, __ATOMIC_RELEASE);
    return r;
}

static json_t *cmd_delete(struct daemon *daemon, json_t *request) {
    return do_work(daemon, request, delete);
}

static int resize(const struct work *work, struct s3pve_error *err) {
    struct s3pve_call call = call_for(work);
    uint64_t size = (uint64_t)json_integer_value(json_object_get(work->request, "size"));
    if (s3pve_volumes_resize(work->daemon->volumes, work->name, size, &call, err) < 0)
        return -1;
    session_volume_changed(work->daemon->session, work->name);
    export_fit(work->export);
    return 0;
}

static json_t *cmd_resize(struct daemon *daemon, json_t *request) {
    return do_work(daemon, request, resize);
}

static int deactivate(const struct work *work, struct s3pve_error *err) {
    return without_export(work, s3pve_volumes_deactivate, err);
}

static json_t *cmd_deactivate(struct daemon *daemon, json_t *request) {
    return do_work(daemon, request, deactivate);
}

/* What has failed is opened anew, when nobody holds it any more: a guest that had it must not find
 * a disk that another node has changed.  A file that grows is not served: its size is not whole
 * sectors, and changes. */
static int activate(const struct work *work, struct s3pve_error *err) {
    struct s3pve_volume_stats stats;
    if (volume_care_find(work->daemon, work->name, &stats) && stats.failure.code &&
        export_remove(work->export, &work->wait, err) < 0)
        return -1;
    struct s3pve_call call = call_for(work);
    if (s3pve_volumes_activate(work->daemon->volumes, work->name, &call, err) < 0)
        return -1;
    if (volume_care_find(work->daemon, work->name, &stats) && stats.info.is_file)
        return 0;
    call = call_for(work);
    return export_add(work->export, &call, err);
}

static json_t *cmd_activate(struct daemon *daemon, json_t *request) {
    const char *name = text_of(request, "name");
    json_t *answer = do_work(daemon, request, activate);
    if (export_count(daemon->exports, name).n_exports == 0 ||
        !json_is_true(json_object_get(answer, "ok")))
        return answer;
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/" EXPORT_SOCKET, daemon->options.run_dir);
    reply_add_text(answer, "socket", path);
    reply_add_text(answer, "export", name);
    return answer;
}

/* --- open volumes, from memory */

static json_t *open_one(struct daemon *daemon, const struct s3pve_volume_stats *stats) {
    struct export_count count = export_count(daemon->exports, stats->info.name);
    json_t *one = json_object();
    add_info(one, &stats->info);
    reply_add_bool(one, "active", stats->active);
    reply_add_number(one, "held", stats->n_held - (stats->n_held ? count.n_exports : 0));
    reply_add_number(one, "users", count.n_clients);
    reply_add_number(one, "dirty", stats->dirty);
    reply_add_number(one, "dirty_ms", (uint64_t)stats->dirty_ms);
    reply_add_number(one, "journal", stats->journal_size);
    reply_add_number(one, "epoch", stats->epoch);
    reply_add_number(one, "reads", stats->n_reads);
    reply_add_number(one, "writes", stats->n_writes);
    reply_add_number(one, "flushes", stats->n_flushes);
    reply_add_number(one, "segments", stats->n_segments);
    reply_add_number(one, "uploads", stats->n_uploads);
    reply_add_text(one, "waiting", stats->waiting.code ? stats->waiting.message : "");
    reply_add_text(one, "failure", stats->failure.code ? stats->failure.message : "");
    return one;
}

static json_t *cmd_volumes(struct daemon *daemon, json_t *request) {
    (void)request;
    struct s3pve_volume_stats stats;
    json_t *volumes = json_array();
    for (size_t i = 0; s3pve_volumes_next(daemon->volumes, i, &stats) == 0; i++)
        json_array_append_new(volumes, open_one(daemon, &stats));
    json_t *answer = reply_good();
    reply_add(answer, "volumes", volumes);
    return answer;
}

/* --- their table */

#define TIMEOUT                                                                                    \
    { "timeout", FIELD_SECONDS, false }
#define NAME                                                                                       \
    { "name", FIELD_TEXT, true }

const struct control_command volume_cmd_table[] = {
    {"volumes", cmd_volumes, {{0}}, false},
    {"volume-list", cmd_list, {{"vmid", FIELD_NUMBER, false}, TIMEOUT}, true},
    {"volume-stat", cmd_stat, {NAME, TIMEOUT}, true},
    {"volume-create", cmd_create, {NAME, {"size", FIELD_BYTES, false}, TIMEOUT}, true},
    {"volume-delete", cmd_delete, {NAME, TIMEOUT}, true},
    {"volume-rename", cmd_rename, {NAME, {"to", FIELD_TEXT, true}, TIMEOUT}, true},
    {"volume-resize", cmd_resize, {NAME, {"size", FIELD_BYTES, true}, TIMEOUT}, true},
    {"volume-activate", cmd_activate, {NAME, TIMEOUT}, true},
    {"volume-deactivate", cmd_deactivate, {NAME, TIMEOUT}, true},
    {NULL, NULL, {{0}}, false},
};
