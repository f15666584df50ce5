/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/each.h"
#include "cli/signals.h"

struct range {
    uint64_t first;
    uint64_t len; /* 0: to the end */
    bool tail;    /* the last `len` bytes; first is not known yet */
};

/* Digits at **text, which moves behind them.  Return: false when there are none, or too many. */
static bool number(const char **text, uint64_t *ret_number) {
    char *end;

    if (!isdigit((unsigned char)**text))
        return false;
    errno = 0;
    *ret_number = strtoull(*text, &end, 10);
    *text = end;
    return errno == 0;
}

static int range_parse(const char *text, struct range *ret_range, struct s3pve_error *err) {
    uint64_t first = 0, last = 0;
    const char *p = text;
    bool has_first = number(&p, &first);
    bool dash = *p == '-' && p++;
    bool has_last = dash && number(&p, &last);
    bool good = dash && !*p && (has_first || (has_last && last > 0));

    if (!good || (has_first && has_last && last < first))
        return fail(
            err,
            S3PVE_E_INVALID,
            "--range wants A-B (bytes A to B), A- (from A on) or -N (the last N), not '%s'",
            text
        );
    ret_range->first = first;
    ret_range->len = has_first && has_last ? last - first + 1 : last;
    ret_range->tail = !has_first;
    return 0;
}

/* Only the store knows where an object's last bytes begin.  Return: 1, 0 (no byte there), -1. */
static int range_settle(
    struct cli *cli, const char *key, struct range *range, struct s3pve_error *err
) {
    struct s3pve_info info;

    if (!range->tail)
        return 1;
    if (s3pve_object_head(cli->client, key, &info, &cli->call, err) < 0)
        return -1;
    range->first = info.size > range->len ? info.size - range->len : 0;
    range->len = 0;
    return info.size > 0;
}

/* Nothing came of a range that begins within no byte: say why. */
static int range_is_beyond(
    struct cli *cli, const char *key, const struct range *range, struct s3pve_error *err
) {
    struct s3pve_info info;

    if (s3pve_object_head(cli->client, key, &info, &cli->call, err) < 0)
        return -1;
    return fail(
        err,
        S3PVE_E_INVALID,
        "%s has %llu bytes, and none from %llu on",
        key,
        (unsigned long long)info.size,
        (unsigned long long)range->first
    );
}

static int cat_one(struct cli *cli, const char *key, struct s3pve_error *err) {
    struct range range = {0};
    uint64_t n = 0;
    int r;

    if (cli->options.range && range_parse(cli->options.range, &range, err) < 0)
        return -1;
    r = range_settle(cli, key, &range, err);
    if (r <= 0)
        return r;

    r = s3pve_object_get_fd(
        cli->client, key, STDOUT_FILENO, range.first, range.len, &n, &cli->call, err
    );
    if (r < 0 && err->errnum == EPIPE)
        signals_broken_pipe();
    return r == 0 && n == 0 && range.first > 0 ? range_is_beyond(cli, key, &range, err) : r;
}

int cmd_cat(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    return each(cli, n, args, cat_one, err);
}
