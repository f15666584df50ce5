/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* cmd_bucket.c - the store as a whole: mb, probe, status, sweep, providers */
#include <inttypes.h>
#include <string.h>

#include "cli/out.h"

int cmd_mb(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    if (s3pve_bucket_create(cli->client, &cli->call, err) < 0)
        return -1;
    if (cli->options.json)
        out_json(
            stdout, json_pack("{s:o}", "bucket", out_text(s3pve_config_get(cli->config, "bucket")))
        );
    return 0;
}

/* ---------------------------------------------------------------- probe */

static void capability(const char *what, enum s3pve_support support) {
    static const char *const words[] = {
        [S3PVE_UNKNOWN] = "not known",
        [S3PVE_YES] = "yes",
        [S3PVE_NO] = "no",
        [S3PVE_IGNORED] = "accepted but ignored",
    };

    printf("  %-48s %s\n", what, support <= S3PVE_IGNORED ? words[support] : "?");
}

static void probe_words(const struct s3pve_caps *caps) {
    printf("server: %s\n", caps->server[0] ? caps->server : "(does not say)");
    capability("create only if absent (If-None-Match: *)", caps->put_if_absent);
    capability("replace only a known version (If-Match)", caps->put_if_match);
    capability("finish a multipart upload only if absent", caps->complete_if_absent);
    capability("delete only a known version", caps->delete_if_match);
    capability("read ranges", caps->range);
    capability("delete many keys in one request", caps->batch_delete);
    capability("list with ListObjectsV2", caps->list_v2);
    capability("refuse a wrong Content-MD5", caps->content_md5);
    capability("refuse a wrong CRC32C", caps->checksum_crc32c);
    capability("copy parts on the server", caps->part_copy);
    printf("  %-48s %s\n", "If-Match wants quotes", caps->etag_quoted ? "yes" : "no");
    printf("  %-48s %+d s\n", "server's clock against ours", caps->skew_s);
}

int cmd_probe(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    _free_ char *text = NULL;
    struct s3pve_caps caps;

    if (s3pve_probe(cli->client, &caps, &cli->call, err) < 0)
        return -1;
    caps_keep(cli, &caps);
    if (!cli->options.json) {
        probe_words(&caps);
        return 0;
    }
    text = s3pve_caps_text(&caps);
    if (!text)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    puts(text);
    return 0;
}

/* ---------------------------------------------------------------- status */

static int status_of_bucket(struct cli *cli, struct s3pve_error *err) {
    uint64_t objects, bytes;
    char size[OUT_SIZE];

    if (!cli->client && session_open(cli, err) < 0)
        return -1;
    if (s3pve_bucket_check(cli->client, &cli->call, err) < 0)
        return -1;
    if (s3pve_bucket_usage(cli->client, &objects, &bytes, &cli->call, err) < 0)
        return -1;

    if (cli->options.json) {
        out_json(
            stdout,
            json_pack(
                "{s:b, s:o, s:o, s:o, s:I, s:I}",
                "online",
                1,
                "endpoint",
                out_text(s3pve_config_get(cli->config, "endpoint")),
                "bucket",
                out_text(s3pve_config_get(cli->config, "bucket")),
                "prefix",
                out_text(s3pve_config_get(cli->config, "prefix")),
                "objects",
                (json_int_t)objects,
                "used",
                (json_int_t)bytes
            )
        );
        return 0;
    }
    printf("endpoint: %s\n", s3pve_config_get(cli->config, "endpoint"));
    printf("bucket:   %s\n", s3pve_config_get(cli->config, "bucket"));
    printf("prefix:   %s\n", s3pve_config_get(cli->config, "prefix"));
    printf("online:   yes\n");
    printf("objects:  %" PRIu64 "\n", objects);
    printf("used:     %s\n", out_size(size, bytes, out_human() && !cli->options.bytes));
    return 0;
}

/* One line a value; lists (of uploads) have a command of their own. */
static void status_value(const char *above, const char *name, const json_t *value) {
    _free_ char *text = NULL;

    if (json_is_array(value) || json_is_object(value))
        return;
    printf("%s%s%s: ", above, *above ? "." : "", name);
    if (json_is_string(value)) {
        out_name(stdout, json_string_value(value));
    } else {
        text = json_dumps(value, JSON_ENCODE_ANY);
        fputs(text ? text : "?", stdout);
    }
    putchar('\n');
}

/* What a value holds is shown with a dot: cache.bytes. */
static void status_words(json_t *root) {
    const char *name, *inner_name;
    json_t *value, *inner;

    json_object_foreach(root, name, value) {
        status_value("", name, value);
        json_object_foreach(value, inner_name, inner) status_value(name, inner_name, inner);
    }
}

/* As the storage's daemon on this node sees it.  NOT_FOUND: none runs. */
static int status_of_daemon(struct cli *cli, struct s3pve_error *err) {
    _cleanup_(json_decrefp) json_t *root = NULL;
    _free_ char *answer = NULL;
    const char *text;

    if (storage_ask(cli->options.storage, "status", &answer, err) < 0)
        return -1;
    root = json_loads(answer, 0, NULL);
    if (!json_is_object(root))
        return fail(err, S3PVE_E_CORRUPT, "the storage's daemon does not speak JSON");
    if (!json_is_true(json_object_get(root, "ok"))) {
        text = json_string_value(json_object_get(root, "error"));
        return fail(err, S3PVE_E_IO, "the storage's daemon says: %s", text ? text : "no");
    }
    json_object_del(root, "ok");
    if (cli->options.json)
        json_dumpf(root, stdout, JSON_COMPACT), putchar('\n');
    else
        status_words(root);
    if (!json_is_false(json_object_get(root, "online")))
        return 0;
    text = json_string_value(json_object_get(root, "last_error"));
    return fail(err, S3PVE_E_IO, "the store does not answer: %s", text && *text ? text : "?");
}

int cmd_status(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    struct s3pve_error why = S3PVE_ERROR_INIT;

    if (!cli->options.storage)
        return status_of_bucket(cli, err);
    if (status_of_daemon(cli, &why) == 0)
        return 0;
    if (why.code != S3PVE_E_NOT_FOUND)
        return *err = why, -1;
    if (!cli->options.quiet && !cli->options.json)
        fputs("s3pve: no daemon serves this storage here; asking the store itself\n", stderr);
    return status_of_bucket(cli, err);
}

/* ---------------------------------------------------------------- sweep, providers */

int cmd_sweep(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    unsigned older_s = 7 * 86400, aborted = 0;
    int r;

    if (cli->options.older && options_seconds("older", cli->options.older, &older_s, err) < 0)
        return -1;
    r = s3pve_upload_sweep(cli->client, n ? args[0] : "", older_s, &aborted, &cli->call, err);
    if (cli->options.json)
        out_json(stdout, json_pack("{s:i}", "aborted", (int)aborted));
    else
        printf("%u upload%s aborted\n", aborted, aborted == 1 ? "" : "s");
    return r;
}

int cmd_providers(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    for (const struct s3pve_provider *p = s3pve_provider_next(NULL); p;
         p = s3pve_provider_next(p)) {
        if (cli->options.json)
            out_json(
                stdout,
                json_pack(
                    "{s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:b}",
                    "name",
                    p->name,
                    "title",
                    p->title,
                    "endpoint",
                    p->endpoint,
                    "region",
                    p->region,
                    "addressing",
                    p->addressing,
                    "max_parts",
                    (int)p->max_parts,
                    "equal_parts",
                    (int)p->equal_parts,
                    "part_copy",
                    (int)p->part_copy
                )
            );
        else
            printf("%-14s %-28s %s\n", p->name, p->title, p->endpoint);
    }
    return 0;
}
