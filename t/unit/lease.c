/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A node's lease: valid while it can be written, and another's is believed only while it changes.
 */
#include "mem3.h"

#include "tap.h"
#include "volume/lease.h"

static const struct lease_times times = {.renew = 100, .valid = 350, .observe = 500};
static const struct volume_node one = {"one", "boot-a"}, two = {"two", "boot-b"};

static bool lives(struct lease *lease, const struct volume_node *node, int64_t *ret_took_ms) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int64_t began_ms = clock_monotonic_ms();
    bool alive = false;

    if (lease_owner_lives(lease, node, &(struct lease_watch){0}, &alive, &err) < 0)
        printf("# %s\n", err.message);
    *ret_took_ms = clock_monotonic_ms() - began_ms;
    return alive;
}

static void test_holding(struct lease *lease) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint64_t term, n;

    is_int((long long)lease_term(lease), 0, "it is not valid before anybody holds it");
    is_int((long long)mem3_n_requests(), 0, "... and asks for nothing");
    is_int(lease_hold(lease, NULL, &err), 0, "held");
    term = lease_term(lease);
    ok(term, "... it is valid");
    ok(mem3_text(".s3pve/nodes/one.json"), "... and says so in the bucket");
    mem3_sleep(600, NULL);
    is_int((long long)lease_term(lease), (long long)term, "it is renewed before it ends");
    lease_drop(lease);
    mem3_sleep(150, NULL);
    n = mem3_n_requests();
    mem3_sleep(300, NULL);
    is_int((long long)mem3_n_requests(), (long long)n, "dropped, it costs no request");
}

static void test_outage(struct lease *lease) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint64_t term;

    lease_hold(lease, NULL, &err);
    term = lease_term(lease);
    mem3.down = true;
    mem3_sleep(150, NULL);
    is_int(
        (long long)lease_term(lease), (long long)term, "a store that is away for less is no harm"
    );
    mem3_sleep(400, NULL);
    is_int((long long)lease_term(lease), 0, "... for longer, it ends");
    mem3.down = false;
    mem3_sleep(200, NULL);
    ok(lease_term(lease) > term, "... and what comes after is another time");
    lease_drop(lease);
    mem3.down = true;
    mem3_sleep(400, NULL);
    is_int(lease_hold(lease, NULL, &err), -1, "without the store there is none");
    ok(err.code, "... with its reason: %s", err.message);
    mem3.down = false;
}

static void test_others(struct lease *lease) {
    struct lease *other = lease_new(mem3_client(), &two, &times);
    struct volume_node before = two;
    int64_t took_ms;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int cancel = 1;
    struct lease_watch cancelled = {.call.cancel = &cancel}, brief = {.call.timeout_ms = 200};
    struct lease_watch whole = {0};
    bool alive;

    lease_hold(other, NULL, &err);
    ok(lives(lease, &two, &took_ms), "a node that writes its lease lives");
    ok(took_ms < times.observe, "... which is seen soon: %lld ms", (long long)took_ms);
    strcpy(before.incarnation, "boot-0");
    ok(!lives(lease, &before, &took_ms), "what ran before its last boot does not");
    ok(took_ms < times.renew, "... and that is seen at once");
    lease_free(other);
    ok(!lives(lease, &two, &took_ms), "one that writes no more does not");
    ok(took_ms >= times.observe, "... and that takes its time: %lld ms", (long long)took_ms);
    mem3_delete(".s3pve/nodes/two.json");
    ok(!lives(lease, &two, &took_ms), "nor one without a lease");
    ok(took_ms >= times.observe, "... which might be about to write it");
    mem3_put(".s3pve/nodes/two.json", "{\"counter\": 1}");
    is_int(
        lease_owner_lives(lease, &two, &whole, &alive, &err), -1, "what is no lease is an error"
    );
    is_int(err.code, S3PVE_E_CORRUPT, "... %s", err.message);
    mem3_delete(".s3pve/nodes/two.json");
    is_int(lease_owner_lives(lease, &two, &cancelled, &alive, &err), -1, "it can be cancelled");
    is_int(err.code, S3PVE_E_CANCELLED, "... %s", err.message);
    is_int(lease_owner_lives(lease, &two, &brief, &alive, &err), -1, "it can have too little time");
    is_int(err.code, S3PVE_E_TIMEOUT, "... %s", err.message);
}

static bool lets_go(void *n_asked) {
    ++*(unsigned *)n_asked;
    return true;
}

static void test_let_go(struct lease *lease) {
    unsigned n_asked = 0;
    struct lease_watch watch = {.has_let_go = lets_go, .ctx = &n_asked};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    bool alive = false;

    is_int(lease_owner_lives(lease, &two, &watch, &alive, &err), 0, "one that lets go of it");
    ok(alive, "... is not dead");
    is_int(n_asked, 1, "... and nobody looks any longer");
}

int main(void) {
    struct lease *lease = lease_new(mem3_client(), &one, &times);
    char boot[ROOT_INCARNATION];

    test_holding(lease);
    test_outage(lease);
    test_others(lease);
    test_let_go(lease);
    is_int(lease_incarnation(boot, NULL), 0, "this boot");
    is_int((long long)strlen(boot), 36, "... has an id: %s", boot);
    lease_free(lease);
    mem3_clear();
    return done_testing();
}
