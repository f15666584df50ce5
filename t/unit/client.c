/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/engine_private.h"
#include "core/request.h"
#include "script.h"
#include "tap.h"

#define HANGS_S 5 /* a child that waits for its parent's lock would do so for ever */

enum { REFUSED = 1, REFUSED_EARLIER = 2 };

/* In the child: what is submitted here, and what the parent had submitted. */
static int use_in_child(struct s3pve_client *client, struct request *earlier) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_counters counters;
    struct request rq;
    int result = 0;

    alarm(HANGS_S);
    request_init(&rq, "GetObject", "GET", "a", NULL);
    if (request_send(client, &rq, &err) < 0 && err.code == S3PVE_E_INVALID &&
        strstr(err.message, "fork"))
        result |= REFUSED;
    request_clear(&rq);
    if (request_wait(client, &earlier, 1, 1000) == 0 && earlier->error.code == S3PVE_E_INVALID)
        result |= REFUSED_EARLIER;
    request_cancel(client, earlier);
    request_clear(earlier);
    s3pve_client_counters(client, &counters);
    s3pve_client_close(client);
    return result;
}

static void a_forked_child_is_refused_whatever_its_parent_was_doing(void) {
    static const struct answer late = {.status = 200, .take_ms = 1000};
    struct script s = {.answers = &late, .n_answers = 1};
    struct s3pve_client *client = script_client(&s, NULL);
    struct request rq;
    int status = 0;
    pid_t pid;

    request_init(&rq, "GetObject", "GET", "a", NULL);
    request_submit(client, &rq);
    pthread_mutex_lock(&client->lock); /* as another thread may hold them */
    pthread_mutex_lock(&client->engine->lock);
    pid = fork();
    if (pid == 0)
        _exit(use_in_child(client, &rq));
    pthread_mutex_unlock(&client->engine->lock);
    pthread_mutex_unlock(&client->lock);

    waitpid(pid, &status, 0);
    ok(WIFEXITED(status), "a child of fork() does not hang on a lock its parent held");
    ok(WEXITSTATUS(status) & REFUSED, "... a request there is refused");
    ok(WEXITSTATUS(status) & REFUSED_EARLIER, "... and one that the parent had begun");
    while (request_wait(client, (struct request *[]){&rq}, 1, 1000) < 0)
        ;
    is_int(rq.error.code, S3PVE_OK, "... while the parent goes on");
    request_clear(&rq);
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    a_forked_child_is_refused_whatever_its_parent_was_doing();
    return done_testing();
}
