/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "core/provider.h"
#include "tap.h"

static void presets_are_sane(void) {
    unsigned n = 0;

    for (const struct s3pve_provider *p = NULL; (p = s3pve_provider_next(p)); n++) {
        ok(provider_find(p->name) == p, "%s is found by its name", p->name);
        ok(!*p->endpoint || strncmp(p->endpoint, "https://", 8) == 0, "... and speaks https");
        ok(strcmp(p->addressing, "path") == 0 || strcmp(p->addressing, "virtual") == 0,
           "... and says how a bucket is addressed");
        ok(p->max_parts == 1000 || p->max_parts == 10000, "... and how many parts it takes");
    }
    ok(n >= 13, "there are %u presets", n);
    ok(!provider_find("nobody"), "an unknown name finds nothing");
    ok(provider_find("cloudflare")->equal_parts, "R2 wants parts of one size");
    ok(!provider_find("google")->part_copy, "Google has no UploadPartCopy");
    is_int(provider_find("scaleway")->max_parts, 1000, "Scaleway stops at 1,000 parts");
}

static const struct {
    const char *host, *provider, *region;
} hosts[] = {
    {"s3.eu-central-1.amazonaws.com", "aws", "eu-central-1"},
    {"s3.amazonaws.com", "aws", NULL},
    {"s3.dualstack.eu-west-1.amazonaws.com", "aws", NULL},
    {"s3.us-west-004.backblazeb2.com", "backblaze", "us-west-004"},
    {"fsn1.your-objectstorage.com", "hetzner", "fsn1"},
    {"ams3.digitaloceanspaces.com", "digitalocean", "ams3"},
    {"s3.fr-par.scw.cloud", "scaleway", "fr-par"},
    {"s3.gra.io.cloud.ovh.net", "ovh", "gra"},
    {"0123456789abcdef.r2.cloudflarestorage.com", "cloudflare", NULL},
    {"0123456789abcdef.eu.r2.cloudflarestorage.com", "cloudflare", NULL},
    {"storage.googleapis.com", "google", NULL},
    {"minio.lan", "generic", NULL},
    {"evilamazonaws.com", "generic", NULL},
    {"", "generic", NULL},
};

static void hosts_are_recognised(void) {
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        const struct s3pve_provider *p = provider_of_host(hosts[i].host);
        char region[64] = "";
        bool found = provider_region_of_host(p, hosts[i].host, region);

        is_str(p->name, hosts[i].provider, "'%s' is %s", hosts[i].host, hosts[i].provider);
        if (hosts[i].region)
            is_str(region, hosts[i].region, "... in region %s", hosts[i].region);
        else
            ok(!found, "... and names no region");
    }
}

static void endpoints_are_filled(void) {
    char endpoint[128], small[16];

    ok(provider_endpoint(provider_find("aws"), "eu-north-1", endpoint, sizeof(endpoint)),
       "AWS needs a region");
    is_str(endpoint, "https://s3.eu-north-1.amazonaws.com", "... which becomes part of the host");
    ok(!provider_endpoint(provider_find("aws"), "", endpoint, sizeof(endpoint)),
       "... and has no endpoint without");
    ok(!provider_endpoint(provider_find("cloudflare"), "auto", endpoint, sizeof(endpoint)),
       "R2's endpoint needs the account");
    ok(!provider_endpoint(provider_find("minio"), "us-east-1", endpoint, sizeof(endpoint)),
       "MinIO's is the user's");
    ok(!provider_endpoint(provider_find("aws"), "eu-north-1", small, sizeof(small)),
       "a cut endpoint is none");
    ok(provider_endpoint(provider_find("google"), "", endpoint, sizeof(endpoint)),
       "Google's is the same everywhere");
}

int main(void) {
    presets_are_sane();
    hosts_are_recognised();
    endpoints_are_filled();
    return done_testing();
}
