/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/each.h"
#include "cli/out.h"

static void show_json(const struct s3pve_entry *entry) {
    json_t *object;

    if (!entry->is_prefix) {
        out_json(stdout, out_info(entry->key, &entry->info));
        return;
    }
    object = json_object();
    json_object_set_new(object, "prefix", out_text(entry->key));
    out_json(stdout, object);
}

static void show(const struct options *options, const struct s3pve_entry *entry) {
    bool human = out_human();
    char size[OUT_SIZE] = "-", when[OUT_TIME] = "-";

    if (options->json) {
        show_json(entry);
        return;
    }
    if (options->detailed && !entry->is_prefix) {
        out_size(size, entry->info.size, human && !options->bytes);
        out_time(when, entry->info.mtime, human);
    }
    if (options->detailed)
        printf("%*s  %-*s  ", human && !options->bytes ? 10 : 14, size, human ? 16 : 20, when);
    out_name(stdout, entry->key);
    putchar('\n');
}

/* An empty object "dump/" stands for the folder that is being listed. */
static bool is_folder_itself(const struct s3pve_entry *entry, const char *prefix) {
    size_t len = strlen(prefix);

    return len > 0 && prefix[len - 1] == '/' && strcmp(entry->key, prefix) == 0;
}

int cmd_ls(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    _cleanup_(s3pve_list_closep) struct s3pve_list *list = NULL;
    const char *prefix = n ? args[0] : "";
    const char *delimiter = cli->options.recursive ? NULL : "/";
    struct s3pve_entry entry;
    bool any = false;
    int r;

    if (s3pve_list_open(cli->client, prefix, delimiter, NULL, &list, &cli->call, err) < 0)
        return -1;
    while ((r = s3pve_list_next(list, &entry, err)) > 0) {
        any = true;
        if (delimiter && is_folder_itself(&entry, prefix))
            continue;
        show(&cli->options, &entry);
        if (ferror(stdout))
            return out_finish(err);
    }
    if (r == 0 && !any && prefix[0])
        return fail(err, S3PVE_E_NOT_FOUND, "no key begins with '%s'", prefix);
    return r;
}

/* ---------------------------------------------------------------- du */

static int count(
    struct cli *cli,
    const char *prefix,
    uint64_t *ret_objects,
    uint64_t *ret_bytes,
    struct s3pve_error *err
) {
    _cleanup_(s3pve_list_closep) struct s3pve_list *list = NULL;
    uint64_t objects = 0, bytes = 0;
    struct s3pve_entry entry;
    int r;

    if (s3pve_list_open(cli->client, prefix, NULL, NULL, &list, &cli->call, err) < 0)
        return -1;
    while ((r = s3pve_list_next(list, &entry, err)) > 0) {
        objects++;
        bytes += entry.info.size;
    }
    *ret_objects = objects;
    *ret_bytes = bytes;
    return r;
}

static int du_one(struct cli *cli, const char *prefix, struct s3pve_error *err) {
    uint64_t objects, bytes;
    char size[OUT_SIZE];

    if (count(cli, prefix, &objects, &bytes, err) < 0)
        return -1;
    if (cli->options.json) {
        out_json(
            stdout,
            json_pack(
                "{s:o, s:I, s:I}",
                "prefix",
                out_text(prefix),
                "objects",
                (json_int_t)objects,
                "bytes",
                (json_int_t)bytes
            )
        );
        return 0;
    }
    out_size(size, bytes, out_human() && !cli->options.bytes);
    printf("%*s  %10" PRIu64 "  ", out_human() && !cli->options.bytes ? 10 : 14, size, objects);
    out_name(stdout, prefix);
    putchar('\n');
    return 0;
}

int cmd_du(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    return n ? each(cli, n, args, du_one, err) : du_one(cli, "", err);
}
