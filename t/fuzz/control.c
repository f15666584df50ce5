/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A line to the control socket: one JSON object answers, and only who says "stop" stops. */
#include <jansson.h>
#include <string.h>

#include "daemon/control.h"
#include "fuzz.h"

static struct { unsigned n_stops, n_forced, n_reloads; } done;

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
    json_decref(request);
    json_decref(answer);
    free(text);
    return 0;
}
