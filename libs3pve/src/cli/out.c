/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/out.h"
#include "cli/progress.h"
#include "cli/signals.h"

const char *out_size(char text[OUT_SIZE], uint64_t bytes, bool human) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double n = (double)bytes;
    size_t unit = 0;

    while (n >= 1023.95 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        n /= 1024;
        unit++;
    }
    if (!human)
        snprintf(text, OUT_SIZE, "%" PRIu64, bytes);
    else
        snprintf(text, OUT_SIZE, "%.*f %s", unit ? 1 : 0, n, units[unit]);
    return text;
}

const char *out_time(char text[OUT_TIME], int64_t epoch_s, bool human) {
    time_t when = (time_t)epoch_s;
    struct tm tm;

    if (!epoch_s || !(human ? localtime_r(&when, &tm) : gmtime_r(&when, &tm)))
        return memcpy(text, "-", sizeof("-"));
    strftime(text, OUT_TIME, human ? "%Y-%m-%d %H:%M" : "%Y-%m-%dT%H:%M:%SZ", &tm);
    return text;
}

bool out_human(void) {
    static int human = -1;

    if (human < 0)
        human = isatty(STDOUT_FILENO);
    return human;
}

void out_name(FILE *file, const char *name) {
    if (!isatty(fileno(file))) {
        fputs(name, file);
        return;
    }
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
        /* 0xc2 0x80..0x9f are control characters too, in UTF-8. */
        bool high = *p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;

        if (*p < 0x20 || *p == 0x7f)
            fprintf(file, "\\x%02x", *p);
        else if (high)
            fprintf(file, "\\x%02x", *++p);
        else
            fputc(*p, file);
    }
}

json_t *out_text(const char *text) {
    json_t *string = json_string(text);
    char safe[2048];

    if (string)
        return string;
    snprintf(safe, sizeof(safe), "%s", text);
    for (char *p = safe; *p; p++) {
        if (*p & 0x80)
            *p = '?';
    }
    return json_string(safe);
}

void out_json(FILE *file, json_t *object) {
    json_dumpf(object, file, JSON_COMPACT);
    fputc('\n', file);
    json_decref(object);
}

json_t *out_info(const char *key, const struct s3pve_info *info) {
    json_t *object = json_object();
    json_t *meta;

    if (key)
        json_object_set_new(object, "key", out_text(key));
    json_object_set_new(object, "size", json_integer((json_int_t)info->size));
    if (info->mtime)
        json_object_set_new(object, "mtime", json_integer(info->mtime));
    json_object_set_new(object, "etag", out_text(info->etag));
    if (info->content_type[0])
        json_object_set_new(object, "content_type", out_text(info->content_type));
    if (info->storage_class[0])
        json_object_set_new(object, "storage_class", out_text(info->storage_class));
    if (!info->n_meta)
        return object;

    meta = json_object();
    for (unsigned i = 0; i < info->n_meta; i++)
        json_object_set_new(meta, info->meta[i].name, out_text(info->meta[i].value));
    json_object_set_new(object, "meta", meta);
    return object;
}

static void error_json(const struct cli *cli, const struct s3pve_error *err) {
    json_t *object = json_object();

    json_object_set_new(object, "error", out_text(err->message));
    json_object_set_new(object, "code", json_string(s3pve_code_name(err->code)));
    if (cli->command)
        json_object_set_new(object, "command", json_string(cli->command->name));
    if (err->http_status)
        json_object_set_new(object, "http_status", json_integer(err->http_status));
    if (err->s3_code[0])
        json_object_set_new(object, "s3_code", out_text(err->s3_code));
    if (err->request_id[0])
        json_object_set_new(object, "request_id", out_text(err->request_id));
    out_json(stderr, object);
}

void out_error(const struct cli *cli, const struct s3pve_error *err) {
    progress_clear();
    if (cli->options.json) {
        error_json(cli, err);
        return;
    }

    fputs("s3pve: ", stderr);
    if (cli->command)
        fprintf(stderr, "%s: ", cli->command->name);
    out_name(stderr, err->message);
    if (err->request_id[0])
        fprintf(stderr, " (request %s)", err->request_id);
    fputc('\n', stderr);
}

int out_exit_status(const struct s3pve_error *err) {
    switch (err->code) {
    case S3PVE_E_INVALID: return EXIT_USAGE;
    case S3PVE_E_NOT_FOUND:
    case S3PVE_E_NO_BUCKET: return EXIT_NOT_FOUND;
    case S3PVE_E_DENIED: return EXIT_DENIED;
    case S3PVE_E_CONFLICT: return EXIT_CONFLICT;
    default: return EXIT_FAILED;
    }
}

int out_finish(struct s3pve_error *err) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    if (errno == EPIPE)
        signals_broken_pipe();
    return fail_errno(err, "standard output");
}
