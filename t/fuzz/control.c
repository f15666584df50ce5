/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A line to the control socket: one JSON object answers, and only who says "stop" stops; only who
 * names a volume and what is to be done with it gets that done, and what was taken is given back.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "daemon/control.h"
#include "daemon/export.h"
#include "daemon/volume_care.h"
#include "fuzz.h"

static struct {
    unsigned n_stops, n_forced, n_reloads, n_taken;
    const char *verb; /* what was done with a volume; NULL: nothing */
    char name[S3PVE_VOLUME_NAME];
    uint64_t size;
} done;

/* --- what the commands act upon */

int daemon_stop(struct daemon *daemon, bool force) {
    done.n_stops++;
    done.n_forced += force;
    return force ? 0 : -1;
}

int daemon_reload(struct daemon *daemon, struct s3pve_error *err) {
    done.n_reloads++;
    *err = (struct s3pve_error){.code = S3PVE_E_INVALID, .message = "a \xc3\xb6 and a \xff"};
    return -1;
}

bool session_is_mounted(struct session *session) {
    return true;
}

unsigned session_n_open(struct session *session) {
    return 1;
}

struct volume_sum volume_care_sum(struct daemon *daemon) {
    return (struct volume_sum){.n_open = 1, .dirty = UINT64_MAX};
}

bool volume_care_find(
    struct daemon *daemon, const char *name, struct s3pve_volume_stats *ret_stats
) {
    ret_stats->info.is_file = strchr(name, 'q');
    return true;
}

void volume_care_serve(struct daemon *daemon, struct export *export, const char *name) {
    must(done.n_taken == 1);
}

void session_volume_changed(struct session *session, const char *volume) {
    (void)session, (void)volume;
}

struct export *export_take(
    struct export_server *server,
    const char *name,
    const struct export_wait *wait,
    struct s3pve_error *err
) {
    must(wait->until_ms > 0 && wait->cancel);
    done.n_taken++;
    return (struct export *)&done;
}

void export_give(struct export *export) {
    done.n_taken--;
}

int export_add(struct export *export, const struct s3pve_call *call, struct s3pve_error *err) {
    must(done.n_taken == 1);
    return 0;
}

int export_remove(struct export *export, const struct export_wait *wait, struct s3pve_error *err) {
    must(done.n_taken == 1);
    return 0;
}

void export_fit(struct export *export) {
    must(done.n_taken == 1);
}

struct export_count export_count(struct export_server *server, const char *name) {
    return (struct export_count){1, 2};
}

static int do_with(const char *verb, const char *name, const struct s3pve_call *call) {
    must(!done.verb && *name && strlen(name) < sizeof(done.name) && call->cancel);
    must(call->timeout_ms > 0 && call->timeout_ms <= VOLUME_COMMAND_MS_MAX);
    done.verb = verb;
    strcpy(done.name, name);
    return 0;
}

int s3pve_volumes_list(
    struct s3pve_volumes *volumes,
    uint64_t vmid,
    int (*each)(void *ctx, const struct s3pve_volume_info *info),
    void *ctx,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_volume_info info = {.name = "\xff", .size = UINT64_MAX, .created = -1};

    must(vmid <= INT64_MAX);
    for (int i = 0; i < 2; i++)
        each(ctx, &info);
    return do_with("list", "all", call);
}

/* Names are the library's to judge: here they are too long, or not. */
int s3pve_volume_check_name(const char *name, struct s3pve_error *err) {
    *err = (struct s3pve_error){.code = S3PVE_E_INVALID, .message = "a \xff name"};
    return strlen(name) < sizeof(done.name) ? 0 : -1;
}

int s3pve_volumes_stat(
    struct s3pve_volumes *volumes,
    const char *name,
    struct s3pve_volume_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    *ret_info = (struct s3pve_volume_info){.name = "1/a", .state = S3PVE_VOLUME_MOVING};
    return s3pve_volume_check_name(name, err) < 0 ? -1 : do_with("stat", name, call);
}

int s3pve_volume_create(
    struct s3pve_client *client,
    const char *name,
    uint64_t size,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    done.size = size;
    return s3pve_volume_check_name(name, err) < 0 ? -1 : do_with("create", name, call);
}

int s3pve_volumes_rename(
    struct s3pve_volumes *volumes,
    const char *name,
    const char *new_name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    must(*new_name);
    return s3pve_volume_check_name(name, err) < 0 ? -1 : do_with("rename", name, call);
}

int s3pve_volumes_delete(
    struct s3pve_volumes *volumes,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    return do_with("delete", name, call);
}

int s3pve_volumes_resize(
    struct s3pve_volumes *volumes,
    const char *name,
    uint64_t size,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    done.size = size;
    return do_with("resize", name, call);
}

int s3pve_volumes_activate(
    struct s3pve_volumes *volumes,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    return do_with("activate", name, call);
}

int s3pve_volumes_deactivate(
    struct s3pve_volumes *volumes,
    const char *name,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    do_with("deactivate", name, call);
    *err = (struct s3pve_error){.code = S3PVE_E_TIMEOUT, .message = "3 MiB are missing"};
    return -1;
}

int s3pve_volumes_next(
    struct s3pve_volumes *volumes, size_t index, struct s3pve_volume_stats *ret_stats
) {
    *ret_stats = (struct s3pve_volume_stats){.info.name = "1/a", .dirty = UINT64_MAX};
    return index < 2 ? 0 : -1;
}

void s3pve_volumes_cache(struct s3pve_volumes *volumes, struct s3pve_volumes_cache *ret_cache) {
    *ret_cache = (struct s3pve_volumes_cache){.size = UINT64_MAX};
}

void s3pve_files_stats(struct s3pve_files *files, struct s3pve_files_stats *ret_stats) {
    *ret_stats = (struct s3pve_files_stats){.online = true, .total_bytes = UINT64_MAX};
    strcpy(ret_stats->last_error, "\xff is no text");
}

int s3pve_files_upload_next(
    struct s3pve_files *files, size_t index, struct s3pve_files_upload *ret_upload
) {
    *ret_upload = (struct s3pve_files_upload){.size = 1};
    return index < 2 ? 0 : -1;
}

void s3pve_files_expire(struct s3pve_files *files) {
}

void s3pve_files_refresh(struct s3pve_files *files, const struct s3pve_call *call) {
}

void s3pve_client_counters(struct s3pve_client *client, struct s3pve_counters *ret_counters) {
    *ret_counters = (struct s3pve_counters){.n_put = 1};
}

/* --- the target */

static bool is_text(const json_t *answer, const char *name) {
    const char *text = json_string_value(json_object_get(answer, name));

    return text && *text;
}

static bool asks_for(const json_t *request, const char *command) {
    const char *text = json_string_value(json_object_get(request, "cmd"));

    return text && strcmp(text, command) == 0;
}

static void check_volume(const json_t *request) {
    const json_t *size = json_object_get(request, "size");
    char command[40];

    must(done.n_taken == 0);
    if (!done.verb)
        return;
    snprintf(command, sizeof(command), "volume-%s", done.verb);
    must(asks_for(request, command));
    if (strcmp(done.verb, "list") != 0)
        must(strcmp(json_string_value(json_object_get(request, "name")), done.name) == 0);
    if (size)
        must(json_integer_value(size) >= 0 && done.size == (uint64_t)json_integer_value(size));
    else
        must(strcmp(done.verb, "resize") != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct config config = {.mountpoint = (char *)"/mnt/pve/store1"};
    struct daemon daemon = {
        .storage = (char *)"store1", .lock = PTHREAD_MUTEX_INITIALIZER, .config = &config};
    json_t *request = json_loadb((const char *)data, size, 0, NULL), *answer;
    char *text;

    memset(&done, 0, sizeof(done));
    text = control_answer(&daemon, (const char *)data, size);
    must(text && !strchr(text, '\n'));
    answer = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    must(json_is_object(answer) && json_is_boolean(json_object_get(answer, "ok")));
    if (json_is_false(json_object_get(answer, "ok")))
        must(is_text(answer, "code") && is_text(answer, "error"));
    must(done.n_stops == 0 || asks_for(request, "stop"));
    must(done.n_forced == 0 || json_is_true(json_object_get(request, "force")));
    must(done.n_reloads == 0 || asks_for(request, "reload"));
    check_volume(request);
    json_decref(request);
    json_decref(answer);
    free(text);
    return 0;
}
