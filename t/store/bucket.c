/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Buckets of a real server: missing, made, somebody's, and what a probe leaves in one. */
#include <stdio.h>
#include <string.h>

#include "core/client.h"
#include "live.h"
#include "tap.h"

static struct s3pve_client *open_client(const struct s3pve_config *config) {
    struct s3pve_client *client = NULL;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    ok(s3pve_client_open(config, NULL, NULL, &client, &err) == 0, "a client %s", err.message);
    return client;
}

static void a_bucket_comes_into_being(void) {
    struct s3pve_config *config = live_config();
    struct s3pve_client *client = open_client(config);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char region[64];

    is_int(s3pve_bucket_check(client, NULL, &err), -1, "a missing bucket does not answer");
    is_int(err.code, S3PVE_E_NO_BUCKET, "... as NO_BUCKET");
    ok(strstr(err.message, s3pve_config_get(config, "bucket")), "... by name: %s", err.message);
    is_int(s3pve_bucket_create(client, NULL, NULL), 0, "it is made");
    is_int(s3pve_bucket_create(client, NULL, NULL), 0, "... or was there already");
    is_int(s3pve_bucket_check(client, NULL, NULL), 0, "... and answers");
    is_int(s3pve_bucket_location(client, region, NULL, NULL), 0, "it is somewhere");
    ok(*region && strcmp(region, "default") != 0, "... in %s", region);
    s3pve_client_close(client);

    s3pve_config_set(config, "secret-key", "wrong", NULL);
    client = open_client(config);
    is_int(s3pve_bucket_check(client, NULL, &err), -1, "with a wrong secret it does not");
    is_int(err.code, S3PVE_E_DENIED, "... as DENIED");
    is_str(err.s3_code, "SignatureDoesNotMatch", "... with the server's reason");
    s3pve_client_close(client);

    s3pve_config_set(config, "credentials", "anonymous", NULL);
    client = open_client(config);
    is_int(s3pve_bucket_check(client, NULL, &err), -1, "nor for nobody");
    is_int(err.code, S3PVE_E_DENIED, "... as DENIED");
    is_int(s3pve_bucket_create(client, NULL, &err), -1, "who may not make it his own either");
    s3pve_client_close(client);
    s3pve_config_free(config);
}

static void a_probe_tells_and_leaves_nothing(void) {
    struct s3pve_client *client = live_client("pve");
    struct s3pve_caps caps;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint64_t objects = 1, bytes;
    unsigned n_aborted = 1;

    is_int(s3pve_probe(client, &caps, NULL, &err), 0, "a probe %s", err.message);
    is_int(caps.put_if_absent, S3PVE_YES, "RGW keeps a key that must be absent");
    is_int(caps.put_if_match, S3PVE_YES, "... and one that must match");
    is_int(caps.range, S3PVE_YES, "... sends ranges");
    is_int(caps.batch_delete, S3PVE_YES, "... deletes in batches");
    is_int(caps.list_v2, S3PVE_YES, "... lists in version 2");
    is_int(caps.content_md5, S3PVE_YES, "... checks Content-MD5");
    is_int(caps.part_copy, S3PVE_YES, "... copies parts");
    ok(caps.complete_if_absent != S3PVE_UNKNOWN, "... was asked about Complete");
    ok(caps.delete_if_match != S3PVE_UNKNOWN, "... and Delete");
    ok(caps.checksum_crc32c != S3PVE_UNKNOWN, "... and CRC32C");
    is_int(caps.skew_s, 0, "... by our own clock");
    is_int(s3pve_bucket_usage(client, &objects, &bytes, NULL, NULL), 0, "afterwards");
    is_int((long long)objects, 0, "... no object is left");
    is_int(s3pve_upload_sweep(client, "", 0, &n_aborted, NULL, NULL), 0, "... and");
    is_int(n_aborted, 0, "... no upload");
    s3pve_client_close(client);
}

int main(void) {
    a_bucket_comes_into_being();
    a_probe_tells_and_leaves_nothing();
    return done_testing();
}
