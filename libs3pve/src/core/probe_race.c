/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * probe_race.c - many writers of one key at once, of whom one may win
 *
 * A server may look at the condition first and write afterwards.  That is not seen by asking one
 * thing after the other, only by asking at the same time, more than once: even then an honest
 * answer is a likely one, and two winners are a proof.
 */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/probe_private.h"

#define POLL_MS 1000

struct race {
    struct probe *probe;
    const char *header, *value;
    struct request rqs[PROBE_WRITERS];
    struct iovec iov[PROBE_WRITERS];
    char bodies[PROBE_WRITERS][PROBE_BODY_LEN + 1];
    unsigned n_winners;
};

/* Once each: who is told to slow down has not won. */
static void enter(struct race *race, int key, unsigned i) {
    struct probe *probe = race->probe;
    struct request *rq = &race->rqs[i];
    struct s3pve_call call = probe->call;

    call.max_attempts = 1;
    probe_new_body(probe);
    memcpy(race->bodies[i], probe->body, sizeof(race->bodies[i]));
    request_init(rq, "PutObject", "PUT", probe->keys[key], &call);
    request_body(rq, &race->iov[i], race->bodies[i], PROBE_BODY_LEN);
    request_header(rq, race->header, "%s", race->value);
    rq->once = rq->quiet = rq->urgent = true;
    request_submit(probe->client, rq);
}

/* Return: 0, or -1 when it is not known whether this one has won. */
static int leave(struct race *race, const struct request *rq, struct s3pve_error *err) {
    if (rq->error.code == S3PVE_OK) {
        race->n_winners++;
        memcpy(race->probe->etag, rq->reply.info.etag, sizeof(race->probe->etag));
        return 0;
    }
    if (rq->error.http_status || (!rq->ambiguous && rq->error.code != S3PVE_E_CANCELLED))
        return 0;
    if (err)
        *err = rq->error;
    return -1;
}

static int run(
    struct probe *probe,
    int key,
    const char *header,
    const char *value,
    unsigned *ret_winners,
    struct s3pve_error *err
) {
    struct race race = {.probe = probe, .header = header, .value = value};
    struct request *under_way[PROBE_WRITERS];
    int rc = 0;

    probe->may_exist[key] = true;
    for (unsigned i = 0; i < PROBE_WRITERS; i++) {
        enter(&race, key, i);
        under_way[i] = &race.rqs[i];
    }
    for (unsigned n_done = 0; n_done < PROBE_WRITERS;) {
        int i = request_wait(probe->client, under_way, PROBE_WRITERS, POLL_MS);

        if (i < 0)
            continue;
        rc |= leave(&race, under_way[i], err);
        request_clear(under_way[i]);
        under_way[i] = NULL;
        n_done++;
    }
    *ret_winners = race.n_winners;
    return rc;
}

/* First for who makes the key, then for who changes what the winner made. */
static int race_for(struct probe *probe, int key, struct s3pve_error *err) {
    char etag[S3PVE_ETAG_MAX + 2];
    unsigned n_winners = 0;

    if (probe->caps.put_if_absent == S3PVE_YES &&
        run(probe, key, "if-none-match", "*", &n_winners, err) < 0)
        return -1;
    if (n_winners > 1)
        probe->caps.put_if_absent = S3PVE_IGNORED;
    if (n_winners != 1 || probe->caps.put_if_match != S3PVE_YES)
        return 0;
    snprintf(etag, sizeof(etag), probe->caps.etag_quoted ? "\"%s\"" : "%s", probe->etag);
    if (run(probe, key, "if-match", etag, &n_winners, err) < 0)
        return -1;
    if (n_winners > 1)
        probe->caps.put_if_match = S3PVE_IGNORED;
    return 0;
}

int probe_race(struct probe *probe, struct s3pve_error *err) {
    for (int i = 0; i < PROBE_RACES; i++)
        if (race_for(probe, PROBE_RACE + i, err) < 0)
            return -1;
    return 0;
}
