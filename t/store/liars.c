/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Servers that do not do what they say: the probe finds out. */
#include <stdio.h>

#include "live.h"
#include "tap.h"

static const struct {
    const char *what, *settings;
    enum s3pve_support absent, match;
} servers[] = {
    {"an honest one", "", S3PVE_YES, S3PVE_YES},
    {"one that refuses conditions", "conditions=refuse", S3PVE_NO, S3PVE_NO},
    {"one that ignores them", "conditions=off", S3PVE_IGNORED, S3PVE_IGNORED},
    {"one that ignores If-Match", "conditions=ignore-match", S3PVE_YES, S3PVE_IGNORED},
    {"one that ignores If-None-Match", "conditions=ignore-none-match", S3PVE_IGNORED, S3PVE_YES},
    {"one whose If-Match makes objects", "conditions=resurrect", S3PVE_YES, S3PVE_IGNORED},
    {"one that lets several win", "conditions=race", S3PVE_IGNORED, S3PVE_YES},
    {"an honest one that wants quotes", "etag-style=quoted", S3PVE_YES, S3PVE_YES},
};

static void is_seen_through(size_t i, bool has_thread) {
    struct s3pve_client *client = live_fake(servers[i].settings, "20");
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_caps caps = {0};

    if (has_thread && s3pve_client_start_thread(client, &err) < 0)
        bail_out("%s", err.message);
    is_int(s3pve_probe(client, &caps, NULL, &err), 0, "%s %s", servers[i].what, err.message);
    is_int(caps.put_if_absent, servers[i].absent, "... as to If-None-Match");
    is_int(caps.put_if_match, servers[i].match, "... as to If-Match");
    s3pve_client_close(client);
}

int main(void) {
    for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++)
        is_seen_through(i, i % 2);
    return done_testing();
}
