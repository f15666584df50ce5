/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Listings of a real server, in every way, against what was put there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "core/client.h"
#include "core/request.h"
#include "live.h"
#include "tap.h"

#define N_FOLDERS 1100 /* common prefixes, too, take more than a page */
#define N_KEYS (2 * N_FOLDERS + 9)
#define IN_FLIGHT 16

static const char *const odd_keys[9] = {
    "a b+c%41.iso",
    "x?y&z=#",
    "\xe2\x82\xac/\xc3\xa9",
    "dump/",
    "dump/b'\"<>&",
    "~()!*'",
    "tab\tline\nx",
    "%2F",
    "100%",
};

static char *keys[N_KEYS];

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void name_keys(void) {
    for (unsigned i = 0; i < N_FOLDERS; i++) {
        (void)!asprintf(&keys[2 * i], "many/%04u/one", i);
        (void)!asprintf(&keys[2 * i + 1], "many/%04u/two", i);
    }
    for (unsigned i = 0; i < 9; i++)
        keys[2 * N_FOLDERS + i] = strdup(odd_keys[i]);
    qsort(keys, N_KEYS, sizeof(keys[0]), compare);
}

/* Empty objects, some at a time. */
static unsigned put_all(struct s3pve_client *client) {
    static struct request requests[IN_FLIGHT];
    struct request *rqs[IN_FLIGHT] = {NULL};
    unsigned n_sent = 0, n_done = 0, n_good = 0;

    while (n_done < N_KEYS) {
        int done;

        for (unsigned i = 0; i < IN_FLIGHT && n_sent < N_KEYS; i++) {
            if (rqs[i])
                continue;
            rqs[i] = &requests[i];
            request_init(rqs[i], "PutObject", "PUT", keys[n_sent++], NULL);
            request_submit(client, rqs[i]);
        }
        done = request_wait(client, rqs, IN_FLIGHT, 1000);
        if (done < 0)
            continue;
        n_good += rqs[done]->error.code == S3PVE_OK;
        n_done++;
        request_clear(rqs[done]);
        rqs[done] = NULL;
    }
    return n_good;
}

/* What a listing should say, worked out here: keys below @prefix after @start, cut at '/'. */
static void expect(const char *prefix, bool cut, const char *start, struct buf *out) {
    char last[64] = "";

    for (unsigned i = 0; i < N_KEYS; i++) {
        const char *slash, *key = keys[i];

        if (strncmp(key, prefix, strlen(prefix)) != 0)
            continue;
        slash = cut ? strchr(key + strlen(prefix), '/') : NULL;
        if (!slash && (!start || strcmp(key, start) > 0))
            buf_printf(out, "%s\n", key);
        if (!slash || strncmp(last, key, (size_t)(slash + 1 - key)) == 0)
            continue;
        snprintf(last, sizeof(last), "%.*s", (int)(slash + 1 - key), key);
        if (!start || strcmp(last, start) > 0)
            buf_printf(out, "%s|\n", last);
    }
}

static int compare_lines(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A page has its objects first and its prefixes after them, so the order is only that of pages. */
static void sort_lines(struct buf *text) {
    char **lines = calloc(N_KEYS + 1, sizeof(char *)), *next = text->data, *line;
    struct buf sorted = {0};
    size_t n = 0;

    while ((line = strsep(&next, "\n")) && n <= N_KEYS)
        lines[n++] = line;
    qsort(lines, n, sizeof(lines[0]), compare_lines);
    for (size_t i = 0; i < n; i++)
        buf_printf(&sorted, "%s\n", lines[i]);
    buf_clear(text);
    *text = sorted;
    free(lines);
}

static void check(
    struct s3pve_client *client, const char *prefix, const char *delimiter, const char *start
) {
    _cleanup_(buf_clear) struct buf got = {0}, want = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_list *list = NULL;
    struct s3pve_entry entry;
    int rc = s3pve_list_open(client, prefix, delimiter, start, &list, NULL, &err);

    while (rc == 0 && (rc = s3pve_list_next(list, &entry, &err)) == 1) {
        buf_printf(&got, "%s%s\n", entry.key, entry.is_prefix ? "|" : "");
        rc = 0;
    }
    s3pve_list_close(list);
    expect(prefix, delimiter, start, &want);
    sort_lines(&got);
    sort_lines(&want);
    is_int(rc, 0, "a listing below '%s' %s", prefix, err.message);
    is_str(
        buf_text(&got),
        buf_text(&want),
        "... %s, from '%s', is what was put",
        delimiter ? "one level" : "flat",
        start ? start : ""
    );
}

static void check_all(struct s3pve_client *client) {
    check(client, "", NULL, NULL);
    check(client, "", "/", NULL);
    check(client, "many/", "/", NULL);
    check(client, "many/0", NULL, NULL);
    check(client, "many/", NULL, "many/0500/one");
    check(client, "many/", "/", "many/0500/");
    check(client, "dump/", "/", NULL);
    check(client, "\xe2\x82\xac/", "/", NULL);
    check(client, "nothing/", NULL, NULL);
}

int main(void) {
    struct s3pve_client *client = live_client("a folder/pve");
    uint64_t objects, bytes;

    name_keys();
    is_int(put_all(client), N_KEYS, "%d keys are put", N_KEYS);
    check_all(client);
    client->list_v1 = true;
    check_all(client);
    client->list_v1 = false;
    is_int(s3pve_bucket_usage(client, &objects, &bytes, NULL, NULL), 0, "they are counted");
    is_int((long long)objects, N_KEYS, "... all");
    is_int(
        s3pve_object_delete_many(client, (const char *const *)keys, N_KEYS, NULL, NULL),
        0,
        "deleted"
    );
    is_int(s3pve_bucket_usage(client, &objects, &bytes, NULL, NULL), 0, "and counted again");
    is_int((long long)objects, 0, "... none");
    s3pve_client_close(client);
    for (unsigned i = 0; i < N_KEYS; i++)
        free(keys[i]);
    return done_testing();
}
