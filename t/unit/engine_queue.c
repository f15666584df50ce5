/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "core/request.h"
#include "script.h"
#include "tap.h"

DEFINE_CLEANUP(struct s3pve_client *, s3pve_client_close)
#define SCRIPT _cleanup_(script_clear) struct script
#define CLIENT _cleanup_(s3pve_client_closep) struct s3pve_client *

#define N 12

struct crowd {
    struct s3pve_client *client;
    struct request rqs[N], *list[N];
    unsigned n;
};

/* Bulk has upper case names, and much time; the others 5 s. */
static void come(struct crowd *crowd, const char *names) {
    for (; *names; names++) {
        bool urgent = *names >= 'a';
        struct s3pve_call call = {.timeout_ms = urgent ? 5000 : 1000000};
        struct request *rq = &crowd->rqs[crowd->n];
        const char key[2] = {*names};

        request_init(rq, urgent ? "HeadObject" : "GetObject", urgent ? "HEAD" : "GET", key, &call);
        rq->urgent = urgent;
        crowd->list[crowd->n++] = rq;
        request_submit(crowd->client, rq);
    }
}

/* All end well.  Names in the order in which they were sent. */
static const char *go(struct crowd *crowd, const struct script *s) {
    static char order[SCRIPT_SENT + 1];
    unsigned i;

    for (int done; (done = request_wait(crowd->client, crowd->list, crowd->n, 1000000)) >= 0;) {
        if (crowd->rqs[done].error.code != S3PVE_OK)
            ok(false, "%s: %s", crowd->rqs[done].key, crowd->rqs[done].error.message);
        crowd->list[done] = NULL;
        request_clear(&crowd->rqs[done]);
    }
    for (i = 0; i < s->n_sent; i++)
        order[i] = strrchr(s->sent[i].url, '/')[1];
    order[i] = '\0';
    return order;
}

static void serve(struct script *s, const struct sent *sent, struct answer *ret_answer) {
    *ret_answer = (struct answer){.status = 200, .take_ms = sent->method[0] == 'H' ? 10 : 60000};
}

static void who_is_waited_for_goes_first_in_order(void) {
    SCRIPT s = {.serve = serve};
    CLIENT client = script_client(&s, "connections", "1", NULL);
    struct crowd crowd = {.client = client};

    come(&crowd, "Aab");
    is_str(go(&crowd, &s), "abA", "the urgent go before bulk, first come, first served");
}

static void bulk_has_its_turn_too(void) {
    SCRIPT s = {.serve = serve};
    CLIENT client = script_client(&s, "connections", "1", NULL);
    struct crowd crowd = {.client = client};

    come(&crowd, "ABabcdefgh");
    is_str(go(&crowd, &s), "abcdAefghB", "after some of the urgent comes one of the others");
}

static void bulk_in_flight_holds_up_nobody(void) {
    SCRIPT s = {.serve = serve};
    CLIENT client = script_client(&s, "connections", "8", NULL);
    struct crowd crowd = {.client = client};

    come(&crowd, "ABCDEFGHI");
    is_int(request_wait(client, crowd.list, crowd.n, 1000), -1, "bulk takes its time");
    is_int(s.n_active, 8, "... and all places");
    come(&crowd, "abc");
    is_str(go(&crowd, &s), "ABCDEFGHabcI", "but the urgent are served at once");
    is_int(s.n_active_max, 8 + 2, "... a quarter of the places on top, no more");
}

int main(void) {
    who_is_waited_for_goes_first_in_order();
    bulk_has_its_turn_too();
    bulk_in_flight_holds_up_nobody();
    return done_testing();
}
