/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* cmd_object.c - what needs no stream: rm, cp, head, tags, presign */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/each.h"
#include "cli/out.h"

/* ---------------------------------------------------------------- rm */

#define RM_BATCH 1000 /* keys in memory between two rounds of deletes */

struct batch {
    char *keys[RM_BATCH]; /* owned */
    size_t n;
    uint64_t removed;
};

static void batch_clear(struct batch *batch) {
    for (size_t i = 0; i < batch->n; i++)
        free(batch->keys[i]);
    batch->n = 0;
}

static int batch_flush(struct cli *cli, struct batch *batch, struct s3pve_error *err) {
    int r = 0;

    if (batch->n)
        r = s3pve_object_delete_many(
            cli->client, (const char *const *)batch->keys, batch->n, &cli->call, err
        );
    batch->removed += r == 0 ? batch->n : 0;
    batch_clear(batch);
    return r;
}

static int batch_add(
    struct cli *cli, struct batch *batch, const char *key, struct s3pve_error *err
) {
    char *copy = strdup(key);

    if (!copy)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    batch->keys[batch->n++] = copy;
    return batch->n == RM_BATCH ? batch_flush(cli, batch, err) : 0;
}

static int rm_listed(
    struct cli *cli, const char *prefix, struct batch *batch, struct s3pve_error *err
) {
    _cleanup_(s3pve_list_closep) struct s3pve_list *list = NULL;
    struct s3pve_entry entry;
    int r;

    if (s3pve_list_open(cli->client, prefix, NULL, NULL, &list, &cli->call, err) < 0)
        return -1;
    while ((r = s3pve_list_next(list, &entry, err)) > 0) {
        if (batch_add(cli, batch, entry.key, err) < 0)
            return -1;
    }
    return r < 0 ? -1 : batch_flush(cli, batch, err);
}

static bool agreed(const char *prefix) {
    char answer[16];

    fputs("Remove everything below '", stderr);
    out_name(stderr, prefix);
    fputs("'? [y/N] ", stderr);
    return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* "dump" means dump/..., never dumpster/... */
static int rm_prefix(struct cli *cli, const char *arg, struct s3pve_error *err) {
    struct batch batch = {.n = 0};
    _cleanup_(buf_clear) struct buf prefix = {0};
    size_t len = strlen(arg);
    int r;

    if (buf_str(&prefix, arg) < 0 || (len && arg[len - 1] != '/' && buf_str(&prefix, "/") < 0))
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    if (!cli->options.yes && !isatty(STDIN_FILENO))
        return fail(err, S3PVE_E_INVALID, "-r wants --yes where nobody can be asked");
    if (!cli->options.yes && !agreed(buf_text(&prefix)))
        return fail(err, S3PVE_E_CANCELLED, "nothing was removed");

    r = rm_listed(cli, buf_text(&prefix), &batch, err);
    batch_clear(&batch);
    if (cli->options.json)
        out_json(
            stdout,
            json_pack("{s:o, s:I}", "prefix", out_text(arg), "removed", (json_int_t)batch.removed)
        );
    else if (!cli->options.quiet && isatty(STDERR_FILENO))
        fprintf(stderr, "%" PRIu64 " removed\n", batch.removed);
    return r;
}

int cmd_rm(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    if (cli->options.recursive)
        return each(cli, n, args, rm_prefix, err);
    return s3pve_object_delete_many(
        cli->client, (const char *const *)args, (size_t)n, &cli->call, err
    );
}

/* ---------------------------------------------------------------- cp */

static struct s3pve_put_options *copy_options(
    const struct options *options, struct s3pve_put_options *storage
) {
    if (!options->content_type && !options->n_meta && !options->tags)
        return NULL; /* keep what the source has */
    storage->content_type = options->content_type;
    storage->meta = options->meta;
    storage->n_meta = options->n_meta;
    storage->tags = options->tags;
    return storage;
}

int cmd_cp(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    const char *src = args[0], *dst = args[1], *slash = strrchr(src, '/');
    _cleanup_(buf_clear) struct buf key = {0};
    struct s3pve_put_options storage = {0};
    struct s3pve_info info = {0};

    if (buf_str(&key, dst) < 0 ||
        (dst[0] && dst[strlen(dst) - 1] == '/' && buf_str(&key, slash ? slash + 1 : src) < 0))
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    if (s3pve_object_copy(
            cli->client,
            src,
            buf_text(&key),
            copy_options(&cli->options, &storage),
            &info,
            &cli->call,
            err
        ) < 0)
        return -1;
    if (cli->options.json)
        out_json(stdout, out_info(buf_text(&key), &info));
    return 0;
}

/* ---------------------------------------------------------------- head */

static void field(const char *name, const char *value) {
    if (!value[0])
        return;
    printf("%s: ", name);
    out_name(stdout, value);
    putchar('\n');
}

static int head_one(struct cli *cli, const char *key, struct s3pve_error *err) {
    char size[OUT_SIZE], when[OUT_TIME], name[80];
    struct s3pve_info info;

    if (s3pve_object_head(cli->client, key, &info, &cli->call, err) < 0)
        return -1;
    if (cli->options.json) {
        out_json(stdout, out_info(key, &info));
        return 0;
    }
    field("key", key);
    field("size", out_size(size, info.size, false));
    field("mtime", out_time(when, info.mtime, false));
    field("etag", info.etag);
    field("content-type", info.content_type);
    field("storage-class", info.storage_class);
    for (unsigned i = 0; i < info.n_meta; i++) {
        snprintf(name, sizeof(name), "meta %s", info.meta[i].name);
        field(name, info.meta[i].value);
    }
    return 0;
}

int cmd_head(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    return each(cli, n, args, head_one, err);
}

/* ---------------------------------------------------------------- tags, presign */

int cmd_tags(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    _free_ char *tags = NULL;

    if (n > 1)
        return s3pve_object_set_tags(cli->client, args[0], args[1], &cli->call, err);
    if (s3pve_object_tags(cli->client, args[0], &tags, &cli->call, err) < 0)
        return -1;
    if (cli->options.json)
        out_json(stdout, json_pack("{s:o, s:o}", "key", out_text(args[0]), "tags", out_text(tags)));
    else
        puts(tags);
    return 0;
}

int cmd_presign(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    _free_ char *url = NULL;
    unsigned lifetime_s = 3600;

    if (cli->options.expires &&
        options_seconds("expires", cli->options.expires, &lifetime_s, err) < 0)
        return -1;
    if (s3pve_object_presign(cli->client, args[0], lifetime_s, &url, err) < 0)
        return -1;
    if (cli->options.json)
        out_json(stdout, json_pack("{s:o, s:o}", "key", out_text(args[0]), "url", out_text(url)));
    else
        puts(url);
    return 0;
}
