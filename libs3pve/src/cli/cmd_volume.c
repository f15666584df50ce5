/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* cmd_volume.c - disks by their names: create, ls, stat, rm, mv */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd_volume.h"
#include "cli/each.h"
#include "cli/out.h"

const char *volume_state(enum s3pve_volume_state state) {
    static const char *const names[] = {
        [S3PVE_VOLUME_CLOSED] = "closed",
        [S3PVE_VOLUME_OPEN] = "open",
        [S3PVE_VOLUME_CLAIMED] = "claimed",
        [S3PVE_VOLUME_MOVING] = "moving",
    };

    return names[state];
}

json_t *volume_json(const struct s3pve_volume_info *info) {
    return json_pack(
        "{s:o, s:I, s:I, s:s, s:o, s:b}",
        "name",
        out_text(info->name),
        "size",
        (json_int_t)info->size,
        "created",
        (json_int_t)info->created,
        "state",
        volume_state(info->state),
        "node",
        out_text(info->node),
        "file",
        info->is_file
    );
}

/* ---------------------------------------------------------------- create, mv */

int cmd_volume_create(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    uint64_t size = S3PVE_VOLUME_FILE;
    struct s3pve_volume_info info;

    if (n > 1 && options_bytes(args[1], &size, err) < 0)
        return -1;
    if (s3pve_volume_create(cli->client, args[0], size, &cli->call, err) < 0)
        return -1;
    if (!cli->options.json)
        return 0;
    if (s3pve_volume_stat(cli->client, args[0], &info, &cli->call, err) < 0)
        return -1;
    out_json(stdout, volume_json(&info));
    return 0;
}

int cmd_volume_mv(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    if (s3pve_volume_rename(cli->client, args[0], args[1], &cli->call, err) < 0)
        return -1;
    if (cli->options.json)
        out_json(
            stdout, json_pack("{s:o, s:o}", "name", out_text(args[1]), "was", out_text(args[0]))
        );
    return 0;
}

/* ---------------------------------------------------------------- ls, stat */

static int show(void *ctx, const struct s3pve_volume_info *info) {
    const struct options *options = ctx;
    bool human = out_human();
    char size[OUT_SIZE], when[OUT_TIME];

    if (options->json) {
        out_json(stdout, volume_json(info));
        return ferror(stdout);
    }
    if (options->detailed) {
        out_size(size, info->size, human && !options->bytes);
        out_time(when, info->created, human);
        printf("%*s  %-*s  ", human && !options->bytes ? 10 : 14, size, human ? 16 : 20, when);
        printf("%-7s  %-12s  ", volume_state(info->state), info->node[0] ? info->node : "-");
    }
    out_name(stdout, info->name);
    putchar('\n');
    return ferror(stdout);
}

static int parse_vmid(const char *text, uint64_t *ret_vmid, struct s3pve_error *err) {
    char *end;

    errno = 0;
    *ret_vmid = strtoull(text, &end, 10);
    if (text[0] < '1' || text[0] > '9' || *end || errno)
        return fail(err, S3PVE_E_INVALID, "'%s' is no guest's number", text);
    return 0;
}

int cmd_volume_ls(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    uint64_t vmid = 0;
    int rc;

    if (n && parse_vmid(args[0], &vmid, err) < 0)
        return -1;
    rc = s3pve_volume_list(cli->client, vmid, show, &cli->options, &cli->call, err);
    return rc > 0 ? out_finish(err) : rc;
}

static void field(const char *name, const char *value) {
    printf("%s: ", name);
    out_name(stdout, value);
    putchar('\n');
}

static int stat_one(struct cli *cli, const char *name, struct s3pve_error *err) {
    char size[OUT_SIZE], when[OUT_TIME];
    struct s3pve_volume_info info;

    if (s3pve_volume_stat(cli->client, name, &info, &cli->call, err) < 0)
        return -1;
    if (cli->options.json) {
        out_json(stdout, volume_json(&info));
        return 0;
    }
    field("name", info.name);
    field("size", out_size(size, info.size, false));
    field("created", out_time(when, info.created, false));
    field("state", volume_state(info.state));
    if (info.node[0])
        field("node", info.node);
    field("kind", info.is_file ? "file" : "disk");
    return 0;
}

int cmd_volume_stat(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    return each(cli, n, args, stat_one, err);
}

/* ---------------------------------------------------------------- rm */

static bool agreed(int n, char **args) {
    char answer[16];

    fputs("Remove ", stderr);
    out_name(stderr, args[0]);
    if (n > 1)
        fprintf(stderr, " and %d more", n - 1);
    fputs(", with all data? [y/N] ", stderr);
    return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* Whether its node lives takes a while to see. */
static void tell_wait(struct cli *cli, const char *name) {
    struct s3pve_volume_info info;

    if (cli->options.quiet || cli->options.json ||
        s3pve_volume_stat(cli->client, name, &info, &cli->call, NULL) < 0 || !info.node[0])
        return;
    fprintf(
        stderr, "s3pve: node %s has %s open, or had: seeing whether it lives\n", info.node, name
    );
}

static int rm_one(struct cli *cli, const char *name, struct s3pve_error *err) {
    tell_wait(cli, name);
    return s3pve_volume_delete(cli->client, name, &cli->call, err);
}

/* They are gone at once; what was theirs is removed then, or by whoever does this next. */
int cmd_volume_rm(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    struct s3pve_error why = S3PVE_ERROR_INIT;
    int rc;

    if (!cli->options.yes && !isatty(STDIN_FILENO))
        return fail(err, S3PVE_E_INVALID, "it wants --yes where nobody can be asked");
    if (!cli->options.yes && !agreed(n, args))
        return fail(err, S3PVE_E_CANCELLED, "nothing was removed");
    rc = each(cli, n, args, rm_one, err);
    if (rc < 0 && n == 1)
        return -1;
    if (s3pve_volume_empty_trash(cli->client, &cli->call, &why) == 0 || rc < 0)
        return rc;
    return fail(err, why.code, "removed, but for objects in the trash: %s", why.message);
}
