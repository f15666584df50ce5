/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The file has two lines: which bucket it is about, and s3pve_caps_text(). */
#include "daemon/caps.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/fail.h"

#define CAPS_AGE_S (7 * 86400) /* servers are upgraded */
#define CAPS_LINE 4096

static void fclosep(FILE **file) {
    if (*file)
        fclose(*file);
}

static void bucket_line(const struct config *config, char *line, size_t size) {
    snprintf(
        line,
        size,
        "%s %s\n",
        s3pve_config_get(config->client, "endpoint"),
        s3pve_config_get(config->client, "bucket")
    );
}

static int caps_path(const struct config *config, const char *suffix, char *path) {
    int n = snprintf(path, PATH_MAX, "%s/caps%s", config->state_dir, suffix);
    return n < PATH_MAX ? 0 : -1;
}

bool caps_load(struct s3pve_client *client, const struct config *config) {
    char path[PATH_MAX], ours[CAPS_LINE], about[CAPS_LINE], text[CAPS_LINE];
    struct s3pve_caps caps;
    _cleanup_(fclosep) FILE *file = caps_path(config, "", path) < 0 ? NULL : fopen(path, "re");
    if (!file || !fgets(about, sizeof(about), file) || !fgets(text, sizeof(text), file))
        return false;
    bucket_line(config, ours, sizeof(ours));
    if (strcmp(about, ours) != 0 || s3pve_caps_parse(text, &caps, NULL) < 0)
        return false;
    s3pve_client_use_caps(client, &caps);
    int64_t age_s = clock_wall_s() - caps.probed_s;
    return age_s >= 0 && age_s < CAPS_AGE_S;
}

static int write_file(const char *path, const char *about, const char *text) {
    FILE *file = fopen(path, "we");
    if (!file)
        return -1;
    int r = fprintf(file, "%s%s\n", about, text) < 0 ? -1 : 0;
    if (fclose(file) != 0)
        r = -1;
    return r;
}

int caps_save(const struct config *config, const struct s3pve_caps *caps, struct s3pve_error *err) {
    char path[PATH_MAX], fresh[PATH_MAX], about[CAPS_LINE];
    _free_ char *text = s3pve_caps_text(caps);
    if (!text || caps_path(config, "", path) < 0 || caps_path(config, ".new", fresh) < 0)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    bucket_line(config, about, sizeof(about));
    if (write_file(fresh, about, text) < 0 || rename(fresh, path) < 0)
        return fail_errno(err, "%s", path);
    return 0;
}
