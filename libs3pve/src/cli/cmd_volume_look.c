/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* cmd_volume_look.c - what the store has of a disk, and nothing but the store: dump, fsck, export
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd_volume.h"
#include "cli/each.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/target.h"

/* ---------------------------------------------------------------- dump */

static void print_value(const json_t *value) {
    char *text;

    if (json_is_string(value)) {
        out_name(stdout, json_string_value(value));
        return;
    }
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    out_name(stdout, text ? text : "?");
    free(text);
}

/* "segment name=log/... jseq_first=1 ...": what it is, then its members. */
static void print_words(const char *json) {
    json_t *object = json_loads(json, 0, NULL), *value;
    const char *name;

    print_value(json_object_get(object, "what"));
    json_object_foreach(object, name, value) {
        if (strcmp(name, "what") == 0)
            continue;
        printf(" %s=", name);
        print_value(value);
    }
    putchar('\n');
    json_decref(object);
}

static int on_thing(void *ctx, const char *json) {
    const struct options *options = ctx;

    if (options->json)
        puts(json);
    else
        print_words(json);
    return ferror(stdout);
}

int cmd_volume_dump(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    int rc = s3pve_volume_dump(
        cli->client, args[0], cli->options.detailed, on_thing, &cli->options, &cli->call, err
    );

    return rc > 0 ? out_finish(err) : rc;
}

/* ---------------------------------------------------------------- fsck */

static void on_finding(void *ctx, const char *key, const char *what) {
    const struct options *options = ctx;

    if (options->json) {
        out_json(stdout, json_pack("{s:o, s:o}", "key", out_text(key), "finding", out_text(what)));
    } else {
        out_name(stdout, key);
        fputs(": ", stdout);
        out_name(stdout, what);
        putchar('\n');
    }
    fflush(stdout);
}

struct counted {
    const char *member, *words;
    uint64_t n, bytes;
};

#define COUNTED 5

static void count(const struct s3pve_volume_health *health, struct counted counted[COUNTED]) {
    const struct counted all[COUNTED] = {
        {"segments", "segments", health->n_segments, health->segment_bytes},
        {"map", "of the map", health->n_map, health->map_bytes},
        {"dead", "to be deleted", health->n_dead, health->dead_bytes},
        {"later", "newer than this", health->n_later, health->later_bytes},
        {"garbage", "garbage", health->n_garbage, health->garbage_bytes},
    };

    memcpy(counted, all, sizeof(all));
}

static void health_json(const char *name, const struct s3pve_volume_health *health) {
    struct counted counted[COUNTED];
    json_t *object = json_pack(
        "{s:o, s:b, s:I, s:s, s:o, s:I, s:I}",
        "name",
        out_text(name),
        "clean",
        health->n_findings == 0,
        "findings",
        (json_int_t)health->n_findings,
        "state",
        volume_state(health->info.state),
        "node",
        out_text(health->info.node),
        "size",
        (json_int_t)health->info.size,
        "data",
        (json_int_t)health->data_bytes
    );

    count(health, counted);
    for (unsigned i = 0; i < COUNTED; i++)
        json_object_set_new(
            object,
            counted[i].member,
            json_pack(
                "{s:I, s:I}",
                "objects",
                (json_int_t)counted[i].n,
                "bytes",
                (json_int_t)counted[i].bytes
            )
        );
    out_json(stdout, object);
}

static void health_words(const char *name, const struct s3pve_volume_health *health) {
    struct counted counted[COUNTED];
    char size[OUT_SIZE];

    count(health, counted);
    for (unsigned i = 0; i < COUNTED; i++)
        if (counted[i].n)
            printf(
                "%10" PRIu64 " %-9s %-16s %10s\n",
                counted[i].n,
                counted[i].n == 1 ? "object" : "objects",
                counted[i].words,
                out_size(size, counted[i].bytes, true)
            );
    if (health->info.state != S3PVE_VOLUME_CLOSED)
        printf(
            "%s is %s, by node %s: what it has not stored yet is not looked at\n",
            name,
            volume_state(health->info.state),
            health->info.node
        );
    printf("%s: %s\n", name, health->n_findings ? "DAMAGED" : "clean");
}

static int fsck_one(struct cli *cli, const char *name, struct s3pve_error *err) {
    struct s3pve_volume_health health;

    if (s3pve_volume_fsck(
            cli->client,
            name,
            cli->options.data,
            on_finding,
            &cli->options,
            &health,
            &cli->call,
            err
        ) < 0)
        return -1;
    if (cli->options.json)
        health_json(name, &health);
    else if (!cli->options.quiet)
        health_words(name, &health);
    if (!health.n_findings)
        return 0;
    return fail(err, S3PVE_E_CORRUPT, "%s: %" PRIu64 " findings", name, health.n_findings);
}

int cmd_volume_fsck(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    return each(cli, n, args, fsck_one, err);
}

/* ---------------------------------------------------------------- export */

struct losing {
    const struct options *options;
    uint64_t n;
};

static void on_lost(void *ctx, uint64_t offset, uint64_t len, const char *why) {
    struct losing *losing = ctx;

    losing->n++;
    flockfile(stderr);
    progress_clear();
    if (losing->options->json) {
        out_json(
            stderr,
            json_pack(
                "{s:I, s:I, s:o}",
                "lost",
                (json_int_t)len,
                "offset",
                (json_int_t)offset,
                "message",
                out_text(why)
            )
        );
    } else {
        if (len)
            fprintf(stderr, "s3pve: lost: %" PRIu64 " bytes at %" PRIu64 ": ", len, offset);
        else
            fputs("s3pve: lost: ", stderr);
        out_name(stderr, why);
        fputc('\n', stderr);
    }
    funlockfile(stderr);
}

/* What is not there of a volume in use, and nobody would see. */
static void tell_open(const struct cli *cli, const struct s3pve_volume_copy *copy) {
    char when[OUT_TIME];

    if (copy->info.state == S3PVE_VOLUME_CLOSED || cli->options.quiet || cli->options.json)
        return;
    fprintf(
        stderr,
        "s3pve: %s is %s, by node %s: this is what the store had of it, as of %s\n",
        copy->info.name,
        volume_state(copy->info.state),
        copy->info.node,
        copy->as_of_s ? out_time(when, copy->as_of_s, false) : "an unknown time"
    );
}

static void tell_json(const struct s3pve_volume_copy *copy, const char *file, uint64_t lost) {
    json_t *object = volume_json(&copy->info);

    json_object_set_new(object, "file_name", out_text(file));
    json_object_set_new(object, "as_of", json_integer(copy->as_of_s));
    json_object_set_new(object, "lost", json_integer((json_int_t)lost));
    out_json(stdout, object);
}

/* @file: NULL: standard output, where no other word may be. */
static int copy_to(
    struct cli *cli, const char *name, int fd, const char *file, struct s3pve_error *err
) {
    uint64_t count = 0;
    struct losing losing = {.options = &cli->options};
    struct s3pve_volume_export how = {
        .fd = fd,
        .progress = &count,
        .lost = cli->options.salvage ? on_lost : NULL,
        .ctx = &losing,
    };
    struct progress progress = {.label = name, .count = progress_counter, .ctx = &count};
    struct s3pve_volume_copy copy;
    int rc;

    if (progress_wanted(cli)) {
        if (s3pve_volume_stat(cli->client, name, &copy.info, &cli->call, err) < 0)
            return -1;
        progress.total = copy.info.size;
    }
    progress_start(&progress, cli);
    rc = s3pve_volume_export(cli->client, name, &how, &copy, &cli->call, err);
    progress_stop(&progress, rc == 0);
    if (rc < 0) {
        if (err->errnum == EPIPE)
            signals_broken_pipe();
        return -1;
    }
    tell_open(cli, &copy);
    if (cli->options.json && file)
        tell_json(&copy, file, losing.n);
    return losing.n > 0;
}

/* What has lost something is kept, and a failure. */
static int say_lost(const char *name, struct s3pve_error *err) {
    return fail(err, S3PVE_E_CORRUPT, "%s: zeroes stand for what could not be read", name);
}

int cmd_volume_export(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    _cleanup_(target_clear) struct target target = {.fd = -1};
    const char *name = args[0], *path = n > 1 ? args[1] : NULL;
    int rc;

    if (s3pve_volume_check_name(name, err) < 0)
        return -1;
    if (path && strcmp(path, "-") == 0) {
        rc = copy_to(cli, name, STDOUT_FILENO, NULL, err);
        return rc > 0 ? say_lost(name, err) : rc;
    }
    if (target_path(name, path, &target.path, err) < 0 || target_open(&target, false, err) < 0)
        return -1;
    rc = copy_to(cli, name, target.fd, target.path, err);
    if (rc >= 0 && target_publish(&target, err) < 0)
        rc = -1;
    if (rc < 0)
        target_drop(&target);
    return rc > 0 ? say_lost(name, err) : rc;
}
