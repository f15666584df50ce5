/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/client.h"
#include "script.h"
#include "tap.h"

static void a_url_is_signed_for_the_corrected_clock(void) {
    struct script s = {.wall_s = 1369353600}; /* 20130524T000000Z */
    struct s3pve_client *client =
        script_client(&s, "prefix", "p q", "session-token", "to/ken", NULL);
    char *url = NULL;

    client->skew_s = 60;
    is_int(s3pve_object_presign(client, "a+b", 86400, &url, NULL), 0, "a URL is made");
    ok(strncmp(url, "http://s3.test/bucket/p%20q/a%2Bb?", 34) == 0, "... for the encoded key");
    ok(strstr(url, "X-Amz-Date=20130524T000100Z") != NULL, "... dated by the server's clock");
    ok(strstr(url, "X-Amz-Expires=86400") != NULL, "... for a day");
    ok(strstr(url, "X-Amz-Credential=AK%2F20130524%2Fr1%2Fs3") != NULL, "... with our key");
    ok(strstr(url, "X-Amz-Security-Token=to%2Fken") != NULL, "... and the session's token");
    ok(strstr(url, "X-Amz-Signature=") != NULL, "... signed");
    ok(!strstr(url, "SK"), "the secret is not in it");
    is_int(s.n_sent, 0, "and nobody was asked");
    free(url);
    s3pve_client_close(client);
    script_clear(&s);
}

static void a_url_lives_a_second_to_a_week(void) {
    struct script s = {0};
    struct s3pve_client *client = script_client(&s, NULL);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char *url = NULL;

    s3pve_object_presign(client, "a", 0, &url, &err);
    is_int(err.code, S3PVE_E_INVALID, "not for no time");
    s3pve_object_presign(client, "a", 604801, &url, &err);
    is_int(err.code, S3PVE_E_INVALID, "not for longer than a week");
    ok(!url, "no URL is handed out");
    is_int(s3pve_object_presign(client, "a", 604800, &url, NULL), 0, "a week is fine");
    free(url);
    s3pve_client_close(client);
    script_clear(&s);
}

static void a_guessed_region_is_asked_for(void) {
    static const struct answer answers[] = {
        {.status = 400,
         .body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>garage</Region></Error>"},
        {.status = 200, .body = "<ListBucketResult/>"}};
    struct script s = {.answers = answers, .n_answers = 2};
    struct s3pve_client *client = script_client(&s, "region", "", NULL);
    char *url = NULL;

    is_int(s3pve_object_presign(client, "a", 60, &url, NULL), 0, "a URL is made without a region");
    ok(strstr(url, "%2Fgarage%2Fs3") != NULL, "... and signed for that of the bucket");
    free(url);
    s3pve_object_presign(client, "b", 60, &url, NULL);
    is_int(s.n_sent, 2, "... which is asked for once");
    free(url);
    s3pve_client_close(client);
    script_clear(&s);

    s = (struct script){.wall_s = 1700000000};
    client = script_client(&s, "region", "", NULL);
    is_int(
        s3pve_object_presign(client, "a", 60, &url, NULL), 0, "a store that is away is no reason"
    );
    ok(s.now_ms <= 5000, "... nor waited for long");
    free(url);
    s3pve_client_close(client);
    script_clear(&s);
}

static void keys_that_end_soon_are_renewed_first(void) {
    char path[] = "/tmp/s3pve-presign.XXXXXX";
    struct script s = {0};
    int fd = mkstemp(path);
    struct s3pve_client *client =
        script_client(&s, "credentials", "file", "credentials-file", path, NULL);
    char *url = NULL;

    dprintf(fd, "access-key = FRESH\nsecret-key = SK\n");
    close(fd);
    client->creds.expires_s = s.wall_s + 60;
    is_int(s3pve_object_presign(client, "a", 3600, &url, NULL), 0, "a URL for an hour");
    ok(url && strstr(url, "Credential=FRESH%2F"), "... is not signed with keys for a minute");
    free(url);
    unlink(path);
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    keys_that_end_soon_are_renewed_first();
    a_url_is_signed_for_the_corrected_clock();
    a_url_lives_a_second_to_a_week();
    a_guessed_region_is_asked_for();
    return done_testing();
}
